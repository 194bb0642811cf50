"""Tell everybody that the shutdown begins, before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.power import Event, Severity
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.domain.plan import Step
    from upsd.shutdown.engine import StepContext


@dataclass(frozen=True, slots=True)
class Announce:
    """Emits the announcement; who listens is not waited for."""

    emit: Callable[[Event], None]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        fields = {"outage": context.outage, "target": step.target}
        self.emit(Event("shutdown_announced", Severity.CRITICAL, fields))
        return Outcome()


@dataclass(frozen=True, slots=True)
class RehearseAnnounce:
    """Emits that it is a rehearsal, so that nobody takes it for an outage."""

    emit: Callable[[Event], None]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        fields = {"rehearsal": context.outage, "target": step.target}
        self.emit(Event("rehearsal_announced", Severity.INFO, fields))
        return Outcome()
