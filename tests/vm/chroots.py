"""The distributions that the Debian package is installed on: minimal roots, each made once, with what it needs.

Ubuntu's is not among them where its archive can't be reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.error import URLError
from urllib.request import urlopen

from tests.vm.cache import ProgramError, cache_directory, digest, made_whole, run

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
SUITES = {"bookworm": "3.11", "trixie": "3.13", "noble": "3.12"}
"""Debian 12 and 13 and Ubuntu 24.04, with the Python of each."""
_UBUNTU: Final = "noble"
_UBUNTU_ARCHIVE: Final = "http://archive.ubuntu.com/ubuntu"
# Debian 12 has no package of Ubuntu's keys. This one is trusted for its digest, and all others for its keys.
_UBUNTU_KEYS: Final = f"{_UBUNTU_ARCHIVE}/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
_UBUNTU_KEYS_SHA256: Final = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"
# What the package depends on, and NUT, which is installed beside it.
_PACKAGES = ("init-system-helpers", "libusb-1.0-0", "nut-client", "nut-server", "polkitd", "python3", "systemd", "udev")
_SOURCES = ("config", "docs", "systemd", "upsd", ".requirements.lock", "CHANGELOG.md", "README.md", "pyproject.toml")


def distribution(suite: str) -> Path:
    """The root of a suite as a tar file, if it was made."""
    return cache_directory() / f"chroot-{suite}-{digest(*_PACKAGES)}" / "root.tar"


def packed() -> Path:
    """The directory with the package of this source tree, made if it is not in the cache.

    Raises:
        subprocess.CalledProcessError: it could not be made; what failed has said why.
    """
    paths = [path for name in _SOURCES for path in [REPOSITORY / name, *(REPOSITORY / name).rglob("*")]]
    files = sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    package = cache_directory() / f"package-{digest(*(path.read_text(encoding='utf-8') for path in files))}"
    with made_whole(package) as making:
        if making:
            subprocess.run([sys.executable, "-m", "debian", making], cwd=REPOSITORY / "config", check=True)
    return package


def make_distributions() -> None:
    """Make those that are missing; that takes the network, which the tests themselves do without.

    Raises:
        ProgramError: one could not be made.
    """
    for suite in SUITES:
        try:
            with made_whole(distribution(suite).parent) as making:
                if making:
                    _make(suite, making / "root.tar")
        except URLError as error:
            sys.stderr.write(f"make vm-test: the package is not tried on Ubuntu: {_UBUNTU_KEYS}: {error.reason}\n")


def _make(suite: str, tar: Path) -> None:
    make = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}", suite, tar)
    if suite == _UBUNTU:
        with _ubuntu_keys() as keys:
            run(*make, f"deb [signed-by={keys}] {_UBUNTU_ARCHIVE} {suite} main universe")
    else:
        run(*make)


@contextlib.contextmanager
def _ubuntu_keys() -> Iterator[Path]:
    """The keys that Ubuntu's archive is signed with.

    Raises:
        URLError: the archive can't be reached.
    """
    with urlopen(_UBUNTU_KEYS, timeout=30) as answer:
        package = answer.read()
    if hashlib.sha256(package).hexdigest() != _UBUNTU_KEYS_SHA256:
        raise ProgramError(f"{_UBUNTU_KEYS} is not the package that is trusted")
    with tempfile.TemporaryDirectory(prefix="upsd-vm-") as directory:
        place = Path(directory)
        place.chmod(0o755)  # apt reads them as a user of its own
        (place / "keys.deb").write_bytes(package)
        run("dpkg-deb", "--extract", place / "keys.deb", place)
        yield place / "usr/share/keyrings/ubuntu-archive-keyring.gpg"
