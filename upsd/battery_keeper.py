"""Keeps what was learned of the battery on disk, in a thread of its own; nothing waits for it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from upsd.domain.power import Event, Severity
from upsd.ups import battery_file
from upsd.ups.battery.history import BatteryHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class BatteryKeeper:
    """Reads the battery's history once and writes it whenever it changes, one write after the other.

    Args:
        directory: the state directory.
        emit: hears when it can't be read or written.
    """

    def __init__(self, directory: Path, emit: Callable[[Event], None]) -> None:
        self._directory = directory
        self._emit = emit
        # A dying disk may hang.
        self._thread = ThreadPoolExecutor(1, "battery")
        self._lost: str | None = None
        self._unwritten: str | None = None

    def load(self) -> BatteryHistory:
        """What was learned so far; nothing if it can't be read."""
        try:
            return battery_file.load(self._directory)
        except battery_file.BatteryFileError as error:
            self._lost = str(error)
            self._tell(self._lost)
            return BatteryHistory()

    def keep(self, history: BatteryHistory) -> None:
        """Have it written."""
        loop = asyncio.get_running_loop()
        saving = loop.run_in_executor(self._thread, battery_file.save, self._directory, history)
        saving.add_done_callback(self._saved)

    def troubles(self) -> Iterator[str]:
        """What a person should mend."""
        yield from filter(None, (self._lost, self._unwritten))

    def close(self) -> None:
        """Let the thread go, without waiting for a write that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _saved(self, saving: asyncio.Future[None]) -> None:
        error = None if saving.cancelled() else saving.exception()
        trouble = f"what was learned of the battery can't be written: {error}; make room" if error else None
        if trouble and trouble != self._unwritten:
            self._tell(trouble)
        self._unwritten = trouble

    def _tell(self, reason: str) -> None:
        self._emit(Event("battery_history_failed", Severity.WARNING, {"reason": reason}))
