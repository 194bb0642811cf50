"""One plan at a time: started, called off, taken up again after a kill, and closed when all is back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from tests.sim.daemons import (
    CYCLE,
    MASTER_OFF,
    Daemon,
    assert_off_in_order,
)
from upsd.domain.plan import StepState
from upsd.domain.power import Severity
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import DatastoreShape
from upsd.shutdown.triage import LEFT_OUT_FIRST

# a shutdown


async def test_a_shutdown_powers_everything_off_in_order(daemon: Daemon, rack: MemoryRack) -> None:
    """The main job."""
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert daemon.names() == ["shutdown_started", "shutdown_announced", "point_of_no_return", "shutdown_finished"]
    assert daemon.event("shutdown_started").fields["reason"] == "battery-low"
    assert daemon.event("shutdown_finished").fields["not_done"] == f"host-poweroff {MASTER}"
    assert daemon.conductor.confirmed_off == {"pi4-a", "pi4-b"}
    assert not daemon.conductor.may_start


async def test_every_step_tells_its_start_and_its_end(daemon: Daemon) -> None:
    """What a subscriber sees on MQTT."""
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    steps = [step.id for step in daemon.conductor.plan.steps]
    for name in ("step_started", "step_ended"):
        assert sorted(str(event.fields["step"]) for event in daemon.events if event.name == name) == sorted(steps)
    drain = next(event for event in daemon.events if event.fields.get("detail") == "2 pods ended")
    assert drain.severity is Severity.INFO
    assert drain.fields["seconds"]


async def test_the_outage_is_written_before_anything_is_touched(daemon: Daemon, rack: MemoryRack) -> None:
    """A daemon killed then has done nothing that nobody knows of."""
    daemon.journal.delay_s = 1.0
    daemon.conductor.start("battery-low")
    await asyncio.sleep(0.9)
    assert (rack.did(), daemon.names()) == ([], ["shutdown_started"])
    await daemon.phase(Phase.FINISHED)
    assert daemon.journal.text.split("\n")[1].startswith('{"at"')
    assert '"record": "outage"' in daemon.journal.text.split("\n")[1]


async def test_a_step_that_fails_is_named_at_the_end(daemon: Daemon, rack: MemoryRack) -> None:
    """And the rest goes off all the same."""
    rack.hosts["pi4-a"].faults.fail("run", "permission denied")
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    not_done = str(daemon.event("shutdown_finished").fields["not_done"])
    assert not_done == f"confirm-off pi4-a, host-poweroff {MASTER}, last-look, poweroff pi4-a"
    assert rack.hosts["pi4-b"].off
    assert {"flush", CYCLE, MASTER_OFF} <= set(rack.did())


@pytest.mark.parametrize("delay_s", [0.0, 2.0])
async def test_a_failing_journal_does_not_stop_the_plan(daemon: Daemon, rack: MemoryRack, delay_s: float) -> None:
    """It is told once, and the rack goes off, also if each record costs two seconds."""
    daemon.journal.error, daemon.journal.delay_s = "the disk is full", delay_s
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert daemon.event("journal_failed").fields["reason"] == "the disk is full"


@pytest.mark.parametrize("machine", ["cluster", "storage", "outlets", "local_host", "pi4-a"])
@pytest.mark.parametrize("how", ["fail", "hang"])
async def test_a_shutdown_ends_before_the_battery_whatever_is_broken(
    daemon: Daemon, rack: MemoryRack, machine: str, how: str
) -> None:
    """Whoever does not answer, everybody else is off in time."""
    broken = rack.hosts[machine] if machine in rack.hosts else getattr(rack, machine)
    getattr(broken.faults, how)("*")
    end_at = asyncio.get_running_loop().time() + 180
    daemon.battery_end_at = lambda: end_at
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert asyncio.get_running_loop().time() <= end_at + 2
    assert all(host.off for name, host in rack.hosts.items() if name != machine)
    assert rack.storage.flushed or machine == "storage"
    assert CYCLE in rack.did() or machine == "outlets"
    assert MASTER_OFF in rack.did() or machine == "local_host"


async def test_a_battery_too_small_for_the_plan_is_spent_on_what_saves_data(daemon: Daemon, rack: MemoryRack) -> None:
    """Everybody is off by themselves and everything is written, and the report says what was not done for it."""
    rack.cluster.faults.hang("*")
    orderly = {step.id for step in daemon.conductor.plan.steps if step.kind in LEFT_OUT_FIRST}
    end_at = asyncio.get_running_loop().time() + critical_path_s(daemon.conductor.plan, forced=True, ended=orderly)
    daemon.battery_end_at = lambda: end_at
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert asyncio.get_running_loop().time() <= end_at + 1
    assert all(host.off for host in rack.hosts.values())
    assert rack.storage.flushed
    assert CYCLE in rack.did()
    assert MASTER_OFF in rack.did()
    finished = daemon.event("shutdown_finished").fields
    left_out = set(str(finished["left_out"]).split(", "))
    assert {"cordon", "drain pi4-a", "drain pi4-b"} <= left_out <= orderly


async def test_a_defect_in_the_plan_lets_the_next_trigger_try_again(daemon: Daemon, rack: MemoryRack) -> None:
    """Whatever goes wrong inside, the rack is not left without a daemon that acts."""

    def broken() -> float:
        raise ZeroDivisionError

    daemon.battery_end_at = broken
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.IDLE)
    assert daemon.conductor.may_start
    daemon.battery_end_at = lambda: float("inf")
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)


async def test_what_a_defect_interrupted_is_undone_when_the_mains_is_back(daemon: Daemon, rack: MemoryRack) -> None:
    """Not only after the next start of the daemon."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)

    def broken() -> float:
        raise ZeroDivisionError

    daemon.battery_end_at = broken
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned()
    await asyncio.sleep(301)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()


