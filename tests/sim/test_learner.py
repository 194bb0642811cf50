"""What an outage teaches of the steps' durations, and when it is written down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from tests.sim.daemons import Daemon
from upsd.domain.plan import StepState
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.learner import Learner, load
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.shutdown.durations import Run

TODAY = "2026-11-26"


def learning(directory: Path, rack: MemoryRack) -> Daemon:
    """A daemon that keeps what it learns there."""
    learner = Learner(directory, lambda: TODAY)
    learner.load()
    return Daemon(rack, learner=learner)


def trouble(daemon: Daemon) -> str:
    """What the daemon says that was lost or can't be kept."""
    assert daemon.learner
    return daemon.learner.trouble or ""


def kept(directory: Path) -> dict[str, Run]:
    """The last run of each step that a file says of."""
    return {step: history.runs[-1] for step, history in load(directory).items()}


async def test_a_shutdown_teaches_how_long_each_step_takes(tmp_path: Path, rack: MemoryRack) -> None:
    """All but the master's own power-off, which nobody here sees the end of."""
    rack.hosts["pi4-a"].poweroff_s = 17.0
    daemon = learning(tmp_path, rack)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    await asyncio.sleep(1)
    steps = {step.id for step in daemon.conductor.plan.steps}
    assert kept(tmp_path).keys() == steps - {f"host-poweroff {MASTER}"}
    assert kept(tmp_path)["confirm-off pi4-a"].seconds == pytest.approx(20, abs=2)

    plan = learning(tmp_path, memory_rack()).conductor.plan
    by_id = {step.id: step for step in plan.steps}
    assert by_id["confirm-off pi4-a"].expected_s > 25
    assert by_id["unmount nas"].expected_s == by_id["unmount nas"].configured_s
    assert plan.evidence.steps == len(steps) - 1
    assert plan.evidence.oldest_on == TODAY


async def test_what_was_learned_is_on_disk_before_the_master_is_told_to_go_off(
    tmp_path: Path, rack: MemoryRack
) -> None:
    """There is no daemon any more that could write it afterwards."""
    rack.local_host.faults.hang("poweroff")
    daemon = learning(tmp_path, rack)
    daemon.conductor.start("battery-low")
    await daemon.step(f"host-poweroff {MASTER}", StepState.RUNNING)
    await asyncio.sleep(0.5)
    assert "confirm-off pi4-a" in kept(tmp_path)
    assert "outlet-cycle" in kept(tmp_path)
    await daemon.kill()


async def test_the_plan_goes_by_what_was_learned_as_soon_as_nothing_runs(tmp_path: Path, rack: MemoryRack) -> None:
    """The next outage, minutes later, starts its shutdown in time for a cluster that turned out slow."""
    rack.cluster.faults.slow("cordon", 8.0)
    daemon = learning(tmp_path, rack)
    before_s = critical_path_s(daemon.conductor.plan)
    daemon.conductor.start("on-battery")
    await daemon.step("cordon", StepState.DONE)
    daemon.conductor.mains_back()
    assert critical_path_s(daemon.conductor.plan) == before_s
    await daemon.phase(Phase.IDLE)
    assert critical_path_s(daemon.conductor.plan) > before_s + 5


async def test_a_drain_that_was_forced_is_known_to_need_longer(tmp_path: Path, rack: MemoryRack) -> None:
    """The time that it was given is no measure of the time that it takes."""
    rack.cluster.refused["web/pi4-a-0"] = 600.0
    daemon = learning(tmp_path, rack)
    end_at = asyncio.get_running_loop().time() + 75
    daemon.battery_end_at = lambda: end_at
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    await asyncio.sleep(1)
    assert kept(tmp_path)["drain pi4-a"].censored
    assert not kept(tmp_path)["drain pi4-b"].censored


async def test_a_shutdown_that_was_taken_up_half_way_teaches_nothing(tmp_path: Path, rack: MemoryRack) -> None:
    """A worker that went off while the daemon was dead seems to go off in a moment."""
    daemon = learning(tmp_path, rack)
    daemon.conductor.start("on-battery")
    await daemon.step("confirm-off pi4-a", StepState.RUNNING)
    await daemon.kill()
    before = daemon.learner.durations if daemon.learner else {}
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert after.learner is daemon.learner
    assert after.learner
    assert after.learner.durations == before


async def test_a_recovery_teaches_too_and_an_abort_does_not(tmp_path: Path, rack: MemoryRack) -> None:
    """What an abort waits for is another thing than what a boot waits for."""
    daemon = learning(tmp_path, rack)
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    await asyncio.sleep(1)
    assert "uncordon" not in kept(tmp_path)
    assert "cordon" in kept(tmp_path)
    daemon.conductor.recover("o0")
    await daemon.phase(Phase.IDLE)
    await asyncio.sleep(1)
    assert {"wait-storage nas", "wait-ready", "uncordon"} <= kept(tmp_path).keys()


async def test_a_directory_that_is_not_there_is_told_and_stops_nothing(tmp_path: Path, rack: MemoryRack) -> None:
    """To know a duration is worth less than to be off in time."""
    daemon = learning(tmp_path / "missing", rack)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    await asyncio.sleep(1)
    assert all(host.off for host in rack.hosts.values())
    assert "state_directory" in trouble(daemon)
    (tmp_path / "missing").mkdir()
    assert daemon.learner
    daemon.learner.save()
    await asyncio.sleep(1)
    assert trouble(daemon) == ""
    assert "cordon" in kept(tmp_path / "missing")
