"""The most that could have been saved: every choice of what to leave out, tried one after the other."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING

from hardware_sim.outages.process import rack_shape
from hardware_sim.outages.scenario import MASTER, NAS
from upsd.domain.plan import StepKind
from upsd.shutdown.budget import earliest_finishes
from upsd.shutdown.plan import shutdown_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hardware_sim.outages.scenario import Scenario
    from upsd.domain.plan import Plan

_GIVEN_UP = (
    StepKind.ANNOUNCE,
    StepKind.SNAPSHOT,
    StepKind.CORDON,
    StepKind.DRAIN,
    StepKind.LAST_LOOK,
    StepKind.CONFIRM_OFF,
)


def most_saved(scenario: Scenario, left_s: float) -> int:
    """How many machines of the rack can be off, or written out, within the time (s), each step at its minimum."""
    plan = shutdown_plan(rack_shape(scenario))
    there = [kind for kind in _GIVEN_UP if any(step.kind is kind for step in plan.steps)]
    choices = chain.from_iterable(combinations(there, size) for size in range(len(there) + 1))
    return max(_saved(scenario, plan, kinds, left_s) for kinds in choices)


def _saved(scenario: Scenario, plan: Plan, kinds: Iterable[StepKind], left_s: float) -> int:
    given_up = [step.id for step in plan.steps if step.kind in set(kinds)]
    over_s = earliest_finishes(plan, forced=True, ended=given_up)
    safe_s = {worker.name: over_s[f"poweroff {worker.name}"] + worker.poweroff_s for worker in scenario.workers}
    safe_s[MASTER] = over_s[f"host-poweroff {MASTER}"] - scenario.master.told_poweroff_s + scenario.master.poweroff_s
    safe_s[NAS] = (
        over_s[f"poweroff {NAS}"] + scenario.nas.poweroff_s if scenario.nas_goes_off else over_s[f"flush {NAS}"]
    )
    return sum(at_s <= left_s for at_s in safe_s.values())
