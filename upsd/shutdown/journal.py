"""What was begun and what was done, written down before the next action depends on it.

One JSON object a line in an append-only file, each made durable before `append` returns. A daemon that was killed at
any instant reads it back (`records.replay`, pure) and goes on. What passes the point of no return, and whatever the
disk does not take, is also written to a spare file elsewhere, which need not outlive this boot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from upsd.files import append_lines, lines_of, sync_directory, write_whole
from upsd.shutdown.records import Contents, Unfinished, gather, next_number, replay, replay_lost_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from upsd.domain.power import Scalar

__all__ = ["FileJournal", "Found", "Journal", "JournalError", "Unfinished", "replay", "replay_lost_at"]

_WRITE_S = 2.0
_SPARE_S = 0.5
_LATE_LINES = 500
_DAMAGED_KEPT = 3

_Result = TypeVar("_Result")


class JournalError(Exception):
    """The journal can't be written or read; the text says why and what to do."""


class Journal(Protocol):
    """Where records go."""

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Make the record durable, or raise `JournalError`, within two seconds or so."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a start finds: the journal's contents, where a damaged one was put, and what could not be read or mended."""

    contents: Contents
    aside: Path | None = None
    trouble: str | None = None


class FileJournal:
    """The journal on disk, written by a thread of its own, because a full or dying disk may hang.

    Args:
        path: where it is.
        wall_clock: gives the date for each record (ISO 8601, UTC).
        spare: where to write what must not be lost with it, on another disk or in memory.
    """

    def __init__(self, path: Path, wall_clock: Callable[[], str], spare: Path | None = None) -> None:
        self._path = path
        self._wall_clock = wall_clock
        self._spare = spare
        self._thread = ThreadPoolExecutor(1, "journal")
        self._hanging: asyncio.Future[Any] | None = None
        self._number = 0
        self._late: deque[str] = deque(maxlen=_LATE_LINES)

    def take_up(self) -> Found:
        """Read what an earlier run has left, and leave an intact journal; at most for two seconds.

        What is damaged is kept beside. Nothing here raises: the worst that is found is an empty journal and trouble.
        """
        try:
            found = self._thread.submit(self._take_up).result(_WRITE_S)
        except TimeoutError:
            trouble = f"the disk under {self._path} hangs: look at it, and restart upsd once it is well"
            return Found(Contents(), trouble=trouble)
        self._number = next_number(found.contents.lines)
        return found

    def why_not(self) -> str | None:
        """Why nothing can be written, as far as can be seen without writing; `None` if it looks well."""
        directory = self._path.parent
        if directory.is_dir() and os.access(directory, os.W_OK | os.X_OK):
            return None
        return f"the journal {self._path} can't be written: make {directory}, and give it to the daemon's user"

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Write one record and wait until it is on disk, for two seconds at the most."""
        line = json.dumps({"n": self._number, "at": self._wall_clock(), **record})
        self._number += 1
        if record.get("commits"):
            await self._write_spare(line)
        lines = [*self._late, line]
        try:
            await self._in_thread(partial(append_lines, self._path, lines))
        except JournalError:
            self._late.append(line)
            if not record.get("commits"):
                await self._write_spare(line)
            raise
        self._forget(lines[:-1])

    async def hand_over(self, file: Callable[[Sequence[str]], _Result | None]) -> _Result | None:
        """Give the lines to `file`, in the journal's thread; what it makes of them takes their place.

        `None` leaves the journal as it is; with anything else it begins anew.

        Raises:
            JournalError: the disk hangs, or does not let the journal be replaced.
        """
        late = list(self._late)
        made = await self._in_thread(partial(self._hand_over, file, late))
        if made is not None:
            self._forget(late)
        return made

    def close(self) -> None:
        """Let the thread go, without waiting for a write that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        if self._hanging and not self._hanging.done():
            raise JournalError(f"the disk under {self._path} still hangs")
        job = asyncio.get_running_loop().run_in_executor(self._thread, work)
        done, _ = await asyncio.wait({job}, timeout=_WRITE_S)
        if not done:
            self._hanging = job
            job.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise JournalError(f"the disk under {self._path} hangs")
        try:
            return job.result()
        except OSError as error:
            raise JournalError(
                f"the journal {self._path} can't be written: {error.strerror}; make room and check who owns it"
            ) from error

    def _forget(self, late: Sequence[str]) -> None:
        for line in late:
            with contextlib.suppress(ValueError):
                self._late.remove(line)

    async def _write_spare(self, line: str) -> None:
        if self._spare is None:
            return
        job = asyncio.get_running_loop().run_in_executor(None, append_lines, self._spare, [line])
        job.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({job}, timeout=_SPARE_S)

    def _take_up(self) -> Found:
        trouble: str | None = None
        contents, unreadable = Contents(), False
        try:
            contents = self._read()
        except OSError as error:
            unreadable = True
            trouble = f"the journal {self._path} can't be read: {error.strerror}; check who owns it"
            with contextlib.suppress(OSError):
                contents = gather((), self._spare_lines())
        try:
            return Found(contents, self._mend(contents, unreadable=unreadable), trouble)
        except OSError as error:
            trouble = trouble or f"the journal {self._path} can't be mended: {error.strerror}; make room for it"
            return Found(contents, None, trouble)

    def _mend(self, contents: Contents, *, unreadable: bool) -> Path | None:
        """Leave only what is intact; where the rest was put, if that was more than a torn line."""
        aside = None
        if unreadable:
            aside = self._beside()
            self._path.rename(aside)
        elif contents.damaged:
            aside = self._beside()
            aside.hardlink_to(self._path)
        spare_is_there = self._spare is not None and self._spare.exists()
        if aside or contents.torn or spare_is_there:
            self._replace(contents.lines)
        return aside

    def _beside(self) -> Path:
        """A name for what is damaged; only the newest few are kept."""
        prefix = f"{self._path.name}.damaged-"
        earlier = sorted(self._path.parent.glob(f"{prefix}*"))
        for old in earlier[: -_DAMAGED_KEPT + 1]:
            with contextlib.suppress(OSError):
                old.unlink()
        return self._path.with_name(prefix + "".join(letter for letter in self._wall_clock() if letter.isalnum()))

    def _replace(self, lines: Sequence[str]) -> None:
        if lines:
            write_whole(self._path, "".join(f"{line}\n" for line in lines))
        else:
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        if self._spare:
            self._spare.unlink(missing_ok=True)

    def _hand_over(self, file: Callable[[Sequence[str]], _Result | None], late: Sequence[str]) -> _Result | None:
        made = file(self._read(late).lines)
        if made is not None:
            self._replace(())
        return made

    def _read(self, late: Sequence[str] = ()) -> Contents:
        return gather(lines_of(self._path), [*self._spare_lines(), *(line.encode() for line in late)])

    def _spare_lines(self) -> list[bytes]:
        return [] if self._spare is None else list(lines_of(self._spare))