# mains back


async def test_mains_back_before_the_first_power_off_undoes_the_shutdown(daemon: Daemon, rack: MemoryRack) -> None:
    """Nothing is powered off, every cordon of ours is taken back, and the outage is closed."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    await asyncio.sleep(100)
    assert rack.cluster.cordoned() == set()
    assert not any(what.startswith(("poweroff", "cycle", "unmount", "mount")) for what in rack.did())
    assert daemon.journal.unfinished() is None
    assert daemon.names()[-2:] == ["shutdown_aborted", "abort_finished"]
    assert daemon.event("abort_finished").fields["not_done"] is None
    assert (daemon.conductor.outage, daemon.conductor.may_start) == (None, True)


async def test_an_abort_leaves_what_was_not_ours(daemon: Daemon, rack: MemoryRack) -> None:
    """A node that an operator cordoned stays so."""
    rack.cluster.add_node("pi3", unschedulable=True)
    daemon.conductor.start("on-battery")
    await daemon.step("cordon", StepState.DONE)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == {"pi3"}


async def test_an_abort_before_anything_began_touches_nothing(daemon: Daemon, rack: MemoryRack) -> None:
    """A shutdown that was only announced is only called off."""
    daemon.conductor.start("on-battery")
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.did() == []
    assert daemon.journal.unfinished() is None


@pytest.mark.parametrize(("until", "mounts"), [("drain k3s-master", 0), ("unmount nas", 1), ("flush nas", 1)])
async def test_an_abort_mounts_the_nas_only_if_the_shutdown_unmounted_it(until: str, mounts: int) -> None:
    """In a rack without workers the NAS goes before the point of no return."""
    daemon = Daemon(memory_rack(()))
    daemon.conductor.start("on-battery")
    await daemon.step(until, StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert daemon.rack.did().count("mount") == mounts
    assert daemon.rack.storage.mounted
    assert daemon.rack.cluster.cordoned() == set()


async def test_mains_back_after_the_first_power_off_changes_nothing(daemon: Daemon, rack: MemoryRack) -> None:
    """What has begun to go off must go off, so that the outlets can start it again."""
    daemon.conductor.start("on-battery")
    await daemon.step("poweroff pi4-a", StepState.RUNNING)
    daemon.conductor.mains_back()
    assert daemon.conductor.phase is Phase.SHUTTING_DOWN
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert "shutdown_aborted" not in daemon.names()


async def test_mains_back_long_after_the_end_recovers(daemon: Daemon, rack: MemoryRack) -> None:
    """A master that nobody powered off brings back what is there, but not while it may still be going off."""
    daemon.conductor.start("on-battery")
    await daemon.phase(Phase.FINISHED)
    for name in (*rack.hosts, MASTER):
        rack.cluster.node_by_name[name] = replace(rack.cluster.node_by_name[name], ready=True)
    daemon.conductor.mains_back()
    assert daemon.conductor.phase is Phase.FINISHED
    await asyncio.sleep(61)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.storage.mounted
    assert rack.cluster.cordoned() == set()
    assert daemon.journal.unfinished() is None
    assert "recovery_finished" in daemon.names()


async def test_what_an_outage_before_left_behind_is_undone_with_the_next_one(rack: MemoryRack) -> None:
    """Mains back, mains lost again while the abort still runs, mains back for good: the cluster is as it was."""
    daemon = Daemon(rack)
    for name in (*rack.hosts, MASTER):
        rack.cluster.refused[f"web/{name}-0"] = 600.0
    daemon.conductor.start("on-battery")
    await daemon.step(f"drain {MASTER}", StepState.RUNNING)
    rack.cluster.faults.fail("uncordon", for_s=5)
    daemon.conductor.mains_back()
    await daemon.step("uncordon", StepState.RUNNING)
    daemon.conductor.start("on-battery")
    await daemon.step("announce", StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()


async def test_a_recovery_brings_back_nas_nodes_and_pods_in_order(daemon: Daemon, rack: MemoryRack) -> None:
    """Nothing is uncordoned before its volumes and its machine are there."""
    for name in (*rack.hosts, MASTER):
        await rack.cluster.cordon(name, "o1")
    rack.storage.mounted = False
    rack.acts.clear()
    rack.cluster.node_off("pi4-a")
    rack.storage.faults.fail("mount", for_s=60)
    back = replace(rack.cluster.node_by_name["pi4-a"], ready=True)
    asyncio.get_running_loop().call_later(90, rack.cluster.node_by_name.update, {"pi4-a": back})
    began = asyncio.get_running_loop().time()
    daemon.conductor.recover("o1")
    await daemon.phase(Phase.IDLE)
    assert rack.did()[0] == "mount"
    assert sorted(rack.did()[1:]) == ["uncordon k3s-master", "uncordon pi4-a", "uncordon pi4-b"]
    assert rack.first("uncordon pi4-b") - began >= 90


@pytest.mark.parametrize("purpose", ["abort", "recovery"])
async def test_an_outage_stays_open_if_its_cordons_could_not_be_taken_back(
    daemon: Daemon, rack: MemoryRack, purpose: str
) -> None:
    """The next start tries again, and people are told."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    rack.cluster.faults.fail("uncordon", "403 forbidden")
    if purpose == "abort":
        daemon.conductor.mains_back()
    else:
        daemon.conductor.recover("o0")
    await daemon.phase(Phase.IDLE)
    assert daemon.journal.unfinished() is not None
    finished = daemon.event(f"{purpose}_finished")
    assert (finished.severity, finished.fields["not_done"]) == (Severity.CRITICAL, "uncordon")

    rack.cluster.faults.mend()
    after = Daemon(rack, daemon.journal)
    unfinished = daemon.journal.unfinished()
    assert unfinished is not None
    after.conductor.undo(unfinished.outage, unfinished.began)
    await after.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()
    assert daemon.journal.unfinished() is None


