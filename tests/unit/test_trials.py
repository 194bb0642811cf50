"""What a drill would do, before it does anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import RACK, shapes
from upsd.domain.plan import PlanPurpose, StepKind
from upsd.domain.power import Severity
from upsd.shutdown.ledger import HOW, How
from upsd.shutdown.plan import shutdown_plan
from upsd.shutdown.trials import Drill, drill_plan, return_plan

if TYPE_CHECKING:
    from upsd.shutdown.plan import RackShape

DRILL = Drill("d1", "pi4-a")
ACTS = {StepKind.DRAIN, StepKind.POWEROFF, StepKind.CONFIRM_OFF}


@given(shapes, st.data())
def test_a_drill_acts_on_its_worker_and_on_nobody_else(shape: RackShape, data: st.DataObject) -> None:
    """Whatever the rack is: no outlet, no NAS, no master, no other worker."""
    if not shape.workers:
        return
    worker = data.draw(st.sampled_from([host.name for host in shape.workers]))
    assert {step.target for step in drill_plan(shape, worker).steps} == {worker}
    back = return_plan(shape, worker)
    assert {step.target for step in back.steps if step.kind is not StepKind.WORKLOADS} == {worker}


def test_what_a_drill_does_proves_steps_of_the_shutdown() -> None:
    """The same ids for the same acts; one node's cordon is another step than the cordon of all."""
    shutdown = {step.id for step in shutdown_plan(RACK).steps}
    plan = drill_plan(RACK, "pi4-a")
    assert {step.kind for step in plan.steps if step.id in shutdown} == ACTS
    assert {step.id for step in plan.steps if step.id not in shutdown} == {"cordon pi4-a"}
    assert HOW[plan.purpose] is How.DRILLED


def test_a_worker_is_uncordoned_once_its_node_is_ready() -> None:
    """Pods that came back to a machine that still boots would wait there."""
    assert [step.id for step in return_plan(RACK, "pi4-a").steps] == [
        "wait-host pi4-a",
        "wait-ready pi4-a",
        "uncordon pi4-a",
        "workloads",
    ]
    assert [step.id for step in return_plan(replace(RACK, cluster=None), "pi4-a").steps] == ["wait-host pi4-a"]


@pytest.mark.parametrize(("not_done", "severity"), [(None, Severity.INFO), ("poweroff pi4-a", Severity.WARNING)])
def test_the_end_of_a_drill_names_what_went_wrong(not_done: str | None, severity: Severity) -> None:
    """And is no alarm: the mains is there."""
    event = DRILL.finished(not_done)
    assert (event.severity, event.fields["not_done"], event.fields["worker"]) == (severity, not_done, "pi4-a")


def test_the_journal_knows_a_drill_from_a_shedding_group_of_that_name() -> None:
    """A report must not take one for the other."""
    assert DRILL.record["plan"] == PlanPurpose.DRILL.value
