"""Workloads that are scaled to zero in an outage, and back after it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MemoryRack, memory_rack
from tests.sim.workbench import Workbench
from upsd.domain.plan import StepKind, StepState
from upsd.domain.rack import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOP, LEDGER = Workload("Deployment", "web", "shop"), Workload("StatefulSet", "data", "ledger")
NODES = ("k3s-master", "pi4-a", "pi4-b")
AS_BEFORE = {"web/shop": 6}


@pytest.fixture
def rack() -> MemoryRack:
    """A rack whose ordinary pods are those of the shop."""
    return memory_rack(controller=SHOP.full_name)


@pytest.fixture
def scaling(rack: MemoryRack) -> Workbench:
    """A workbench whose settings name the shop."""
    return Workbench(rack, scaled=(SHOP,))


async def ready(rack: MemoryRack) -> Mapping[str, int]:
    """What runs when everything has had time to."""
    rack.cluster.ready_pods()  # its controllers start what is missing when somebody looks
    await asyncio.sleep(30)
    return rack.cluster.ready_pods()


async def test_a_workload_is_scaled_once_the_nodes_are_cordoned_and_back_after_the_uncordon(
    scaling: Workbench, rack: MemoryRack
) -> None:
    """So that its pods start on nodes that take them, as many as before."""
    cordon = await scaling.do(StepKind.CORDON, "cluster")
    assert cordon.detail == "3 nodes cordoned; 1 workloads scaled to zero"
    assert [what.split()[0] for what in rack.did()] == ["cordon", "cordon", "cordon", "scale"]
    assert await ready(rack) == {}
    uncordon = await scaling.do(StepKind.UNCORDON, "cluster")
    assert uncordon.detail == "3 nodes uncordoned; 1 workloads scaled back"
    assert rack.did()[-1] == "scale web/shop 6"
    assert await ready(rack) == AS_BEFORE


async def test_pods_of_a_scaled_workload_are_waited_for_and_not_evicted(scaling: Workbench, rack: MemoryRack) -> None:
    """Their controller ends them, past any budget."""
    await scaling.do(StepKind.CORDON, "cluster")
    progress = await scaling.drain(*NODES)
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert not [what for what in rack.did() if what.startswith(("evict", "delete"))]


async def test_a_workload_that_cannot_be_scaled_does_not_hold_up_an_outage(rack: MemoryRack) -> None:
    """It is named, the others are scaled, and its pods are drained like all others."""
    bench = Workbench(rack, scaled=(LEDGER, SHOP))
    cordon = await bench.do(StepKind.CORDON, "cluster")
    assert cordon.state is StepState.DONE
    assert cordon.detail == "3 nodes cordoned; 1 workloads scaled to zero; data/ledger: not found"


async def test_scaling_takes_no_time_that_a_later_step_must_have(scaling: Workbench, rack: MemoryRack) -> None:
    """An API that hangs over it costs no more than the slack, and the cordon counts."""
    rack.cluster.faults.hang("scale_to_zero")
    cordon = await scaling.do(StepKind.CORDON, "cluster", limit_s=20, minimum_s=3)
    assert cordon.state is StepState.DONE
    assert cordon.detail == "3 nodes cordoned; no time to scale workloads to zero"


async def test_one_node_that_is_cordoned_scales_nothing(scaling: Workbench, rack: MemoryRack) -> None:
    """A worker that is shed early has its pods run elsewhere."""
    await scaling.do(StepKind.CORDON, "pi4-a")
    await scaling.do(StepKind.UNCORDON, "pi4-a")
    assert rack.did() == ["cordon pi4-a", "uncordon pi4-a"]


async def test_an_uncordon_is_not_over_before_its_workloads_are_back(scaling: Workbench, rack: MemoryRack) -> None:
    """It is tried again until the API lets it, and the step says what it waits for."""
    await scaling.do(StepKind.CORDON, "cluster")
    rack.cluster.faults.fail("scale_back", "409 Conflict", for_s=20)
    uncordon = await scaling.do(StepKind.UNCORDON, "cluster")
    assert (uncordon.state, await ready(rack)) == (StepState.DONE, AS_BEFORE)
    assert "409 Conflict" in scaling.said


async def test_a_rehearsal_proves_the_scaling_and_changes_nothing(scaling: Workbench, rack: MemoryRack) -> None:
    """By the same call."""
    progress = await scaling.rehearse(StepKind.CORDON, "cluster")
    assert progress.detail == "3 of 3 nodes could be cordoned; 1 workloads could be scaled to zero"
    assert (rack.did(), await ready(rack)) == ([], AS_BEFORE)


async def test_a_rehearsal_fails_on_a_workload_that_could_not_be_scaled(scaling: Workbench, rack: MemoryRack) -> None:
    """Somebody has named it, and would count on it."""
    rack.cluster.faults.fail("scale_to_zero", "403 Forbidden to scale web/shop to zero")
    progress = await scaling.rehearse(StepKind.CORDON, "cluster")
    assert (progress.state, progress.detail) == (StepState.FAILED, "403 Forbidden to scale web/shop to zero")
