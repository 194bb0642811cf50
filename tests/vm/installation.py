"""upsd, installed on a disk from its Debian package, as people do: the only place that knows how."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.cache import digest, made_whole, mounted, run

if TYPE_CHECKING:
    from tests.vm.image import Image


def installed(image: Image, package: Path, cache: Path) -> Path:
    """A disk of the image with upsd on it from the package in this directory, made if it is not in the cache.

    Raises:
        ProgramError: a program failed.
    """
    made = cache / f"upsd-{digest(image.directory.name, package.name, Path(__file__).read_text())}"
    with made_whole(made) as making:
        if making:
            run("cp", "--sparse=always", image.disk, making / "root.ext4")
            with (
                mounted("-o", "loop", making / "root.ext4", at=making / "root") as root,
                mounted("-t", "proc", "proc", at=root / "proc"),
            ):
                _install(root, package)
    return made / "root.ext4"


def _install(root: Path, package: Path) -> None:
    (deb,) = package.glob("*.deb")
    shutil.copy(deb, root / "tmp")
    run("chroot", root, "dpkg", "-i", f"/tmp/{deb.name}")
    (root / "tmp" / deb.name).unlink()
