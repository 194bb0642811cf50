"""What the followers of the board are told, and when: events at once, the state when it is something new.

The supervisor and the conductor emit through this and are shown by it: it is made before them, and follows them later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from upsd.domain.power import Severity
from upsd.shutdown.conductor import Phase
from upsd.status import shutdown_document, state_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upsd.domain.power import Event, PowerState, Reading
    from upsd.notify import Notifier
    from upsd.shutdown.conductor import Conductor
    from upsd.status import Document, StatusBoard
    from upsd.supervisor import Supervisor

log = structlog.get_logger()

_QUIET_STATE_S = 30.0
_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "error"}


class Surfaces:
    """Shows the daemon on its board and to systemd; `date` is the wall clock (ISO 8601, UTC)."""

    _supervisor: Supervisor
    _conductor: Conductor

    def __init__(self, board: StatusBoard, notifier: Notifier, date: Callable[[], str]) -> None:
        self._board = board
        self._notifier = notifier
        self._date = date
        self._loop = asyncio.get_running_loop()
        self._shown_at = -_QUIET_STATE_S
        self._shown: tuple[PowerState, Phase, Reading | None, tuple[str, ...], str | None] | None = None

    def follow(self, supervisor: Supervisor, conductor: Conductor) -> None:
        """Show these from now on; to be called before anything is shown."""
        self._supervisor, self._conductor = supervisor, conductor

    def emit(self, event: Event) -> None:
        """Tell the log and every follower what happened."""
        getattr(log, _LEVELS[event.severity])(event.name, ups=self._board.ups, **event.fields)
        self._board.emit(event, self._date())

    def show_state(self) -> None:
        """Tell the followers how everything is, when that is something new, and now and then."""
        now, supervisor = self._loop.time(), self._supervisor
        view, phase = supervisor.view, self._conductor.phase
        shown = (view.state, phase, view.reading, supervisor.warnings, supervisor.test_result)
        busy = view.lost_at is not None or phase is not Phase.IDLE
        if not busy and shown == self._shown and now - self._shown_at < _QUIET_STATE_S:
            return
        if self._shown is None or shown[:2] != self._shown[:2]:
            self._notifier.status(f"{view.state.value.replace('_', ' ')}, {phase.value}")
        self._shown, self._shown_at = shown, now
        self.refresh()
        self._board.set_state(self._board.state)

    def show_shutdown(self) -> None:
        """Tell the followers where the running plan stands."""
        self._board.set_shutdown(self._shutdown_document())
        if self._conductor.phase.value != self._board.state["phase"]:
            self.show_state()

    def refresh(self) -> None:
        """Bring the board up to the moment."""
        now = self._loop.time()
        self._board.state = state_document(self._supervisor.snapshot(now), at=self._date(), now=now)
        self._board.shutdown = self._shutdown_document()

    def complaints(self) -> Iterator[str]:
        """What the UPS says that a person should look after."""
        reading = self._supervisor.view.reading
        if reading is None or self._supervisor.view.silent:
            return
        if reading.replace_battery:
            yield "the UPS asks for a new battery; replace it, then run: upsctl ups test"
        if reading.overload:
            yield "the UPS is overloaded; unplug a machine"
        if reading.over_temperature:
            yield "the UPS is too hot; give it air"
        if (reading.shutdown_active or reading.shutdown_imminent) and self._conductor.phase is Phase.IDLE:
            yield "the UPS will cut its outlets, as it was told; call that off with: upsctl ups cancel"
        for doubt in reading.doubts:
            yield f"the UPS says {doubt.figure} {doubt.said:g}, which is not believed ({doubt.rule})"

    def _shutdown_document(self) -> Document:
        conductor = self._conductor
        return shutdown_document(
            phase=conductor.phase.value,
            outage=conductor.outage,
            reason=conductor.reason or None,
            progress=list(conductor.progress.values()),
            at=self._date(),
            now=self._loop.time(),
            committed=conductor.committed,
        )
