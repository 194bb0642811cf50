"""A rehearsal proves every step with the real calls, harms nothing, and gives way to an outage at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_cluster import MemoryCluster
from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from hardware_sim.memory_world import MemoryWorld
from tests.sim.daemons import Daemon, assert_off_in_order
from tests.sim.outages import WORKERS, Outage, living, rules
from upsd.domain.plan import PlanPurpose, StepProgress, StepState
from upsd.domain.power import Severity
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import DatastoreShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.power import Event
    from upsd.domain.rack import Pod


async def rehearsed(daemon: Daemon) -> dict[str, Event]:
    """Rehearse to the end; how each step went, by its id."""
    daemon.conductor.rehearse("r1")
    await daemon.phase(Phase.IDLE)
    return {str(event.fields["step"]): event for event in daemon.events if event.name == "step_rehearsed"}


async def test_a_rehearsal_proves_every_step_of_the_plan_that_an_outage_runs(daemon: Daemon) -> None:
    """The same steps, each once, in an order in which each comes after what it needs."""
    found = await rehearsed(daemon)
    assert set(found) == {step.id for step in daemon.conductor.plan.steps}
    order = list(found)
    for step in daemon.conductor.plan.steps:
        assert all(order.index(need) < order.index(step.id) for need in step.needs)
    assert {event.fields["state"] for event in found.values()} == {"done"}
    assert all(isinstance(event.fields["seconds"], float) for event in found.values())
    assert daemon.event("rehearsal_finished").fields == {"rehearsal": "r1", "not_proven": None}


async def test_a_rehearsal_harms_nothing(daemon: Daemon, rack: MemoryRack) -> None:
    """Nothing but the flush was done: no cordon, no pod ended, no machine off, nothing scheduled, nothing mounted."""
    await rehearsed(daemon)
    assert rack.did() == ["flush"]
    assert rack.storage.mounted
    assert rack.cluster.cordoned() == set()
    assert not daemon.conductor.committed


async def test_a_snapshot_and_a_stop_are_rehearsed_without_either(rack: MemoryRack) -> None:
    """What is made is not kept, and the server runs on."""
    daemon = Daemon(rack, datastore=DatastoreShape(5.0, 60.0, stops=True))
    found = await rehearsed(daemon)
    assert found["snapshot k3s"].fields["detail"] == "a copy was made and removed"
    assert found["stop k3s"].fields["state"] == "done"
    assert rack.did() == ["flush"]
    assert rack.datastore.running


async def test_nobody_takes_a_rehearsal_for_an_outage(daemon: Daemon) -> None:
    """Neither who listens to events, nor a daemon that is started again in the middle of it."""
    seen: set[bool] = set()
    daemon.conductor.rehearse("r1")
    while daemon.conductor.phase is Phase.REHEARSING:
        seen.add(daemon.conductor.committed)
        await asyncio.sleep(0.01)
    assert seen == {False}
    assert daemon.names() == ["rehearsal_started", "rehearsal_announced", "rehearsal_finished"]
    assert not any(event.name in {"step_started", "step_ended"} for event in daemon.events)
    assert all(event.severity is not Severity.CRITICAL for event in daemon.events)
    assert daemon.journal.text == ""


@pytest.mark.parametrize(
    ("part", "operation", "steps"),
    [
        ("cluster", "cordon", ["cordon"]),
        ("cluster", "evict", ["drain k3s-master", "drain pi4-a", "drain pi4-b"]),
        ("cluster", "delete", ["drain k3s-master", "drain pi4-a", "drain pi4-b"]),
        ("pi4-a", "run_unforced", ["poweroff pi4-a"]),
        ("pi4-a", "call_port", ["confirm-off pi4-a"]),
        ("storage", "check_unmount", ["unmount nas"]),
        ("storage", "flush", ["flush nas"]),
        ("outlets", "check_cycle", ["outlet-cycle"]),
        ("local_host", "check_poweroff", ["host-poweroff k3s-master"]),
    ],
)
async def test_what_would_fail_in_an_outage_is_named(
    daemon: Daemon, rack: MemoryRack, part: str, operation: str, steps: list[str]
) -> None:
    """With its reason, and without keeping the other steps from being proven."""
    (rack.hosts.get(part) or getattr(rack, part)).faults.fail(operation, "no such right")
    found = await rehearsed(daemon)
    assert sorted(step for step, event in found.items() if event.fields["state"] == "failed") == steps
    assert all(found[step].fields["detail"] == "no such right" for step in steps)
    assert daemon.event("rehearsal_finished").fields["not_proven"] == ", ".join(steps)


async def test_a_machine_that_hangs_ends_with_its_step_and_no_later(daemon: Daemon, rack: MemoryRack) -> None:
    """A rehearsal has the deadlines of the outage, so it can't go on for ever."""
    rack.hosts["pi4-a"].faults.hang("*")
    rack.cluster.faults.hang("*")
    found = await rehearsed(daemon)
    assert found["poweroff pi4-a"].fields["state"] == "failed"
    assert found["confirm-off pi4-a"].fields["state"] == "timed-out"
    assert found["cordon"].fields["state"] == "timed-out"
    assert found["poweroff pi4-b"].fields["state"] == "done"


async def test_nothing_is_run_where_it_might_be_the_power_off(daemon: Daemon, rack: MemoryRack) -> None:
    """A key that is tied to the power-off would run it, whatever is asked for."""
    rack.hosts["pi4-a"].forced = True
    found = await rehearsed(daemon)
    assert found["poweroff pi4-a"].fields["state"] == "failed"
    assert "forced command" in str(found["poweroff pi4-a"].fields["detail"])
    assert not rack.hosts["pi4-a"].off
    assert rack.did() == ["flush"]


