"""Where does a run stand, by the progress of its steps? Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from upsd.domain.plan import PlanPurpose, StepKind, StepState
from upsd.domain.power import Event, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from upsd.domain.plan import StepProgress
    from upsd.domain.power import Scalar

GOOD: Final = frozenset({StepState.DONE, StepState.FORCED})
"""How a step ends well."""

_IDLE = frozenset({StepState.PENDING, StepState.LEFT_OUT})


def began(run: Mapping[str, StepProgress]) -> frozenset[str]:
    """The steps that have begun."""
    return frozenset(step for step, progress in run.items() if progress.state not in _IDLE)


def ended(run: Mapping[str, StepProgress]) -> frozenset[str]:
    """The steps that are over, however they went."""
    return frozenset(step for step, progress in run.items() if progress.state.ended)


def gone_well(run: Mapping[str, StepProgress]) -> frozenset[str]:
    """The steps that ended well."""
    return frozenset(step for step, progress in run.items() if progress.state in GOOD)


def seen_off(run: Mapping[str, StepProgress]) -> frozenset[str]:
    """The machines that were seen to go off."""
    return frozenset(
        progress.step.target
        for progress in run.values()
        if progress.step.kind is StepKind.CONFIRM_OFF and progress.state in GOOD
    )


def all_uncordoned(run: Mapping[str, StepProgress]) -> bool:
    """Whether no cordon is left that should have been taken back."""
    return all(progress.state in GOOD for progress in run.values() if progress.step.kind is StepKind.UNCORDON)


def not_good(run: Mapping[str, StepProgress]) -> str | None:
    """The steps that did not end well, by name; `None` if there are none."""
    return _named(step for step, progress in run.items() if progress.state not in GOOD)


def gone_wrong(run: Mapping[str, StepProgress]) -> str | None:
    """The same without those that were left out."""
    return _named(step for step, progress in run.items() if progress.state not in {*GOOD, StepState.LEFT_OUT})


def left_out(run: Mapping[str, StepProgress]) -> str | None:
    """The steps for which the battery was too small."""
    return _named(step for step, progress in run.items() if progress.state is StepState.LEFT_OUT)


def step_event(purpose: PlanPurpose, progress: StepProgress) -> Event | None:
    """What everybody is told when a step begins or ends; of a rehearsal, so that nobody takes it for an outage."""
    rehearsal = purpose is PlanPurpose.REHEARSAL
    fields: dict[str, Scalar] = {"step": progress.step.id, "state": progress.state.value}
    if not progress.state.ended:
        return None if rehearsal else Event("step_started", Severity.INFO, fields)
    if progress.started_at is not None and progress.ended_at is not None:
        fields["seconds"] = round(progress.ended_at - progress.started_at, 1)
    fields["detail"] = progress.detail or None
    name = "step_rehearsed" if rehearsal else "step_ended"
    return Event(name, Severity.INFO if progress.state in GOOD else Severity.WARNING, fields)


def _named(steps: Iterable[str]) -> str | None:
    return ", ".join(sorted(steps)) or None
