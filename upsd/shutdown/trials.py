"""A rehearsal and a drill: how the shutdown is tried out while the mains is there, and what is told of that. Pure.

A drill is a shedding that a person asked for, of one worker, that is undone as soon as it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from upsd.domain.plan import PlanPurpose
from upsd.domain.power import Event, Severity
from upsd.shutdown.plan import shed_plan, undo_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Plan
    from upsd.domain.power import Scalar
    from upsd.shutdown.plan import RackShape

REASON = PlanPurpose.DRILL.value
"""The reason of a shedding that began as a drill."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The steps of the shutdown, each proven without harm."""

    name: str

    def started(self) -> Event:
        """It begins."""
        return Event("rehearsal_started", Severity.INFO, {"rehearsal": self.name})

    def finished(self, not_proven: str | None) -> Event:
        """Every step was tried, and these failed."""
        severity = Severity.WARNING if not_proven else Severity.INFO
        return Event("rehearsal_finished", severity, {"rehearsal": self.name, "not_proven": not_proven})

    def cancelled(self) -> Event:
        """Something else has taken its place."""
        return Event("rehearsal_cancelled", Severity.WARNING, {"rehearsal": self.name})


@dataclass(frozen=True, slots=True)
class Drill:
    """One worker that goes off as in an outage, and comes back."""

    name: str
    worker: str

    @property
    def record(self) -> Mapping[str, Scalar]:
        """What the journal is told first, so that a run of the daemon after this one brings the worker back."""
        plan = PlanPurpose.DRILL.value
        return {"record": "shedding", "outage": self.name, "reason": REASON, "workers": self.worker, "plan": plan}

    def started(self) -> Event:
        """It begins."""
        return Event("drill_started", Severity.WARNING, {"drill": self.name, "worker": self.worker})

    def finished(self, not_done: str | None) -> Event:
        """Everything is over, but for these steps."""
        fields = {"drill": self.name, "worker": self.worker, "not_done": not_done}
        return Event("drill_finished", Severity.WARNING if not_done else Severity.INFO, fields)

    def cancelled(self) -> Event:
        """Something else has taken its place, and is what brings the worker back."""
        return Event("drill_cancelled", Severity.WARNING, {"drill": self.name, "worker": self.worker})


def drill_plan(rack: RackShape, worker: str) -> Plan:
    """The plan that powers this worker off, and nobody else."""
    return replace(shed_plan(rack, {worker}), purpose=PlanPurpose.DRILL)


def return_plan(rack: RackShape, worker: str) -> Plan:
    """The plan that brings it back when all of that was done."""
    away = drill_plan(rack, worker)
    return undo_plan(away, [step.id for step in away.steps], rack, shed={worker})
