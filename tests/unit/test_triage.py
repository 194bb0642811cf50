"""What is left out when the battery is too small: no more than needed, and never what saves data."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.plans import CLUSTER, NAS, RACK
from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.plan import DatastoreShape, HostShape, shutdown_plan
from upsd.shutdown.triage import LEFT_OUT_FIRST, left_out

if TYPE_CHECKING:
    from collections.abc import Collection

    from hypothesis.strategies import DrawFn

SAVES_DATA = set(StepKind) - set(LEFT_OUT_FIRST)
REFERENCE = shutdown_plan(replace(RACK, storage=replace(NAS, host=HostShape("nas", 40, 120))))
COPIED = shutdown_plan(replace(RACK, datastore=DatastoreShape(snapshot_s=5, limit_s=60, stops=False)))
FORCED_S = critical_path_s(REFERENCE, forced=True)

durations = st.floats(0, 30)


@st.composite
def plans(draw: DrawFn) -> Plan:
    """A small plan of any kinds of steps in any order."""
    steps: list[Step] = []
    for number in range(draw(st.integers(0, 9))):
        needs = draw(st.sets(st.sampled_from([step.id for step in steps]))) if steps else set[str]()
        kind = draw(st.sampled_from([*LEFT_OUT_FIRST, StepKind.FLUSH, StepKind.POWEROFF]))
        minimum_s = draw(durations)
        steps.append(
            Step(
                id=str(number),
                kind=kind,
                target="",
                needs=tuple(sorted(needs)),
                expected_s=minimum_s,
                minimum_s=minimum_s,
                limit_s=minimum_s,
            )
        )
    return Plan(PlanPurpose.SHUTDOWN, tuple(steps))


def test_a_snapshot_is_among_the_first_to_be_left_out() -> None:
    """The datastore itself is saved by an orderly end; its copy takes time from that."""
    needed_s = critical_path_s(COPIED, forced=True)
    assert chosen(COPIED, needed_s) == frozenset()
    assert chosen(COPIED, needed_s - 1.0) == {StepKind.SNAPSHOT}


def path_s(plan: Plan, without: Collection[StepKind]) -> float:
    """How long the rest takes when forced."""
    return critical_path_s(plan, forced=True, ended={step.id for step in plan.steps if step.kind in without})


def chosen(plan: Plan, left_s: float) -> frozenset[StepKind]:
    """What is left out of a plan that begins now."""
    return left_out(plan, left_s, spent_s={}, ended=())


def loss(kinds: Collection[StepKind]) -> tuple[bool, ...]:
    """How much is lost, to be compared: the greatest loss first."""
    return tuple(kind in kinds for kind in reversed(list(LEFT_OUT_FIRST)))


@given(plans(), st.floats(0, 200))
def test_no_better_choice_exists(plan: Plan, left_s: float) -> None:
    """Compared with every other choice, the plan fits if it can, and with the least loss."""
    kinds = list(LEFT_OUT_FIRST)
    every = [set(some) for count in range(len(kinds) + 1) for some in itertools.combinations(kinds, count)]
    shortest_s = min(path_s(plan, choice) for choice in every)
    good = [choice for choice in every if path_s(plan, choice) <= max(left_s, shortest_s)]
    found = chosen(plan, left_s)
    assert path_s(plan, found) <= max(left_s, shortest_s)
    assert loss(found) == min(map(loss, good))


@given(plans(), st.floats(-50, 200))
def test_what_saves_data_is_never_left_out(plan: Plan, left_s: float) -> None:
    """However late it is."""
    assert not chosen(plan, left_s) & SAVES_DATA


def test_a_plan_that_fits_is_whole() -> None:
    """To the last second, and on mains."""
    assert chosen(REFERENCE, FORCED_S) == frozenset()
    assert chosen(REFERENCE, math.inf) == frozenset()


def test_the_pods_lose_their_order_first() -> None:
    """They end with their machine all the same."""
    assert chosen(REFERENCE, FORCED_S - 1.0) == {StepKind.DRAIN}


def test_when_nothing_fits_any_more_only_what_saves_data_is_done() -> None:
    """As soon as it can be."""
    assert chosen(COPIED, 0.0) == set(LEFT_OUT_FIRST)


def test_a_step_that_runs_has_had_a_part_of_its_time() -> None:
    """What it still needs counts, and it is not left out any more."""
    plan = shutdown_plan(replace(RACK, cluster=replace(CLUSTER, delete_grace_s=17)))
    drains = {step.id: 15.0 for step in plan.steps if step.kind is StepKind.DRAIN}
    before = {step.id for step in plan.steps if step.kind in {StepKind.ANNOUNCE, StepKind.CORDON}}
    needed_s = critical_path_s(plan, forced=True, ended=before)
    assert left_out(plan, needed_s - 15.0, spent_s=drains, ended=before) == frozenset()
    assert left_out(plan, needed_s - 16.0, spent_s=drains, ended=before) == {StepKind.LAST_LOOK}
