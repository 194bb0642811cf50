"""A disk that forgets: what was not made durable before the power went is not there after it.

The daemon's own code writes real files in a real directory. While the disk is `mounted` under a module of its, that
module's `os` notes each `fsync` and each name that a directory got durably; `lose_power` leaves just that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


class Disk:
    """The state directory's disk.

    Attributes:
        error: the number of the error (`errno`) that every write gets; `None` for a disk in order.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.error: int | None = None
        self._opened: dict[int, str | Path] = {}
        self._synced: dict[int, bytes] = {}
        """The content of each file, by its inode, as it was last made durable."""
        self._durable: dict[Path, int] = {}
        """The names that their directory has durably, and the inode that each stands for."""

    @contextlib.contextmanager
    def mounted(self, module: ModuleType) -> Iterator[None]:
        """The module's files are on this disk while the block runs."""
        before = vars(module)["os"]
        vars(module)["os"] = self
        try:
            yield
        finally:
            vars(module)["os"] = before

    def durable_text(self, name: str) -> str:
        """What of a file would be read after a power cut."""
        return self._content(self.directory / name).decode(errors="replace")

    def lose_power(self) -> None:
        """Leave what is durable."""
        left = {path: self._content(path) for path in self._durable}
        for path in self.directory.rglob("*"):
            if path.is_file():
                path.unlink()
        for path, content in left.items():
            path.write_bytes(content)
        self._durable = {path: path.stat().st_ino for path in left}
        self._synced = {self._durable[path]: content for path, content in left.items()}

    def _content(self, path: Path) -> bytes:
        inode = self._durable.get(path)
        return b"" if inode is None else self._synced.get(inode, b"")

    def __getattr__(self, name: str) -> Any:
        """Everything else is as it is."""
        return getattr(os, name)

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """As `os.open`."""
        file = os.open(path, flags, mode)
        self._opened[file] = path
        return file

    def write(self, file: int, data: bytes) -> int:
        """As `os.write`, unless the disk is full or broken."""
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return os.write(file, data)

    def close(self, file: int) -> None:
        """As `os.close`."""
        del self._opened[file]
        os.close(file)

    def fsync(self, file: int) -> None:
        """Make a file's content durable, or a directory's names. The real disk is not asked, which would take time."""
        status, name = os.fstat(file), self._opened[file]
        if not stat.S_ISDIR(status.st_mode):
            with open(name, "rb", buffering=0) as opened:  # noqa: PTH123 - a Path would take longer than the rest of it
                self._synced[status.st_ino] = opened.readall()
            return
        path = Path(name)
        elsewhere = {entry: inode for entry, inode in self._durable.items() if entry.parent != path}
        self._durable = elsewhere | {entry: entry.stat().st_ino for entry in path.iterdir() if entry.is_file()}
