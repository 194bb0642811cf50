"""Files that are whole or not there, whatever happens in between: nothing here leaves a part behind its name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LONGEST_LINE = 64 * 1024


def write_whole(
    path: Path, text: str, *, mode: int = 0o600, owner: int | None = None, group: int | None = None
) -> None:
    """Put a file in the place of an older one; whoever reads, also after a power cut, finds the old or the new one.

    Args:
        path: of the file.
        text: all of it.
        mode: what may be done with it, whatever the umask.
        owner: whose it is, by number; `None` for that of the process.
        group: likewise.

    Raises:
        OSError: it can't be written; the old one is still there.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(file, text.encode())
            if owner is not None or group is not None:
                os.fchown(file, -1 if owner is None else owner, -1 if group is None else group)
            os.fchmod(file, mode)
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add lines to a file and have them on the disk; what does not fit whole is taken away again.

    Raises:
        OSError: they can't be written.
    """
    is_new = not path.exists()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # The newline before them ends a line that a kill has torn.
        text = "".join(f"{line}\n" for line in lines)
        size = os.fstat(file).st_size
        try:
            _write(file, (text if is_new else f"\n{text}").encode())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, size)
            raise
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync_directory(path.parent)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, none if there is no file; of an endless line only its beginning.

    Raises:
        OSError: it can't be read, or is no file.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        while line := file.readline(_LONGEST_LINE):
            yield line
            while line and not line.endswith(b"\n"):
                line = file.readline(_LONGEST_LINE)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(file: int, data: bytes) -> None:
    if os.write(file, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
