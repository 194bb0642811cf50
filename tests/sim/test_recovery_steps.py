"""The waits of a recovery, one at a time: battery, machine, workloads."""

from __future__ import annotations

import asyncio
import json

from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from tests.sim.workbench import Workbench, took_s
from upsd.domain.plan import StepKind, StepState
from upsd.domain.power import Severity
from upsd.domain.rack import Attachment
from upsd.shutdown.floor import BatteryLevel

LOW = BatteryLevel(low_s=200.0, floor_s=300.0, full=False)
ENOUGH = BatteryLevel(low_s=300.0, floor_s=300.0, full=False)
WORN_OUT = BatteryLevel(low_s=200.0, floor_s=300.0, full=True)
APP = "web/app"


def later(seconds: float, bench: Workbench, level: BatteryLevel) -> None:
    """Let the battery be so after a time."""
    asyncio.get_running_loop().call_later(seconds, setattr, bench, "level", level)


# the battery


async def test_the_battery_is_waited_for(bench: Workbench) -> None:
    """Until it carries a boot and a shutdown, and people see what it waits for."""
    bench.level = LOW
    later(1000, bench, ENOUGH)
    done = await bench.do(StepKind.WAIT_BATTERY, limit_s=7200)
    assert done.state is StepState.DONE
    assert 1000 <= took_s(done) <= 1060
    assert "the battery carries 200 s, and a boot and a shutdown need 300 s" in bench.said
    assert bench.events == []


async def test_a_good_battery_costs_no_time(bench: Workbench) -> None:
    """After a short outage everything goes on at once."""
    bench.level = ENOUGH
    assert took_s(await bench.do(StepKind.WAIT_BATTERY)) == 0


async def test_a_worn_out_battery_does_not_leave_the_cluster_cordoned_for_ever(bench: Workbench) -> None:
    """It is full and carries too little: the plan goes on at once, and says so loudly."""
    bench.level = WORN_OUT
    done = await bench.do(StepKind.WAIT_BATTERY, limit_s=7200)
    assert (done.state, took_s(done) < 120) == (StepState.FORCED, True)
    assert "replace it" in done.detail
    (event,) = bench.events
    assert (event.name, event.severity) == ("battery_below_floor", Severity.CRITICAL)
    assert (event.fields["low_s"], event.fields["floor_s"]) == (200, 300)


async def test_one_reading_that_says_full_is_not_believed(bench: Workbench) -> None:
    """A UPS that has just come back may say so for a moment."""
    bench.level = WORN_OUT
    later(1, bench, LOW)
    later(100, bench, ENOUGH)
    assert took_s(await bench.do(StepKind.WAIT_BATTERY, limit_s=7200)) >= 100
    assert bench.events == []


async def test_the_wait_for_the_battery_has_an_end(bench: Workbench) -> None:
    """A UPS that never says that it is full ends in the same way, after the limit."""
    bench.level = LOW
    done = await bench.do(StepKind.WAIT_BATTERY, limit_s=7200, minimum_s=1)
    assert done.state is StepState.FORCED
    assert 7080 <= took_s(done) <= 7200
    assert [event.name for event in bench.events] == ["battery_below_floor"]


# a machine


async def off(rack: MemoryRack, name: str) -> None:
    """Power a machine off and wait until it is."""
    await rack.hosts[name].run("poweroff")
    await asyncio.sleep(10)


async def test_a_machine_that_is_off_is_woken_until_it_answers(bench: Workbench, rack: MemoryRack) -> None:
    """The first packet may be lost."""
    await off(rack, "pi4-a")
    rack.hosts["pi4-a"].faults.fail("wake", "the network is not up yet", for_s=20)
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=300)
    assert done.state is StepState.DONE
    assert done.detail.startswith("answers, woken ")
    assert not rack.hosts["pi4-a"].off
    assert "the network is not up yet" in bench.said


async def test_a_machine_that_is_on_is_not_woken(bench: Workbench, rack: MemoryRack) -> None:
    """It started by itself with its outlet."""
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a")
    assert (done.state, done.detail, took_s(done) < 1) == (StepState.DONE, "answers", True)
    assert rack.did() == []


async def test_a_machine_that_is_still_going_off_is_not_back(bench: Workbench, rack: MemoryRack) -> None:
    """Mains back right after it was asked: it is waited for until it is off, and then woken."""
    host = rack.hosts["pi4-a"]
    host.poweroff_s, host.sshd_s = 20.0, 15.0
    await bench.do(StepKind.POWEROFF, "pi4-a")
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=300)
    assert done.state is StepState.DONE
    assert rack.first("off pi4-a") < rack.first("wake pi4-a") <= rack.first("on pi4-a")
    assert "still up, and was asked to power off" in bench.said


async def test_a_machine_that_never_went_off_is_back_after_a_minute(bench: Workbench, rack: MemoryRack) -> None:
    """It took the command and did nothing; the cluster is not kept waiting for it."""
    rack.hosts["pi4-a"].deaf = 9
    await bench.do(StepKind.POWEROFF, "pi4-a")
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=300)
    assert (done.state, 60 <= took_s(done) <= 65) == (StepState.DONE, True)
    again = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=300)
    assert took_s(again) < 1


