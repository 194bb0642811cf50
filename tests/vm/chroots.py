"""The distributions that the Debian package is installed on: minimal roots, each made once, with what it needs.

`python -m tests.vm.chroots` makes them, and the package; that takes the network, which the tests themselves do without.
Ubuntu 24.04 is not among them where its mirror can't be reached: its Python, 3.12, has the same modules in the package.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian 12 and 13, with the Python of each."""
# What the package depends on, and NUT, which is installed beside it.
_PACKAGES = ("init-system-helpers", "libusb-1.0-0", "nut-client", "nut-server", "polkitd", "python3", "systemd", "udev")
_SOURCES = ("config", "docs", "systemd", "upsd", ".requirements.lock", "CHANGELOG.md", "README.md", "pyproject.toml")


def cache() -> Path:
    """Where what was made is kept."""
    chosen = os.environ.get("UPSD_VM_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache/upsd/vm"


def distribution(suite: str) -> Path:
    """The root of a Debian suite as a tar file, if it was made."""
    return cache() / f"chroot-{suite}-{_digest(*_PACKAGES)}.tar"


def _package() -> Path:
    """The directory with the package of this source tree, if it was made."""
    paths = [path for name in _SOURCES for path in [REPOSITORY / name, *(REPOSITORY / name).rglob("*")]]
    files = sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    return cache() / f"package-{_digest(*(path.read_text(encoding='utf-8') for path in files))}"


def make() -> Path:
    """Make whatever of that is missing; the directory with the package.

    Raises:
        subprocess.CalledProcessError: one could not be made; what failed has said why.
    """
    cache().mkdir(parents=True, exist_ok=True)
    for suite in SUITES:
        if not (goal := distribution(suite)).exists():
            half = goal.with_suffix(".half.tar")
            include = f"--include={','.join(_PACKAGES)}"
            mmdebstrap = ["mmdebstrap", "--quiet", "--variant=minbase", include, suite, str(half)]
            subprocess.run(mmdebstrap, check=True, stdout=subprocess.DEVNULL)
            half.rename(goal)
    if not (goal := _package()).exists():
        half = goal.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "debian", half], cwd=REPOSITORY / "config", check=True)
        half.rename(goal)
    return goal


def _digest(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


if __name__ == "__main__":
    make()
