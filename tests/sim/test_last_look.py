"""A machine that comes up while the rack goes down would be cut while it runs, unless somebody looks once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.daemons import CYCLE
from upsd.domain.plan import StepKind, StepState
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from hardware_sim.memory_rack import MemoryRack
    from tests.sim.daemons import Daemon
    from tests.sim.workbench import Workbench


async def test_a_machine_that_came_up_meanwhile_is_told(bench: Workbench, rack: MemoryRack) -> None:
    """The others are silent, which costs no time."""
    rack.hosts["pi4-b"].off_at = 0.0
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert (progress.state, progress.detail) == (StepState.FORCED, "on after all, and told to go off: pi4-a")
    assert rack.did() == ["poweroff pi4-a"]


async def test_where_all_are_silent_nothing_is_done(bench: Workbench, rack: MemoryRack) -> None:
    """Which of them nobody has seen going off is told."""
    for host in rack.hosts.values():
        host.off_at = 0.0
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert (progress.state, progress.detail) == (StepState.DONE, "silent: pi4-a, pi4-b")
    assert rack.did() == []


async def test_one_that_refuses_keeps_no_other_from_being_told(bench: Workbench, rack: MemoryRack) -> None:
    """Both are named."""
    rack.hosts["pi4-a"].faults.fail("run", "permission denied")
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert progress.state is StepState.FAILED
    assert progress.detail == "permission denied; on after all, and told to go off: pi4-b"
    assert rack.did() == ["poweroff pi4-b"]


async def test_where_nobody_can_tell_whether_it_is_on_it_is_told(bench: Workbench, rack: MemoryRack) -> None:
    """The name server may be off already."""
    rack.hosts["pi4-a"].faults.fail("call_port", "no such name")
    rack.hosts["pi4-b"].off_at = 0.0
    assert (await bench.do(StepKind.LAST_LOOK, "rack")).state is StepState.FORCED
    assert rack.did() == ["poweroff pi4-a"]


async def test_a_worker_that_boots_during_the_shutdown_is_off_before_its_power_is_cut(
    daemon: Daemon, rack: MemoryRack
) -> None:
    """It answers when the plan has long given it up."""
    late = rack.hosts["pi4-a"]
    late.up_at = 35.0
    rack.storage.faults.slow("flush", 15.0)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert daemon.conductor.progress["confirm-off pi4-a"].state is StepState.FAILED
    assert daemon.conductor.progress["last-look"].state is StepState.FORCED
    assert late.off_at < rack.first(CYCLE) + late.poweroff_s
    assert rack.did().count("poweroff pi4-b") == 1


async def test_machines_that_were_seen_going_off_are_not_called(daemon: Daemon) -> None:
    """An orderly shutdown does not wait for answers that can't come."""
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    look = daemon.conductor.progress["last-look"]
    assert (look.state, look.detail) == (StepState.DONE, "every machine was seen going off")
    assert look.started_at == pytest.approx(look.ended_at, abs=0.1)
