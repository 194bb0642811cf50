"""What `upsctl plan` is told: the same plan as an outage runs, against the battery as it is now."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_budget import RACK, REFERENCE, plans
from upsd.domain.power import RuntimeEstimate
from upsd.plan_document import plan_document
from upsd.shutdown.budget import critical_path_s, critical_steps, earliest_finishes
from upsd.shutdown.plan import recovery_plan
from upsd.shutdown.shedding import ShedGroup

if TYPE_CHECKING:
    from upsd.domain.plan import Plan

GROUPS = (
    ShedGroup(name="extras", workers=("pi3", "bananapi"), on_battery_s=300.0, runtime_s=1200.0),
    ShedGroup(name="lab", workers=("pi3",), runtime_s=600.0),
)


def told(low_s: float | None = 1440.0, plan: Plan = REFERENCE) -> dict[str, Any]:
    """The document, as a client reads it."""
    runtime = None if low_s is None else RuntimeEstimate(2 * low_s, low_s, 3 * low_s, "model")
    document: dict[str, Any] = json.loads(
        json.dumps(
            plan_document(
                plan,
                runtime,
                reserve_s=60.0,
                margin_s=60.0,
                recovery=recovery_plan(RACK),
                shedding=GROUPS,
                wakes=["pi3"],
            ),
            allow_nan=False,
        )
    )
    return document


def test_each_step_has_its_times_against_the_battery() -> None:
    """When it usually runs, when it is over by force, and until when it may go on."""
    document = told()
    steps = {step["id"]: step for step in document["steps"]}
    assert [step["id"] for step in document["steps"]] == [step.id for step in REFERENCE.steps]
    master, drain = steps["host-poweroff k3s-master"], steps["drain pi3"]
    assert master["earliest_finish_s"] == document["expected_s"] == pytest.approx(critical_path_s(REFERENCE), abs=0.1)
    assert master["forced_finish_s"] == document["minimum_s"]
    assert master["latest_finish_s"] == 1440 - 60
    assert (drain["earliest_start_s"], drain["earliest_finish_s"]) == (3.5, 63.5)
    assert drain["latest_finish_s"] < steps["poweroff pi3"]["latest_finish_s"] < master["latest_finish_s"]
    assert document["point_of_no_return"] == "poweroff pi4-a"


def test_a_good_battery_says_how_long_the_start_can_wait() -> None:
    """What `auto` goes by: the battery, less the reserve, the margin and the plan."""
    battery = told(1440.0)["battery"]
    assert battery["fits"] == "usual"
    assert battery["latest_start_s"] == pytest.approx(1440 - 60 - 60 - critical_path_s(REFERENCE), abs=0.1)
    assert battery["slack_s"] == pytest.approx(battery["latest_start_s"] + 60, abs=0.1)
    assert battery["left_out"] == {}


def test_a_battery_too_small_says_what_would_be_left_out() -> None:
    """Before the outage, when there is still something to be done about it."""
    assert told(120.0)["battery"]["fits"] == "forced"
    battery = told(critical_path_s(REFERENCE, forced=True) - 1)["battery"]
    assert battery["fits"] == "not"
    assert battery["left_out"]
    assert "drain" not in told(120.0)["battery"]["left_out"]
    assert "drain" in told(60.0)["battery"]["left_out"]


def test_what_goes_off_early_is_told_with_its_conditions_and_when() -> None:
    """By the battery as it is now; and who would not come back by itself, if the shutdown never begins."""
    extras = "extras: pi3, bananapi would go off after 5 min on battery or once no more than 20 min of runtime is left"
    assert told(1440.0)["shedding"] == [
        f"{extras}; if the mains went now, in 4 min. Not woken when it is back, for want of `mac`: bananapi.",
        "lab: pi3 would go off once no more than 10 min of runtime is left; if the mains went now, in 14 min.",
    ]
    assert "mains went now, in 0 s" in told(60.0)["shedding"][1]
    before = told(None)["shedding"]
    assert "in 5 min." in before[0]
    assert before[1] == "lab: pi3 would go off once no more than 10 min of runtime is left."


def test_what_brings_everything_back_is_told_step_by_step() -> None:
    """In its order, and without a point of no return."""
    lines = told()["recovery"]
    named = [line.split()[1] for line in lines if re.match(r" *\d+s ", line)]
    assert named[0] == "wait-battery"
    assert named[-2:] == ["uncordon", "workloads"]
    assert not any("no return" in line for line in lines)
    assert lines[-2].startswith("The whole plan usually takes")


def test_before_the_first_reading_nothing_is_invented() -> None:
    """The plan is there, and what is not known is null."""
    document = told(None)
    assert document["battery"] is None
    assert {step["latest_finish_s"] for step in document["steps"]} == {None}
    assert document["expected_s"]


@given(plans())
def test_the_longest_chain_takes_as_long_as_the_plan(plan: Plan) -> None:
    """Each of its steps needs the one before it, and nothing else makes the plan last."""
    chain, by_id = critical_steps(plan), {step.id: step for step in plan.steps}
    assert sum(by_id[step].expected_s for step in chain) == pytest.approx(critical_path_s(plan))
    assert all(before in by_id[step].needs for before, step in pairwise(chain))
    assert bool(chain) == bool(plan.steps)
    assert not chain or not by_id[chain[0]].needs


@given(plans(), st.floats(0, 5000))
def test_every_plan_can_be_told(plan: Plan, low_s: float) -> None:
    """And no step is said to begin before what it needs."""
    document = told(low_s, plan)
    finish = earliest_finishes(plan)
    for step in document["steps"]:
        assert step["earliest_start_s"] >= max((finish[need] for need in step["needs"]), default=0.0) - 0.1