async def test_a_machine_that_stays_off_is_told(rack: MemoryRack) -> None:
    """It costs its limit, and no more."""
    rack.hosts["pi4-a"].wakes = False
    bench = Workbench(rack)
    await off(rack, "pi4-a")
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=300)
    assert (done.state, done.detail) == (StepState.TIMED_OUT, "no answer on its SSH port")
    assert took_s(done) <= 300
    assert "wake pi4-a" not in rack.did()


async def test_a_machine_whose_sshd_is_not_up_yet_is_not_back(bench: Workbench, rack: MemoryRack) -> None:
    """A kernel that refuses connections is on its way down, or up."""
    rack.hosts["pi4-a"].poweroff_s = 1000
    await rack.hosts["pi4-a"].run("poweroff")
    done = await bench.do(StepKind.WAIT_HOST, "pi4-a", limit_s=60)
    assert done.state is StepState.TIMED_OUT


# the workloads


def replaced_rack() -> MemoryRack:
    """A rack whose six ordinary pods belong to one controller."""
    return memory_rack(controller=APP)


async def test_the_pods_are_counted_before_the_first_cordon() -> None:
    """What a recovery compares with, written down first, so that a killed daemon has it too."""
    bench = Workbench(replaced_rack())
    await bench.do(StepKind.CORDON, "cluster", limit_s=15, minimum_s=3)
    assert bench.workloads.before == {APP: 6}
    kinds = [record["record"] for record in bench.records]
    assert kinds == ["step", "workloads", "step"]
    assert json.loads(str(bench.records[1]["pods"])) == {APP: 6}


async def test_a_second_outage_does_not_forget_what_ran_before_the_first() -> None:
    """Pods that are not back yet are still missed."""
    bench = Workbench(replaced_rack())
    bench.workloads.before = {APP: 9}
    await bench.do(StepKind.CORDON, "cluster", limit_s=15, minimum_s=3)
    assert bench.workloads.before == {APP: 9}


async def test_counting_does_not_hold_up_the_cordon() -> None:
    """An API that hangs on it costs two seconds; none if there is no time to spare."""
    bench = Workbench(replaced_rack())
    bench.rack.cluster.faults.hang("workloads")
    done = await bench.do(StepKind.CORDON, "cluster", limit_s=15, minimum_s=3)
    assert (done.state, took_s(done) < 3) == (StepState.DONE, True)
    forced = await bench.do(StepKind.CORDON, "cluster", limit_s=3, minimum_s=3)
    assert took_s(forced) < 1
    assert bench.workloads.before is None


async def test_the_pods_are_waited_for() -> None:
    """Until as many are Ready as before."""
    rack = replaced_rack()
    bench = Workbench(rack)
    for node in (*rack.hosts, MASTER):
        await rack.cluster.cordon(node, "o1")
        for pod in rack.cluster.on(node):
            await rack.cluster.evict(pod)
    await asyncio.sleep(5)
    assert rack.cluster.ready_pods() == {}
    bench.workloads.before = {APP: 6}
    for node in (*rack.hosts, MASTER):
        await rack.cluster.uncordon(node)
    done = await bench.do(StepKind.WORKLOADS, "cluster", limit_s=300)
    assert (done.state, done.detail) == (StepState.DONE, "6 pods of 1 workloads Ready, as before")
    assert took_s(done) >= rack.cluster.start_s


async def test_pods_that_do_not_come_back_are_named() -> None:
    """After the limit, and with how many there are."""
    bench = Workbench(replaced_rack())
    bench.workloads.before = {APP: 6, "data/postgres": 1}
    done = await bench.do(StepKind.WORKLOADS, "cluster", limit_s=300, minimum_s=1)
    assert (done.state, done.detail) == (StepState.FAILED, "not as before: data/postgres (0 of 1) Ready")


async def test_without_a_count_nothing_is_compared_and_that_is_said() -> None:
    """An API that could not be asked before the drain costs the recovery nothing."""
    done = await Workbench(replaced_rack()).do(StepKind.WORKLOADS, "cluster")
    assert (done.state, done.detail) == (StepState.DONE, "not compared: nobody could count them before")


async def test_what_an_unclean_stop_left_over_is_named() -> None:
    """The workloads may be as before all the same."""
    rack = replaced_rack()
    rack.cluster.attached.append(Attachment("pvc-1", "pi9"))
    done = await Workbench(rack).do(StepKind.WORKLOADS, "cluster")
    assert done.state is StepState.DONE
    assert done.detail.endswith("; left over: volume pvc-1 is attached to pi9, which is not Ready")


async def test_what_is_cleared_away_in_a_moment_is_not_left_over() -> None:
    """A machine that has just come back needs it."""
    rack = replaced_rack()
    rack.cluster.attached.append(Attachment("pvc-1", "pi9"))
    asyncio.get_running_loop().call_later(20.0, rack.cluster.attached.clear)
    done = await Workbench(rack).do(StepKind.WORKLOADS, "cluster")
    assert "left over" not in done.detail


async def test_without_the_right_to_look_for_leftovers_the_recovery_says_so() -> None:
    """An account that was made before upsd looked for them; nothing fails for that."""
    rack = replaced_rack()
    rack.cluster.faults.fail("attachments", "403 Forbidden to list volumeattachments")
    done = await Workbench(rack).do(StepKind.WORKLOADS, "cluster")
    assert done.state is StepState.DONE
    assert done.detail.endswith("; what is left over is not known: 403 Forbidden to list volumeattachments")