async def test_a_nas_that_is_not_mounted_is_not_ready(daemon: Daemon, rack: MemoryRack) -> None:
    """There would be nothing to unmount, and perhaps nothing to write to."""
    rack.storage.mounted = False
    found = await rehearsed(daemon)
    assert found["unmount nas"].fields["state"] == "failed"


async def test_a_budget_is_told_and_is_no_failure(daemon: Daemon, rack: MemoryRack) -> None:
    """An outage deletes in the end what a budget does not let go."""
    rack.cluster.refused["web/pi4-a-0"] = float("inf")
    found = await rehearsed(daemon)
    assert found["drain pi4-a"].fields["state"] == "done"
    assert "a budget will make the drain use force: web/pi4-a-0" in str(found["drain pi4-a"].fields["detail"])


async def test_a_shutdown_takes_the_place_of_a_rehearsal(daemon: Daemon, rack: MemoryRack) -> None:
    """Whatever starts it, and even if a machine hangs in the rehearsal."""
    rack.hosts["pi4-a"].faults.hang("run_unforced")
    daemon.conductor.rehearse("r1")
    await daemon.step("poweroff pi4-a", StepState.RUNNING)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert "rehearsal_cancelled" in daemon.names()
    assert "rehearsal_finished" not in daemon.names()


async def test_the_first_reading_without_mains_ends_a_rehearsal(daemon: Daemon, rack: MemoryRack) -> None:
    """It need not be an outage yet; what is known of the steps is thrown away, nothing goes on."""
    rack.hosts["pi4-a"].faults.hang("run_unforced")
    daemon.conductor.rehearse("r1")
    await daemon.step("poweroff pi4-a", StepState.RUNNING)
    daemon.conductor.mains_away()
    await daemon.phase(Phase.IDLE)
    assert daemon.conductor.progress == {}
    assert daemon.names()[-1] == "rehearsal_cancelled"


async def test_a_rehearsal_that_has_hardly_begun_can_be_called_off(daemon: Daemon, rack: MemoryRack) -> None:
    """Before its first step, too; and another one can follow."""
    daemon.conductor.rehearse("r0")
    daemon.conductor.mains_away()
    assert daemon.conductor.phase.value == "idle"
    await asyncio.sleep(1.0)
    assert rack.did() == []
    assert daemon.names() == ["rehearsal_started", "rehearsal_cancelled"]
    daemon.events.clear()
    assert set(await rehearsed(daemon)) == {step.id for step in daemon.conductor.plan.steps}


async def test_a_defect_in_a_rehearsal_ends_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for its end hears of it, and the daemon goes on."""
    monkeypatch.setattr("upsd.shutdown.conductor.rehearsal_plan", lambda plan: plan.no_such_thing)
    daemon.conductor.rehearse("r1")
    await daemon.phase(Phase.IDLE)
    assert daemon.names() == ["rehearsal_started", "rehearsal_cancelled"]


async def test_a_real_outage_wins_over_a_rehearsal() -> None:
    """With the whole chain of decisions: the mains goes in the middle of a rehearsal that hangs."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=10.0))
    outage.world.rack.hosts["pi3"].faults.hang("run_unforced")
    async with living(outage):
        await asyncio.sleep(5.0)
        outage.conductor.rehearse("r1")
        await asyncio.sleep(2.0)
        assert outage.conductor.phase.value == "rehearsing"
        outage.world.device.cut_mains()
        await asyncio.sleep(2.0)
        assert outage.conductor.phase.value == "idle"
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, 3600.0)
    assert outage.world.on_when_cut == []
    assert outage.names().index("rehearsal_cancelled") < outage.names().index("shutdown_started")
    assert outage.journal.records[0]["record"] == "supply"


async def test_a_step_that_a_rehearsal_left_behind_says_nothing_about_the_shutdown_after_it(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not even let itself be cancelled speaks of a step that the shutdown has too."""
    pods = MemoryCluster.pods

    async def stubborn(cluster: MemoryCluster, node: str) -> Sequence[Pod]:
        until = asyncio.get_running_loop().time() + 20.0
        while cluster.dry_run and asyncio.get_running_loop().time() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1.0)
        return [] if cluster.dry_run else await pods(cluster, node)

    monkeypatch.setattr(MemoryCluster, "pods", stubborn)
    daemon.conductor.rehearse("r1")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    daemon.conductor.mains_away()
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert daemon.conductor.progress["drain pi4-a"].state is StepState.DONE
    assert daemon.conductor.progress["drain pi4-a"].detail == "2 pods ended"


async def test_how_each_step_went_is_there_to_be_learned_from(rack: MemoryRack) -> None:
    """Of a rehearsal and of a shutdown, with the times; not of an undoing."""
    heard: list[tuple[PlanPurpose, StepProgress]] = []
    daemon = Daemon(rack, learn=lambda purpose, progress: heard.append((purpose, progress)))
    await rehearsed(daemon)
    assert {purpose for purpose, _ in heard} == {PlanPurpose.REHEARSAL}
    assert len(heard) == len(daemon.conductor.plan.steps)
    heard.clear()
    daemon.conductor.start("battery-low")
    await daemon.step("cordon", StepState.DONE)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert {purpose for purpose, _ in heard} == {PlanPurpose.SHUTDOWN}
    assert "announce" in {progress.step.id for _, progress in heard}


async def test_a_rack_of_one_machine_can_be_rehearsed() -> None:
    """Without workers the plan is short, and proven all the same."""
    daemon = Daemon(memory_rack(()))
    found = await rehearsed(daemon)
    assert f"host-poweroff {MASTER}" in found
