"""Writes down what plans begin and end, each record with the boot and the battery of its moment, and never raises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.domain.power import Event, Severity
from upsd.shutdown.journal import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.plan import PlanPurpose
    from upsd.domain.power import Scalar
    from upsd.shutdown.journal import Journal


class Recorder:
    """Puts records into the journal as far as the disk lets it.

    Args:
        journal: where they go.
        emit: hears when that begins to fail.
        boot_id: tells this boot of the machine from others.
        figures: what is written of the battery beside every record.
        settled: is called when what the journal tells may have come to its end.

    Attributes:
        problem: why the journal can't be written, for a person; `None` while it can.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        emit: Callable[[Event], None],
        boot_id: str,
        figures: Callable[[], Mapping[str, Scalar]],
        settled: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._emit = emit
        self._boot_id = boot_id
        self._figures = figures
        self._notes: set[asyncio.Task[None]] = set()
        self.settled = settled
        self.problem: str | None = None

    async def write(self, record: Mapping[str, Scalar]) -> None:
        """Make a record durable, if the disk takes it."""
        try:
            await self._journal.append({**record, "boot_id": self._boot_id, **self._figures()})
        except JournalError as error:
            if self.problem is None:
                self._emit(Event("journal_failed", Severity.CRITICAL, {"reason": str(error)}))
            self.problem = str(error)
        else:
            self.problem = None

    async def write_step(self, purpose: PlanPurpose, outage: str, record: Mapping[str, Scalar]) -> None:
        """The same for a step, which says to which plan and outage it belongs, and when it was by this boot's clock."""
        clock_s = round(asyncio.get_running_loop().time(), 2)
        await self.write({**record, "plan": purpose.value, "outage": outage, "clock_s": clock_s})

    def note(self, record: Mapping[str, Scalar], *, settles: bool = False) -> None:
        """Write something down without waiting for it; `settles` if it may end what the journal tells."""

        async def write() -> None:
            await self.write(record)
            if settles:
                self.settled()

        note = asyncio.create_task(write(), name="note")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    def note_supply(self, lost_at: float | None) -> None:
        """Write down, for the next run, since when (loop time) the mains is away, or that it is back."""
        now = asyncio.get_running_loop().time()
        for_s = None if lost_at is None else round(now - lost_at, 1)
        self.note({"record": "supply", "lost_at": lost_at, "for_s": for_s}, settles=lost_at is None)

    async def close(self) -> None:
        """Wait for what is being noted."""
        if self._notes:
            await asyncio.wait(self._notes)
