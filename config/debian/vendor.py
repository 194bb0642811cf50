"""The locked packages that the daemon needs, for every Python that the distributions have, in one directory.

What is compiled carries its Python in its name (`_core.cpython-313-x86_64-linux-gnu.so`), so that several lie side by
side; all else is the same for all, which is checked.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13")
"""Of Debian 12, Ubuntu 24.04 and Debian 13; the next one is added here once the lock has wheels for it."""

_LOCK = Path(__file__).parents[2] / ".requirements.lock"
# glibc 2.28 is the newest that a wheel may ask for; control says so too.
_PLATFORMS = tuple(f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 17, 12, 5))
_METADATA = ".dist-info"
# Faster than what is Python beside it, but with a libyaml in it that nobody would mend; a kubeconfig is short.
_LEFT_OUT = "yaml/_yaml.*.so"
# How and by whom it was unpacked differs from build to build, and nobody asks; the licences go into one file.
_KEPT_METADATA = {"METADATA", "entry_points.txt"}


class VendorError(Exception):
    """The packages can't be put into one directory; the message says which file is in the way."""


def vendor(target: Path) -> dict[str, str]:
    """Put them there; the licence texts by the packages' names."""
    texts: dict[str, str] = {}
    target.mkdir(parents=True)
    for version in PYTHONS:
        with tempfile.TemporaryDirectory(prefix="upsd-wheels-") as scratch:
            _install(version, Path(scratch))
            texts = _licences(Path(scratch))
            _reduce(Path(scratch))
            _merge(Path(scratch), target)
    for module in target.rglob("*.so"):
        subprocess.run(["strip", "--strip-unneeded", module], check=True)
    return texts


def _install(version: str, directory: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    where = ["--target", str(directory), f"--python-version={version}", "--implementation=cp", *_PLATFORMS]
    subprocess.run([*pip, *where, "--require-hashes", "--requirement", str(_LOCK)], check=True)


def _licences(directory: Path) -> dict[str, str]:
    return {
        metadata.name.removesuffix(_METADATA).replace("-", " "): "\n".join(
            path.read_text(encoding="utf-8").strip("\n") + "\n" for path in _licence_files(metadata)
        )
        for metadata in sorted(directory.glob(f"*{_METADATA}"))
    }


def _licence_files(metadata: Path) -> list[Path]:
    """Newer packages have a directory of them."""
    return sorted(path for path in (*metadata.glob("licenses/**/*"), *metadata.glob("LICENSE*")) if path.is_file())


def _reduce(directory: Path) -> None:
    for path in directory.glob(_LEFT_OUT):
        path.unlink()
    shutil.rmtree(directory / "bin", ignore_errors=True)
    for metadata in directory.glob(f"*{_METADATA}"):
        for path in sorted(metadata.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            elif path.name not in _KEPT_METADATA:
                path.unlink()


def _merge(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        goal = target / path.relative_to(source)
        if path.is_dir():
            goal.mkdir(parents=True, exist_ok=True)
        elif not goal.exists():
            shutil.copy(path, goal)
        elif not filecmp.cmp(path, goal, shallow=False):
            raise VendorError(f"{path.relative_to(source)} is not the same for Python {', '.join(PYTHONS)}")
