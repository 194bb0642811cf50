"""The distributions that the Debian package is installed on: minimal roots, each made once, with what it needs.

Ubuntu 24.04 is not among them where its mirror can't be reached: its Python, 3.12, has the same modules in the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.vm.cache import cache_directory, digest, made_whole, run

REPOSITORY = Path(__file__).parents[2]
SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian 12 and 13, with the Python of each."""
# What the package depends on, and NUT, which is installed beside it.
_PACKAGES = ("init-system-helpers", "libusb-1.0-0", "nut-client", "nut-server", "polkitd", "python3", "systemd", "udev")
_SOURCES = ("config", "docs", "systemd", "upsd", ".requirements.lock", "CHANGELOG.md", "README.md", "pyproject.toml")


def distribution(suite: str) -> Path:
    """The root of a Debian suite as a tar file, if it was made."""
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
        with made_whole(distribution(suite).parent) as making:
            if making:
                include = f"--include={','.join(_PACKAGES)}"
                run("mmdebstrap", "--quiet", "--variant=minbase", include, suite, making / "root.tar")
