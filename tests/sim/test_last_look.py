"""A machine that comes up while the rack goes down would be cut while it runs, unless somebody looks once more."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING

import pytest

from tests.sim.daemons import CYCLE
from tests.sim.workbench import COMMAND
from upsd.domain.plan import Step, StepKind, StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import StepContext
from upsd.shutdown.phase import Phase
from upsd.shutdown.records import replay
from upsd.shutdown.steps import GoingOff, RemoteMachine
from upsd.shutdown.steps.last_look import LastLook
from upsd.shutdown.steps.off_evidence import OffEvidence
from upsd.shutdown.steps.poweroff import Poweroff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.memory_rack import MemoryRack
    from tests.sim.daemons import Daemon
    from tests.sim.workbench import Workbench
    from upsd.domain.power import Scalar


STEP = Step(
    id="poweroff pi4-a",
    kind=StepKind.POWEROFF,
    target="pi4-a",
    needs=(),
    expected_s=6.0,
    minimum_s=6.0,
    limit_s=30.0,
)


async def _keep_nothing(_record: Mapping[str, Scalar]) -> None:
    pass


def context() -> StepContext:
    """A step's."""
    now = asyncio.get_running_loop().time()
    return StepContext("o1", now + 30.0, now, 6.0, lambda _: None, _keep_nothing)


async def test_a_machine_that_came_up_meanwhile_is_told(bench: Workbench, rack: MemoryRack) -> None:
    """The others are silent, which costs no time."""
    rack.hosts["pi4-b"].off_at = 0.0
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "on after all, and told to go off: pi4-a; silent: pi4-b",
    )
    assert rack.did() == ["poweroff pi4-a"]


async def test_where_all_are_silent_nothing_is_done(bench: Workbench, rack: MemoryRack) -> None:
    """Which of them nobody has seen going off is told."""
    for host in rack.hosts.values():
        host.off_at = 0.0
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert (progress.state, progress.detail) == (StepState.DONE, "silent: pi4-a, pi4-b")
    assert rack.did() == []


async def test_one_whose_port_refuses_is_named_and_not_told(bench: Workbench, rack: MemoryRack) -> None:
    """It is on its way, and takes no command; nobody who reads that may take it for silent."""
    await bench.do(StepKind.POWEROFF, "pi4-a")
    rack.hosts["pi4-b"].off_at = 0.0
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert (progress.state, progress.detail) == (StepState.DONE, "refuse: pi4-a; silent: pi4-b")
    assert rack.did() == ["poweroff pi4-a"]


async def test_one_that_was_taken_for_off_without_proof_is_looked_at_again(bench: Workbench, rack: MemoryRack) -> None:
    """It refused until there was no more time, and may have come up again since."""
    host = rack.hosts["pi4-a"]
    host.poweroff_s = 300.0
    rack.hosts["pi4-b"].off_at = 0.0
    await bench.do(StepKind.POWEROFF, "pi4-a")
    confirmed = await bench.do(StepKind.CONFIRM_OFF, "pi4-a")
    assert confirmed.detail == "port refuses, no more time"
    host.off_at = math.inf
    progress = await bench.do(StepKind.LAST_LOOK, "rack")
    assert progress.detail == "on after all, and told to go off: pi4-a; silent: pi4-b"


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


async def test_a_port_that_answers_late_keeps_no_machine_from_being_told(bench: Workbench, rack: MemoryRack) -> None:
    """A switch with a full queue, say: the look has two seconds when the battery is nearly empty."""
    rack.hosts["pi4-a"].faults.slow("call_port", 8.0)
    rack.hosts["pi4-b"].off_at = 0.0
    assert (await bench.do(StepKind.LAST_LOOK, "rack", limit_s=2.0)).state is StepState.FORCED
    assert rack.did() == ["poweroff pi4-a"]


async def test_a_machine_that_is_off_is_no_error_however_late_that_is_known(bench: Workbench, rack: MemoryRack) -> None:
    """That it takes no command says nothing until its port has been called."""
    for host in rack.hosts.values():
        host.off_at = 0.0
        host.faults.slow("call_port", 1.0)
    assert (await bench.do(StepKind.LAST_LOOK, "rack")).state is StepState.DONE
    assert rack.did() == []


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


async def test_what_an_earlier_shutdown_knew_of_a_machine_is_forgotten_when_it_is_told_anew(rack: MemoryRack) -> None:
    """It was called off, and the machine has been on since: that it once went off says nothing."""
    rack.hosts["pi4-a"].faults.fail("run")
    machines = {"pi4-a": RemoteMachine(rack.hosts["pi4-a"], COMMAND)}
    going_off = GoingOff(acknowledged={"pi4-a"}, seen_off={"pi4-a"})
    with pytest.raises(RackError):
        await Poweroff(machines, going_off, OffEvidence(going_off, None, lambda: None, {}), lambda _: None)(
            STEP, context()
        )
    assert going_off == GoingOff(asked={"pi4-a"})


async def test_machines_that_an_earlier_run_of_the_daemon_saw_going_off_are_not_called(rack: MemoryRack) -> None:
    """There may be many of them, and each silence takes its time; those that it gave up are called."""
    machines = {name: RemoteMachine(host, COMMAND) for name, host in rack.hosts.items()}
    states = {
        "poweroff pi4-a": "done",
        "confirm-off pi4-a": "done",
        "poweroff pi4-b": "timed-out",
        "unmount nas": "done",
    }
    records = [{"record": "outage", "outage": "o1", "reason": "battery-low", "boot_id": "boot"}]
    records += [{"record": "step", "step": step, "state": state} for step, state in states.items()]
    unfinished, going_off = replay(json.dumps(record) for record in records), GoingOff()
    assert unfinished
    going_off.recall(unfinished)
    outcome = await LastLook(machines, going_off)(STEP, context())
    assert outcome.detail == "on after all, and told to go off: pi4-b"
    assert rack.did() == ["poweroff pi4-b"]
