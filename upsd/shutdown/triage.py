"""What is left out when the battery can't carry the whole plan, even with every step forced? Pure.

Some steps save data: machines that go off by themselves, a NAS that has written everything. Others only make it
orderly, and what is lost without them comes back by itself. Their time is given to the first, and of them no more than
needed, least first.

The outlet cycle saves no data either, but is not among them: it takes a moment, and without it the rack would stay
dark although the mains is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from upsd.domain.plan import StepKind
from upsd.shutdown.budget import critical_path_s

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from upsd.domain.plan import Plan

LEFT_OUT_FIRST: Final[Mapping[StepKind, str]] = {
    StepKind.ANNOUNCE: "nobody is told beforehand",
    StepKind.SNAPSHOT: "there is no newer copy of the datastore than the one before",
    StepKind.DRAIN: "the pods end with their machine, without their order and disruption budgets",
    StepKind.CORDON: "pods may move to another machine before it goes off too",
    StepKind.LAST_LOOK: "a machine that comes up meanwhile is cut while it runs",
    StepKind.CONFIRM_OFF: "nobody looks whether the machines went off before what comes after it",
}
"""The kinds that can be left out, the least loss first, and what is lost."""


def left_out(plan: Plan, left_s: float, *, spent_s: Mapping[str, float], ended: Collection[str]) -> frozenset[StepKind]:
    """The kinds whose steps are not begun, so that the others still have their minimum in the time that is left (s).

    Nothing is left out that would fit, or whose loss would save nothing. `spent_s` is for how long (s) a step that runs
    has been running.
    """
    if critical_path_s(plan, forced=True, ended=ended, spent_s=spent_s) <= left_s:
        return frozenset()

    def path_s(without: Collection[StepKind]) -> float:
        skipped = {step.id for step in plan.steps if step.kind in without and step.id not in spent_s}
        return critical_path_s(plan, forced=True, ended=skipped.union(ended), spent_s=spent_s)

    chosen: list[StepKind] = []
    for kind in LEFT_OUT_FIRST:
        if path_s(chosen) <= left_s:
            break
        chosen.append(kind)
    enough_s = max(left_s, path_s(chosen))
    for kind in reversed(chosen.copy()):
        kept = [other for other in chosen if other is not kind]
        if path_s(kept) <= enough_s:
            chosen = kept
    return frozenset(chosen)
