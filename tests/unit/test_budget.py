"""Until when a step may take: all the slack there is, never the time that a later step must have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind
from upsd.shutdown.budget import (
    critical_path_s,
    deadline_at,
    describe,
    earliest_finishes,
    latest_finishes,
    worst_case_s,
)
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, StorageShape, shutdown_plan

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

TOLERANCE_S = 1e-6
RACK = RackShape(
    master=HostShape("k3s-master", 40, 120),
    workers=tuple(HostShape(name, 20, 120) for name in ("pi4-a", "pi4-b", "pi3", "bananapi")),
    cluster=ClusterShape(cordon_s=3, drain_s=60, drain_limit_s=300, delete_grace_s=5, ready_limit_s=600),
    storage=StorageShape("nas", flush_s=5, limit_s=60, host=HostShape("nas", 40, 120)),
    outlet_off_delay_s=180,
)
REFERENCE = shutdown_plan(RACK)

seconds = st.floats(0, 1000)


@st.composite
def plans(draw: DrawFn) -> Plan:
    """A plan with any graph of up to twelve steps."""
    steps: list[Step] = []
    for number in range(draw(st.integers(0, 12))):
        needs = draw(st.sets(st.sampled_from([step.id for step in steps]))) if steps else set[str]()
        minimum_s, more_s, yet_more_s = draw(seconds), draw(seconds), draw(seconds)
        steps.append(
            Step(
                id=str(number),
                kind=StepKind.ANNOUNCE,
                target="",
                needs=tuple(sorted(needs)),
                expected_s=minimum_s + more_s,
                minimum_s=minimum_s,
                limit_s=minimum_s + yet_more_s,
            )
        )
    return Plan(PlanPurpose.SHUTDOWN, tuple(steps))


def run_to_the_deadlines(plan: Plan, end_at: float) -> dict[str, tuple[float, float]]:
    """Start and end of each step, if each takes all the time that it may."""
    latest, spans = latest_finishes(plan, end_at), dict[str, tuple[float, float]]()
    for step in plan.steps:
        start = max((spans[need][1] for need in step.needs), default=0.0)
        spans[step.id] = (start, deadline_at(step, start, latest[step.id]))
    return spans


@given(plans(), seconds)
def test_no_step_starts_before_what_it_needs(plan: Plan, slack_s: float) -> None:
    """However long each takes."""
    spans = run_to_the_deadlines(plan, critical_path_s(plan, forced=True) + slack_s)
    for step in plan.steps:
        assert all(spans[need][1] <= spans[step.id][0] for need in step.needs)


@given(plans(), seconds)
def test_every_step_leaves_its_followers_their_minimum(plan: Plan, end_at: float) -> None:
    """The latest finish of a step is no later than the latest start of each that needs it."""
    latest = latest_finishes(plan, end_at)
    for step in plan.steps:
        assert latest[step.id] <= end_at
        assert all(latest[need] <= latest[step.id] - step.minimum_s for need in step.needs)


@given(plans(), seconds)
def test_a_plan_whose_forced_path_fits_ends_in_time(plan: Plan, slack_s: float) -> None:
    """Even if every step takes all that it may, the last is over before the battery is."""
    end_at = critical_path_s(plan, forced=True) + slack_s
    for start, deadline in run_to_the_deadlines(plan, end_at).values():
        assert start <= deadline <= end_at + TOLERANCE_S
    assert worst_case_s(plan, end_in_s=end_at) <= end_at + TOLERANCE_S


@given(plans(), seconds)
def test_a_plan_that_does_not_fit_takes_no_longer_than_its_forced_path(plan: Plan, short_s: float) -> None:
    """When it is too late for all, every step gets its minimum and no more."""
    forced_s = critical_path_s(plan, forced=True)
    spans = run_to_the_deadlines(plan, forced_s - short_s)
    assert max((deadline for _, deadline in spans.values()), default=0.0) <= forced_s + TOLERANCE_S


@given(plans(), seconds, seconds)
def test_a_step_gets_its_minimum_and_never_more_than_its_limit(plan: Plan, started_at: float, end_at: float) -> None:
    """Between the two, the battery decides."""
    for step in plan.steps:
        deadline = deadline_at(step, started_at, latest_finishes(plan, end_at)[step.id])
        assert started_at + step.minimum_s <= deadline <= started_at + step.limit_s + TOLERANCE_S


@given(plans())
def test_on_mains_only_the_limits_count(plan: Plan) -> None:
    """An endless battery is no deadline, and no trouble for the arithmetic."""
    latest = latest_finishes(plan, math.inf)
    assert all(deadline_at(step, 5.0, latest[step.id]) == 5.0 + step.limit_s for step in plan.steps)


@given(plans())
def test_a_forced_plan_is_never_slower(plan: Plan) -> None:
    """Force only ever saves time."""
    assert critical_path_s(plan, forced=True) <= critical_path_s(plan)


@given(plans())
def test_the_critical_path_is_the_longest_chain(plan: Plan) -> None:
    """Everything together is no shorter than any step, and no longer than all of them in a row."""
    finish = earliest_finishes(plan)
    for step in plan.steps:
        assert finish[step.id] == max((finish[need] for need in step.needs), default=0.0) + step.expected_s
    total_s = sum(step.expected_s for step in plan.steps)
    assert critical_path_s(plan) <= total_s + TOLERANCE_S
    assert critical_path_s(plan) >= max((step.expected_s for step in plan.steps), default=0.0)


@given(plans(), st.data())
def test_what_is_over_takes_no_more_time(plan: Plan, data: st.DataObject) -> None:
    """The time that a running plan still needs shrinks with each step that ends."""
    ended: set[str] = set()
    left_s = critical_path_s(plan)
    for step in data.draw(st.permutations([step.id for step in plan.steps])):
        ended.add(step)
        assert critical_path_s(plan, ended=ended) <= left_s
        left_s = critical_path_s(plan, ended=ended)
    assert left_s == 0


def test_a_fast_rack_waits_for_its_slowest_machine() -> None:
    """The reference plan's time is that of its longest chain: drain, power-off, NAS, outlets, master."""
    assert critical_path_s(REFERENCE) == 0.5 + 3 + 60 + 6 + 20 + 5 + 5 + 6 + 40 + 2 + 5 + 40


def test_the_description_names_every_step_and_the_point_of_no_return() -> None:
    """What `upsctl config check` prints fits a terminal and says where mains back no longer helps."""
    lines = describe(REFERENCE)
    text = "\n".join(lines)
    assert all(step.id in text for step in REFERENCE.steps)
    assert max(len(line) for line in lines) <= 100
    commit = next(number for number, line in enumerate(lines) if "point of no return" in line)
    assert "poweroff pi4-a" in lines[commit + 1]
    assert lines[-2:] == [
        "The whole plan usually takes 192 s; with every step forced, 80 s; at worst, 896 s.",
        "None of its steps was measured yet: these are the times of the settings.",
    ]
