"""Goes on with the journal that an earlier run has left, and files each outage that is over with its report."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from upsd.domain.power import Event, Severity
from upsd.shutdown.journal import JournalError
from upsd.shutdown.records import is_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from upsd.shutdown.journal import FileJournal, Found
    from upsd.shutdown.recorder import Recorder

log = structlog.get_logger()


class Filing:
    """The journal's way from one outage to the next.

    Args:
        journal: the journal.
        found: what it held at the start.
        directory: where the outages that are over are kept.
        ups: what the settings call the UPS.
        boot_id: of this boot.
        emit: hears what becomes of it.
    """

    def __init__(
        self,
        journal: FileJournal,
        found: Found,
        directory: Path,
        *,
        ups: str,
        boot_id: str,
        emit: Callable[[Event], None],
    ) -> None:
        self._journal = journal
        self._found = found
        self._directory = directory
        self._ups = ups
        self._boot_id = boot_id
        self._emit = emit
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> str | None:
        """What a person should look after."""
        if self._found.aside is None:
            return None
        return f"the journal was damaged, and is kept as {self._found.aside}: look after the disk, then remove it"

    async def take_up(self, recorder: Recorder) -> None:
        """Tell what was found of the journal, and go on with it."""
        contents = self._found.contents
        if recorder.problem:
            self._emit(Event("journal_failed", Severity.CRITICAL, {"reason": recorder.problem}))
        if contents.damaged or self._found.aside:
            kept = str(self._found.aside) if self._found.aside else None
            self._emit(Event("journal_damaged", Severity.WARNING, {"lines": contents.damaged, "kept": kept}))
            recorder.note({"record": "damaged", "lines": contents.damaged})
        if contents.torn:
            self._emit(Event("journal_torn"))
        if contents.lines and is_over(contents.lines, self._boot_id):
            await self._file()
        elif contents.lines:
            recorder.note({"record": "started"})

    def begin(self) -> None:
        """File what is over, if anything is, without waiting for it."""
        filing = asyncio.create_task(self._file(), name="file-outage")
        self._under_way.add(filing)
        filing.add_done_callback(self._under_way.discard)

    async def _file(self) -> None:
        """Make the report of an outage that is over, and begin the journal anew."""
        file = partial(_file_outage, self._directory, ups=self._ups, boot_id=self._boot_id)
        try:
            name = await self._journal.hand_over(file)
        except JournalError as error:
            self._emit(Event("outage_report_failed", Severity.WARNING, {"reason": str(error)}))
        except Exception:
            log.exception("outage_report_defect")
        else:
            if name:
                fields = {"outage": name, "path": str(self._directory / f"{name}.md")}
                self._emit(Event("outage_report_written", fields=fields))


def _file_outage(directory: Path, lines: Sequence[str], *, ups: str, boot_id: str) -> str | None:
    from upsd.shutdown.outages import file_outage  # noqa: PLC0415 - few outages are worth its memory all the time

    return file_outage(directory, lines, ups=ups, boot_id=boot_id)
