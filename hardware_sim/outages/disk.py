"""A disk that forgets: what was not made durable before the power went is not there after it.

The daemon's own code writes real files in a real directory. While the disk is `mounted` under a module of its, that
module's `os` notes each `fsync` and each name that a directory got durably; `lose_power` leaves just that.
"""

from __future__ import annotations

import contextlib
import os
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
        self._opened: dict[int, Path] = {}
        self._synced: dict[Path, bytes] = {}
        """The content of each file as it was last made durable, under its present name."""
        self._durable: dict[Path, bytes] = {}
        """What a power cut leaves: names that their directory has, with their durable content."""

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
        return self._durable.get(self.directory / name, b"").decode(errors="replace")

    def lose_power(self) -> None:
        """Leave what is durable."""
        for path in self.directory.iterdir():
            if path.is_file():
                path.unlink()
        for path, content in self._durable.items():
            path.write_bytes(content)
        self._synced = dict(self._durable)

    def __getattr__(self, name: str) -> Any:
        """Everything else is as it is."""
        return getattr(os, name)

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """As `os.open`."""
        file = os.open(path, flags, mode)
        self._opened[file] = Path(path)
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

    def replace(self, source: str | Path, target: str | Path) -> None:
        """As `os.replace`; durable only once the directory is."""
        Path(source).replace(target)
        if Path(source) in self._synced:
            self._synced[Path(target)] = self._synced.pop(Path(source))

    rename = replace

    def fsync(self, file: int) -> None:
        """Make a file's content durable, or a directory's names. The real disk is not asked, which would take time."""
        path = self._opened[file]
        if not path.is_dir():
            self._synced[path] = path.read_bytes()
            if path in self._durable:
                self._durable[path] = self._synced[path]
            return
        names = [entry for entry in path.iterdir() if entry.is_file()]
        self._durable = {entry: self._synced.get(entry, b"") for entry in names}
