"""A copy of a SQLite database that others write to at the same time.

It is SQLite's own online backup, all pages in one step: in WAL mode, which k3s uses, that reads one state of the
database, with everything that was committed before it began, and keeps no writer waiting.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from upsd.files import sync_directory
from upsd.snapshot.errors import SnapshotError
from upsd.snapshot.keep import is_part, part_name

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_S = 5.0


def copy_database(path: Path, target: Path) -> int:
    """Copy the database to `target`, checked and on the disk before it has that name; how many bytes that were.

    Raises:
        SnapshotError: It could not be read, copied or written, or is damaged; what had the name before is still there.
    """
    part = target.with_name(part_name(target.name))
    try:
        remove_parts(target.parent)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(path, part)
        size = _on_disk(part)
        part.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise SnapshotError(f"{target.parent} can't be written to: {error.strerror}; make room or mount it") from error
    except sqlite3.Error as error:
        raise SnapshotError(f"{path} could not be copied to {target.parent}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            remove_parts(target.parent)
    return size


def remove_parts(directory: Path) -> None:
    """Remove what a copy left behind that was killed, or whose disk was full; the directory is not ours alone."""
    for left in [path for path in directory.iterdir() if is_part(path.name)]:
        left.unlink(missing_ok=True)


def _copy(path: Path, part: Path) -> None:
    with contextlib.closing(_connect(path, "ro")) as source, contextlib.closing(_connect(part, "rw")) as copy:
        # What it holds is on the disk before it gets its name; until then nobody would miss it.
        copy.execute("PRAGMA synchronous=OFF")
        source.backup(copy)
        # One file for itself, whatever the original is.
        copy.execute("PRAGMA journal_mode=DELETE")
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise SnapshotError(
                f"the copy of {path} is damaged ({found[0]}): so is the database, or the disk of {part.parent}; no"
                " earlier snapshot was removed"
            )


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None)


def _on_disk(path: Path) -> int:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        return os.fstat(file).st_size
    finally:
        os.close(file)
