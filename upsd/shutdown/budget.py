"""Until when may each step of a plan take? Pure.

Time is budgeted by the critical-path method: a backward pass with minimum durations gives every step its latest
finish, so that a step may use all the slack there is, but never the time that a later step must have.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from upsd.shutdown.plan import point_of_no_return

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from upsd.domain.plan import Plan, Step


def earliest_finishes(
    plan: Plan,
    *,
    forced: bool = False,
    ended: Collection[str] = (),
    spent_s: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, float]:
    """When each step is over, in seconds from now, if all goes as usual, or with every step forced.

    `spent_s` is for how long (s) a step that runs has been running.
    """
    finish: dict[str, float] = {}
    for step in plan.steps:
        whole_s = 0.0 if step.id in ended else step.minimum_s if forced else step.expected_s
        duration_s = max(0.0, whole_s - spent_s.get(step.id, 0.0))
        finish[step.id] = max((finish[need] for need in step.needs), default=0.0) + duration_s
    return finish


def critical_path_s(
    plan: Plan,
    *,
    forced: bool = False,
    ended: Collection[str] = (),
    spent_s: Mapping[str, float] = MappingProxyType({}),
) -> float:
    """How long the steps that have not ended take (s)."""
    return max(earliest_finishes(plan, forced=forced, ended=ended, spent_s=spent_s).values(), default=0.0)


def latest_finishes(plan: Plan, end_at: float, *, ended: Collection[str] = ()) -> dict[str, float]:
    """When each step must have ended so that all that follows still has its minimum before `end_at`."""
    latest = {step.id: end_at for step in plan.steps}
    for step in reversed(plan.steps):
        minimum_s = 0.0 if step.id in ended else step.minimum_s
        for need in step.needs:
            latest[need] = min(latest[need], latest[step.id] - minimum_s)
    return latest


def deadline_at(step: Step, started_at: float, latest_finish_at: float) -> float:
    """Until when a step that began may go on: its latest finish, within its limit, but never less than it must have."""
    return min(started_at + step.limit_s, max(latest_finish_at, started_at + step.minimum_s))


def describe(plan: Plan) -> list[str]:
    """The plan as lines for a person, at most 100 columns wide."""
    finish, commit = earliest_finishes(plan), point_of_no_return(plan)
    lines = [f"{'start':>6}  {'step':<27} {'usually':>7} {'forced':>7} {'limit':>7}  after"]
    for step in plan.steps:
        if step.id == commit:
            lines.append("        --- point of no return: before it, mains back undoes everything ---")
        lines.append(
            f"{finish[step.id] - step.expected_s:>5.0f}s  {step.id:<27} {step.expected_s:>6.0f}s"
            f" {step.minimum_s:>6.0f}s {step.limit_s:>6.0f}s  {_shortened(step.needs)}".rstrip()
        )
    usually, forced = critical_path_s(plan), critical_path_s(plan, forced=True)
    return [*lines, f"The whole plan usually takes {usually:.0f} s; with every step forced, {forced:.0f} s."]


def _shortened(needs: Sequence[str]) -> str:
    return f"{needs[0]} and {len(needs) - 1} more" if len(needs) > 1 else "".join(needs)
