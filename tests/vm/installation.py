"""upsd, installed on a disk as the README says: the only place that knows how."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.image import digest, made_whole, mounted, run

if TYPE_CHECKING:
    from tests.vm.image import Image

_REPOSITORY: Final = Path(__file__).parents[2]
_PYTHON: Final = "/opt/upsd/venv/bin/python"
_FILES: Final = {
    "upsd.sysusers": "usr/lib/sysusers.d/upsd.conf",
    "upsd.tmpfiles": "usr/lib/tmpfiles.d/upsd.conf",
    "70-upsd.rules": "etc/udev/rules.d/70-upsd.rules",
    "50-upsd.rules": "etc/polkit-1/rules.d/50-upsd.rules",
    "upsd.service": "etc/systemd/system/upsd.service",
    "upsd-detach@.service": "etc/systemd/system/upsd-detach@.service",
    "upsd-snapshot@.service": "etc/systemd/system/upsd-snapshot@.service",
}


def installed(image: Image, cache: Path) -> Path:
    """A disk of the image with upsd on it, made if it is not in the cache."""
    files = [*sorted(_REPOSITORY.glob("upsd/**/*.py")), *sorted((_REPOSITORY / "systemd").iterdir())]
    texts = [file.read_text() for file in (*files, _REPOSITORY / ".requirements.lock", Path(__file__))]
    made = cache / f"upsd-{digest(image.directory.name, *texts)}"
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
    run("chroot", root, "python3", "-m", "venv", "--without-pip", "/opt/upsd/venv")
    packages = next((root / "opt/upsd/venv/lib").glob("python3.*")) / "site-packages"
    version = packages.parent.name.removeprefix("python")
    _pip("--require-hashes", "--requirement", _REPOSITORY / ".requirements.lock", into=packages, version=version)
    _pip("--no-build-isolation", _REPOSITORY, into=packages, version=version)
    shutil.rmtree(packages / "bin")
    run("chroot", root, _PYTHON, "-X", "no_debug_ranges", "-m", "compileall", "-q", "-o", "2", "/opt/upsd/venv/lib")
    # The unit asks for byte code that Debian does not ship of Python itself, and may not keep what it compiles at each
    # start. Under emulation that takes too long.
    run("chroot", root, _PYTHON, "-OO", "-X", "no_debug_ranges", "-c", "import upsd.daemon, usb.backend.libusb1, anyio")
    upsctl = root / "usr/local/bin/upsctl"
    upsctl.write_text('#!/bin/sh\nexec /opt/upsd/venv/bin/python -m upsd.ctl.main "$@"\n')
    upsctl.chmod(0o755)
    for source, target in _FILES.items():
        shutil.copy(_REPOSITORY / "systemd" / source, root / target)
    run("chroot", root, "systemd-sysusers")
    run("chroot", root, "systemd-tmpfiles", "--create", "upsd.conf")
    run("chroot", root, "systemctl", "enable", "upsd.service")


def _pip(*wanted: str | Path, into: Path, version: str) -> None:
    """With the pip of this machine, whose way to the packages is known to work, for the Python of the other."""
    platforms = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
    run(
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-warn-script-location",
        ),
        *("--no-deps", f"--target={into}", f"--python-version={version}"),
        *(f"--platform={platform}" for platform in platforms),
        *wanted,
    )
