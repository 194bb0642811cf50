"""The switch behind the outlets: when they go off, and what brings them back.

CS switches off after a delay; the outlets return with the mains, once it has been away (seen on an iDialog).
CR switches off after a delay and on again some time later. CD cancels whichever of the two is still waiting.
A battery run-out is like CS. A machine that speaks SENTR trips its own breaker: only a person closes it again
(SENTR page 6). Pure: time is an argument.
"""

from __future__ import annotations

import enum
from typing import Final

SHORTEST_RESTORE_S: Final = 10.0
"""What a restore delay of 0 minutes means."""


class OffCause(enum.Enum):
    """Why the outlets are off, which decides what brings them back."""

    SHUTDOWN = "shutdown"
    CYCLE = "cycle"
    RUN_OUT = "run-out"
    HELD = "held"
    """A restore that was cancelled: only a person or another CR switches on."""
    TRIPPED = "tripped"
    """Only a person switches on."""


class Outlets:
    """The outlets, all switched together; `on` is what the machines in them feel."""

    def __init__(self, *, restore_needs_mains: bool = True, starts_after_run_out: bool = True) -> None:
        self.on = True
        self.cause: OffCause | None = None
        self.shutdown_at: float | None = None
        self.restore_at: float | None = None
        self._restore_after_s: float | None = None
        self._off_cause = OffCause.SHUTDOWN
        self._mains_was_away = False
        self._restore_needs_mains = restore_needs_mains
        self._starts_after_run_out = starts_after_run_out

    @property
    def restore_pending(self) -> bool:
        """Whether they are off and a timer, or mains after it, will switch them on."""
        return not self.on and self.cause is OffCause.CYCLE

    def next_deadline(self, now: float) -> float | None:
        """The next moment at which `settle` will find a timer run out."""
        deadlines = (self.shutdown_at, self.restore_at)
        return min((at for at in deadlines if at is not None and at > now), default=None)

    def schedule(self, now: float, delay_s: float, restore_after_s: float | None) -> None:
        """Switch off after the delay, and on again that long after it (`None`: not by a timer)."""
        if self.on:
            self.shutdown_at = now + delay_s
            self._restore_after_s, self._off_cause = restore_after_s, OffCause.SHUTDOWN
        elif restore_after_s is not None and self.cause is not OffCause.TRIPPED:
            self._begin_cycle(now + delay_s + restore_after_s)

    def schedule_trip(self, now: float, delay_s: float) -> None:
        """Switch off after the delay, until a person switches on."""
        self.schedule(now, delay_s, None)
        self._off_cause = OffCause.TRIPPED

    def cancel(self) -> None:
        """Drop a waiting shutdown; or, when off already, the waiting restore."""
        self.shutdown_at = self._restore_after_s = None
        if self.restore_pending:
            self.cause, self.restore_at = OffCause.HELD, None

    def run_out(self) -> None:
        """The battery is empty: off, and every timer is forgotten."""
        self._switch_off(OffCause.RUN_OUT)

    def switch_on(self) -> None:
        """A person presses the button."""
        self.on = True
        self.cause = self.restore_at = None

    def settle(self, now: float, *, mains: bool) -> None:
        """Do what is due: run-out timers, and what the mains brings back."""
        if self.shutdown_at is not None and now >= self.shutdown_at:
            off_at, restore_after_s = self.shutdown_at, self._restore_after_s
            self._switch_off(self._off_cause)
            if restore_after_s is not None:
                self._begin_cycle(off_at + restore_after_s)
        if self.on:
            return
        self._mains_was_away |= not mains
        if self._comes_back(now, mains=mains):
            self.switch_on()

    def _comes_back(self, now: float, *, mains: bool) -> bool:
        match self.cause:
            case OffCause.SHUTDOWN:
                return mains and self._mains_was_away
            case OffCause.RUN_OUT:
                return mains and self._starts_after_run_out
            case OffCause.CYCLE:
                due = self.restore_at is not None and now >= self.restore_at
                return due and (mains or not self._restore_needs_mains)
            case _:
                return False

    def _switch_off(self, cause: OffCause) -> None:
        self.on = False
        self.cause = cause
        self.shutdown_at = self.restore_at = self._restore_after_s = None
        self._mains_was_away = False

    def _begin_cycle(self, restore_at: float) -> None:
        self.cause, self.restore_at = OffCause.CYCLE, restore_at
