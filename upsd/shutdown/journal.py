"""What was begun and what was done, written down before the next action depends on it.

One JSON object a line in an append-only file, each made durable before `append` returns. A daemon that was killed at
any instant reads it back (`replay`, pure) and goes on. A line that was torn by the kill is not counted.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from upsd.domain.plan import StepState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from upsd.domain.power import Scalar

_WRITE_S = 2.0


class JournalError(Exception):
    """The journal can't be written or read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An outage that the journal does not show closed.

    `began` and `ended` are step ids, the ended ones with success.
    """

    outage: str
    reason: str
    boot_id: str
    committed: bool = False
    began: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()


class Journal(Protocol):
    """Where records go."""

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Make the record durable, or raise `JournalError`, within two seconds."""


def replay(lines: Iterable[str]) -> Unfinished | None:
    """The outage that the records leave unfinished, if there is one."""
    outage: Unfinished | None = None
    for line in lines:
        try:
            record = json.loads(line)
            outage = _replay_one(outage, record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # torn by a kill or a full disk: what it says was not yet acted on
    return outage


def replay_lost_at(lines: Iterable[str], boot_id: str) -> float | None:
    """Since when the mains is away, as far as this boot has written down (its loop time); `None` while it is there."""
    lost_at: float | None = None
    for line in lines:
        try:
            record = json.loads(line)
            if record["record"] == "supply":
                lost_at = record["lost_at"] if record["boot_id"] == boot_id else None
        except (ValueError, KeyError, TypeError):
            continue
    return lost_at if isinstance(lost_at, float | int) else None


def _replay_one(outage: Unfinished | None, record: Mapping[str, str]) -> Unfinished | None:
    match record["record"]:
        case "outage":
            # What an outage before it began and nobody has undone yet is still to be undone.
            began = outage.began if outage else frozenset()
            return Unfinished(record["outage"], record["reason"], record["boot_id"], began=began)
        case "closed":
            return None
        case "undoing" if outage:
            # A shutdown that is taken up again after this must do everything again.
            return replace(outage, ended=frozenset(), committed=False)
        case "step" if outage:
            step, state = record["step"], StepState(record["state"])
            if state is StepState.LEFT_OUT:
                return outage  # nothing was begun that would have to be undone
            return replace(
                outage,
                committed=outage.committed or bool(record.get("commits")),
                began=outage.began | {step},
                ended=outage.ended | {step} if state in {StepState.DONE, StepState.FORCED} else outage.ended,
            )
    return outage


class FileJournal:
    """The journal on disk, written by a thread of its own, because a full or dying disk may hang."""

    def __init__(self, path: Path, wall_clock: Callable[[], str]) -> None:
        self._path = path
        self._wall_clock = wall_clock
        self._thread = ThreadPoolExecutor(1, "journal")
        self._hanging: asyncio.Future[None] | None = None

    def load(self) -> Unfinished | None:
        """What the file says; nothing if there is none.

        Raises:
            JournalError: it is there and can't be read.
        """
        return replay(self._lines())

    def lost_at(self, boot_id: str) -> float | None:
        """Since when the mains is away, see `replay_lost_at`; raises `JournalError` as `load` does."""
        return replay_lost_at(self._lines(), boot_id)

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"the journal {self._path} can't be read: {error.strerror}") from error

    def why_not(self) -> str | None:
        """Why nothing can be written, as far as can be seen without writing; `None` if it looks well."""
        directory = self._path.parent
        if directory.is_dir() and os.access(directory, os.W_OK | os.X_OK):
            return None
        return f"the journal {self._path} can't be written: make {directory}, and give it to the daemon's user"

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Write one record and wait until it is on disk, for two seconds at the most."""
        if self._hanging and not self._hanging.done():
            raise JournalError(f"the disk under {self._path} still hangs")
        line = json.dumps({"at": self._wall_clock(), **record}) + "\n"
        write = asyncio.get_running_loop().run_in_executor(self._thread, _append_line, self._path, line)
        done, _ = await asyncio.wait({write}, timeout=_WRITE_S)
        if not done:
            self._hanging = write
            write.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise JournalError(f"the disk under {self._path} hangs")
        try:
            write.result()
        except OSError as error:
            raise JournalError(
                f"the journal {self._path} can't be written: {error.strerror}; make room and check who owns it"
            ) from error

    def close(self) -> None:
        """Let the thread go, without waiting for a write that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _append_line(path: Path, line: str) -> None:
    is_new = not path.exists()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # The newline before it ends a line that a kill or a full disk has torn.
        text = line.encode() if is_new else b"\n" + line.encode()
        if os.write(file, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