@pytest.mark.parametrize("during", [Phase.ABORTING, Phase.RECOVERING])
async def test_a_trigger_during_an_abort_or_a_recovery_starts_a_shutdown(
    daemon: Daemon, rack: MemoryRack, during: Phase
) -> None:
    """The second outage does not wait for the end of the first."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    rack.cluster.faults.hang("uncordon")
    if during is Phase.ABORTING:
        daemon.conductor.mains_back()
    else:
        daemon.conductor.recover("o0")
    await daemon.step("uncordon", StepState.RUNNING)
    assert (daemon.conductor.phase, daemon.conductor.may_start) == (during, True)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    unfinished = daemon.journal.unfinished()
    assert unfinished is not None
    assert unfinished.reason == "battery-low"
    assert "uncordon" not in unfinished.ended


async def test_cordons_that_could_not_be_taken_back_are_tried_again(daemon: Daemon, rack: MemoryRack) -> None:
    """A cluster does not stay cordoned for ever because its API was away for longer than an abort waits."""
    for name in (*rack.hosts, MASTER):
        rack.cluster.refused[f"web/{name}-0"] = 600.0
    daemon.conductor.start("on-battery")
    await daemon.step(f"drain {MASTER}", StepState.RUNNING)
    rack.cluster.faults.fail("*", for_s=1000)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned()
    await asyncio.sleep(1000)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.ABORTING)
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()


async def test_what_an_earlier_boot_left_is_undone_with_this_outage(daemon: Daemon, rack: MemoryRack) -> None:
    """The mains comes back before the new shutdown has touched anything; the old cordons go all the same."""
    await rack.cluster.cordon("pi4-a", "o0")
    daemon.conductor.start("on-battery", owed={"cordon"})
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()


async def test_a_server_that_was_stopped_runs_again_where_this_machine_never_went_off(rack: MemoryRack) -> None:
    """No boot starts it there, and without it the cluster would stay away."""
    rack.local_host.faults.fail("poweroff", "not allowed")
    daemon = Daemon(rack, datastore=DatastoreShape(5.0, 60.0, stops=True))
    daemon.conductor.start("on-battery")
    await daemon.phase(Phase.FINISHED)
    assert "stop k3s" in rack.did()
    await asyncio.sleep(1000)
    daemon.conductor.mains_back()
    await daemon.step("start k3s", StepState.DONE)
    assert rack.datastore.running
    await daemon.conductor.close()


@pytest.mark.parametrize(("refused", "state"), [(False, StepState.DONE), (True, StepState.CANCELLED)])
async def test_a_stop_by_the_power_off_is_its_success(
    daemon: Daemon,
    rack: MemoryRack,
    refused: bool,  # noqa: FBT001
    state: StepState,
) -> None:
    """The command that ends us may not return before; one that was refused is not what ended us."""
    if refused:
        rack.local_host.faults.fail("poweroff", "not allowed")
    else:
        rack.local_host.faults.slow("poweroff", 5)
    daemon.conductor.start("on-battery")
    await daemon.step(f"host-poweroff {MASTER}", StepState.RUNNING)
    await asyncio.sleep(1)
    await daemon.conductor.close()
    assert daemon.conductor.progress[f"host-poweroff {MASTER}"].state is state
