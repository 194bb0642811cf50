"""What is made once and kept, named by what went into it, and the programs that make it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

RACKS: Final = "rack-"
"""How the names of racks begin, which are no use to anybody once they are down."""
_KEPT_S: Final = 7 * 86400.0
_LONGEST_RUN_S: Final = 2 * 3600.0


class ProgramError(Exception):
    """A program has failed; the message says which, and the end of what it said."""


def cache_directory() -> Path:
    """Where images are kept."""
    chosen = os.environ.get("UPSD_VM_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache/upsd/vm"


def digest(*inputs: str) -> str:
    """What names a thing in the cache by what it is made of."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


@contextlib.contextmanager
def made_whole(wanted: Path) -> Iterator[Path | None]:
    """A directory to be filled, which then becomes the wanted one; `None` if that is there already."""
    if wanted.exists():
        os.utime(wanted)
        yield None
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="making-") as directory:
        making = Path(directory) / "made"
        making.mkdir()
        yield making
        making.rename(wanted)


def forget_old(cache: Path) -> None:
    """Remove what nobody has used for a week, and the rack of a run that was killed."""
    for entry in cache.iterdir():
        kept_s = _LONGEST_RUN_S if entry.name.startswith(RACKS) else _KEPT_S
        if entry.stat().st_mtime < datetime.now(tz=UTC).timestamp() - kept_s:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def run(*command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    """What a program says.

    Raises:
        ProgramError: it failed; the message has the end of what it said.
    """
    done = subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-3000:]
        raise ProgramError(f"{' '.join(map(str, command))} failed (exit code {done.returncode}):\n{said}")
    return done.stdout


@contextlib.contextmanager
def mounted(*arguments: str | Path, at: Path) -> Iterator[Path]:
    """Something mounted while the block lasts."""
    at.mkdir(parents=True, exist_ok=True)
    run("mount", *arguments, at)
    try:
        yield at
    finally:
        run("umount", at)
