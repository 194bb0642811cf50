"""The locked packages that the daemon needs, for every Python that the distributions have, in one directory.

What is compiled carries its Python in its name (`_core.cpython-313-x86_64-linux-gnu.so`), so that several lie side by
side; all else is the same for all, which is checked.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    target.mkdir(parents=True)
    first, *others = PYTHONS
    locked = _LOCK.read_text(encoding="utf-8")
    with _installed(first, locked) as directory:
        licences = _licences(directory)
        compiled = _compiled(directory)
        _merge(directory, target)
    for version in others:
        with _installed(version, _only(compiled, locked)) as directory:
            _merge(directory, target)
    for module in target.rglob("*.so"):
        subprocess.run(["strip", "--strip-unneeded", module], check=True)
    return licences


@contextmanager
def _installed(version: str, locked: str) -> Iterator[Path]:
    """What is locked, as wheels for that Python, for as long as it is needed."""
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    with tempfile.TemporaryDirectory(prefix="upsd-wheels-") as scratch:
        lock, directory = Path(scratch, "lock"), Path(scratch, "packages")
        lock.write_text(locked, encoding="utf-8")
        where = ["--target", str(directory), f"--python-version={version}", "--implementation=cp", *_PLATFORMS]
        subprocess.run([*pip, *where, "--require-hashes", "--requirement", lock], check=True)
        yield directory


def _compiled(directory: Path) -> set[str]:
    """The names of those that are not the same for every Python."""
    return {
        wheel.parent.name.partition("-")[0].lower().replace("_", "-")
        for wheel in directory.glob(f"*{_METADATA}/WHEEL")
        if "Root-Is-Purelib: false" in wheel.read_text(encoding="utf-8")
    }


def _only(names: set[str], locked: str) -> str:
    requirements = re.split(r"^(?=\S)", locked, flags=re.MULTILINE)
    return "".join(requirement for requirement in requirements if requirement.partition("==")[0] in names)


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


def _merge(source: Path, target: Path) -> None:
    shutil.rmtree(source / "bin", ignore_errors=True)
    for path in sorted(source.rglob("*")):
        goal = target / path.relative_to(source)
        if path.is_dir() or not _is_wanted(path):
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        if not goal.exists():
            shutil.copy(path, goal)
        elif not filecmp.cmp(path, goal, shallow=False):
            raise VendorError(f"{path.relative_to(source)} is not the same for Python {', '.join(PYTHONS)}")


def _is_wanted(path: Path) -> bool:
    if any(parent.name.endswith(_METADATA) for parent in path.parents):
        return path.name in _KEPT_METADATA
    return not path.match(_LEFT_OUT)
