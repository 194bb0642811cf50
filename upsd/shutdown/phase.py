"""What the conductor does at the moment, and what it tells of a step."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from upsd.domain.plan import StepState
from upsd.domain.power import Event, Severity

if TYPE_CHECKING:
    from upsd.domain.plan import StepProgress
    from upsd.domain.power import Scalar

GOOD: Final = frozenset({StepState.DONE, StepState.FORCED})
"""How a step ends well."""


class Phase(enum.StrEnum):
    """What the conductor does."""

    IDLE = "idle"
    SHEDDING = "shedding"
    """Some workers go off early, or are off, so that the battery lasts longer for the rest."""
    SHUTTING_DOWN = "shutting-down"
    FINISHED = "finished"
    """The shutdown plan has ended and this machine is still up."""
    ABORTING = "aborting"
    RECOVERING = "recovering"
    REHEARSING = "rehearsing"
    """The steps of the shutdown are being proven, without harm."""


def step_event(progress: StepProgress) -> Event:
    """What everybody is told when a step begins or ends."""
    fields: dict[str, Scalar] = {"step": progress.step.id, "state": progress.state.value}
    if not progress.state.ended:
        return Event("step_started", Severity.INFO, fields)
    if progress.started_at is not None and progress.ended_at is not None:
        fields["seconds"] = round(progress.ended_at - progress.started_at, 1)
    fields["detail"] = progress.detail or None
    return Event("step_ended", Severity.INFO if progress.state in GOOD else Severity.WARNING, fields)
