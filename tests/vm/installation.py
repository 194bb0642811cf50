"""upsd, installed on a disk from its Debian package, as people do: the only place that knows how."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.cache import digest, made_whole, mounted, run
from tests.vm.chroots import package

if TYPE_CHECKING:
    from tests.vm.image import Image

_PYTHON: Final = "/usr/lib/upsd/bin/python3"


def installed(image: Image, cache: Path) -> Path:
    """A disk of the image with upsd on it, made if it is not in the cache.

    Raises:
        ProgramError: a program failed.
    """
    made = cache / f"upsd-{digest(image.directory.name, package().name, Path(__file__).read_text())}"
    with made_whole(made) as making:
        if making:
            run("cp", "--sparse=always", image.disk, making / "root.ext4")
            with (
                mounted("-o", "loop", making / "root.ext4", at=making / "root") as root,
                mounted("-t", "proc", "proc", at=root / "proc"),
            ):
                _install(root)
    return made / "root.ext4"


def _install(root: Path) -> None:
    (deb,) = package().glob("*.deb")
    shutil.copy(deb, root / "tmp")
    run("chroot", root, "dpkg", "-i", f"/tmp/{deb.name}")
    (root / "tmp" / deb.name).unlink()
    # The unit asks for byte code that Debian does not ship of Python itself, and may not keep what it compiles at each
    # start. Under emulation that takes too long.
    run("chroot", root, _PYTHON, "-OO", "-X", "no_debug_ranges", "-c", "import upsd.daemon, usb.backend.libusb1, anyio")
