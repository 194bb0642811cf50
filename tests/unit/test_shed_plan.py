"""Which machines go off early to spare the battery, in which order, and what brings them back."""

from __future__ import annotations

from dataclasses import replace

from tests.plans import RACK, before, ids, of_kind
from upsd.domain.plan import PlanPurpose, StepKind
from upsd.shutdown.plan import HostShape, point_of_no_return, shed_plan, shutdown_plan, undo_plan

WAKES = replace(RACK, workers=(HostShape("pi4-a", 20, 120, wakes=True), HostShape("pi4-b", 20, 120)))


def test_a_group_that_is_shed_is_cordoned_drained_off_and_seen_off() -> None:
    """Its nodes first, so that no pod moves to the next one that goes; nobody else is touched."""
    plan = shed_plan(RACK, {"pi4-a", "pi4-b"})
    assert ids(plan) == [
        "cordon pi4-a",
        "cordon pi4-b",
        "drain pi4-a",
        "poweroff pi4-a",
        "confirm-off pi4-a",
        "drain pi4-b",
        "poweroff pi4-b",
        "confirm-off pi4-b",
    ]
    assert before(plan, "drain pi4-a") == {"cordon pi4-a", "cordon pi4-b"}
    assert plan.purpose is PlanPurpose.SHED
    assert {step.target for step in shed_plan(RACK, {"pi4-b"}).steps} == {"pi4-b"}
    assert ids(shed_plan(replace(RACK, cluster=None), {"pi4-b"})) == ["poweroff pi4-b", "confirm-off pi4-b"]


def test_only_a_machine_that_can_be_woken_is_shed_without_committing() -> None:
    """Each power-off says whether it can be taken back; that of a shutdown never can."""
    plan = shed_plan(WAKES, {"pi4-a", "pi4-b"})
    assert [(step.target, step.commits) for step in of_kind(plan, StepKind.POWEROFF)] == [
        ("pi4-a", False),
        ("pi4-b", True),
    ]
    assert point_of_no_return(plan) == "poweroff pi4-b"
    assert point_of_no_return(shutdown_plan(WAKES)) == "poweroff pi4-a"


def test_what_shedding_did_is_undone_machine_by_machine() -> None:
    """One that stays off keeps nobody else waiting, and none is uncordoned before it is back."""
    started = set(ids(shed_plan(RACK, {"pi4-a", "pi4-b"}))) - {"poweroff pi4-b", "confirm-off pi4-b"}
    plan = undo_plan(shutdown_plan(RACK), started, RACK, shed={"pi4-a", "pi4-b"})
    assert ids(plan) == [
        "wait-host pi4-a",
        "wait-ready pi4-a",
        "uncordon pi4-a",
        "uncordon pi4-b",
        "workloads",
    ]
    assert before(plan, "uncordon pi4-a") == {"wait-host pi4-a", "wait-ready pi4-a"}
    assert before(plan, "uncordon pi4-b") == set()


def test_a_shutdown_that_took_over_from_a_shedding_is_undone_with_it() -> None:
    """The cordon of the whole cluster does not wait for the machine that is off."""
    plan = undo_plan(shutdown_plan(RACK), {"cordon", "cordon pi4-a", "poweroff pi4-a"}, RACK, shed={"pi4-a"})
    assert ids(plan) == ["uncordon", "wait-host pi4-a", "wait-ready pi4-a", "uncordon pi4-a", "workloads"]
    assert before(plan, "uncordon") == set()


def test_a_shed_worker_that_the_settings_name_no_more_takes_pods_again() -> None:
    """It was renamed or taken away in the outage: its node must not stay cordoned for ever."""
    plan = undo_plan(shutdown_plan(RACK), {"cordon pi9", "poweroff pi9", "cordon pi4-a"}, RACK, shed={"pi9", "pi4-a"})
    assert ids(plan) == ["uncordon pi4-a", "uncordon", "workloads"]
    assert before(plan, "uncordon") == {"uncordon pi4-a"}
