"""What each step does to the rack, and what it does when the rack does not do what it should."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hardware_sim.memory_cluster import MARK
from hardware_sim.memory_rack import MASTER, MemoryRack
from tests.sim.workbench import Workbench, took_s
from upsd.domain.plan import StepKind, StepState
from upsd.domain.storage import Flushed, RaidArray, RaidState, WrittenOut

# announce


async def test_the_announcement_is_an_event(bench: Workbench) -> None:
    """Whoever listens hears it, and nothing is touched."""
    progress = await bench.do(StepKind.ANNOUNCE, "rack")
    assert progress.state is StepState.DONE
    assert [(event.name, event.fields["outage"]) for event in bench.events] == [("shutdown_announced", "o1")]
    assert bench.rack.did() == []


# cordon, uncordon, wait-ready


async def test_every_node_is_cordoned_and_marked(bench: Workbench, rack: MemoryRack) -> None:
    """Also the master: no pod moves anywhere."""
    progress = await bench.do(StepKind.CORDON, "cluster")
    assert progress.detail == "3 nodes cordoned"
    assert rack.cluster.cordoned() == {"pi4-a", "pi4-b", MASTER}
    assert {node.annotations[MARK] for node in rack.cluster.node_by_name.values()} == {"o1"}


async def test_a_node_that_was_cordoned_before_stays_somebody_elses(bench: Workbench, rack: MemoryRack) -> None:
    """What an operator cordoned, an operator uncordons."""
    rack.cluster.add_node("pi3", unschedulable=True)
    cordon = await bench.do(StepKind.CORDON, "cluster")
    assert cordon.detail == "3 nodes cordoned; pi3 cordoned before us"
    uncordon = await bench.do(StepKind.UNCORDON, "cluster")
    assert uncordon.detail == "3 nodes uncordoned"
    assert rack.cluster.cordoned() == {"pi3"}


async def test_a_cordon_is_tried_until_the_api_answers(bench: Workbench, rack: MemoryRack) -> None:
    """An API that is away for some seconds costs only those."""
    rack.cluster.faults.fail("*", "500 internal error", for_s=10)
    progress = await bench.do(StepKind.CORDON, "cluster")
    assert progress.state is StepState.DONE
    assert "500 internal error" in bench.said
    assert rack.cluster.cordoned() == {"pi4-a", "pi4-b", MASTER}


async def test_a_cordon_that_never_works_says_why(bench: Workbench, rack: MemoryRack) -> None:
    """The step ends in time with the API's words."""
    rack.cluster.faults.fail("*", "403 forbidden")
    progress = await bench.do(StepKind.CORDON, "cluster", limit_s=15)
    assert (progress.state, progress.detail) == (StepState.TIMED_OUT, "403 forbidden")
    assert took_s(progress) <= 16


async def test_uncordon_goes_on_until_it_works(bench: Workbench, rack: MemoryRack) -> None:
    """After a boot the API takes its time."""
    await bench.do(StepKind.CORDON, "cluster")
    rack.cluster.faults.fail("*", for_s=200)
    progress = await bench.do(StepKind.UNCORDON, "cluster", limit_s=600)
    assert progress.state is StepState.DONE
    assert rack.cluster.cordoned() == set()


async def test_nodes_are_waited_for_though_they_are_cordoned(bench: Workbench, rack: MemoryRack) -> None:
    """Ready is what counts; schedulable is up to us."""
    rack.cluster.add_node("pi3", ready=False)
    await bench.do(StepKind.CORDON, "cluster")
    asyncio.get_running_loop().call_later(90, rack.cluster.add_node, "pi3")
    progress = await bench.do(StepKind.WAIT_READY, "cluster", limit_s=600)
    assert (progress.state, progress.detail) == (StepState.DONE, "4 nodes Ready")
    assert 90 <= took_s(progress) <= 93
    assert "waits for pi3" in bench.said


async def test_a_node_that_does_not_come_back_is_named(bench: Workbench, rack: MemoryRack) -> None:
    """The wait ends, the recovery goes on, and people know which."""
    rack.cluster.add_node("pi3", ready=False)
    progress = await bench.do(StepKind.WAIT_READY, "cluster", limit_s=60)
    assert (progress.state, progress.detail) == (StepState.FAILED, "not Ready: pi3")


async def test_an_api_that_is_still_away_is_waited_for(bench: Workbench, rack: MemoryRack) -> None:
    """k3s starts after us."""
    rack.cluster.faults.fail("nodes", for_s=45)
    progress = await bench.do(StepKind.WAIT_READY, "cluster", limit_s=600)
    assert progress.state is StepState.DONE


# poweroff


async def test_a_power_off_is_one_command(bench: Workbench, rack: MemoryRack) -> None:
    """A machine that takes it is not asked again."""
    progress = await bench.do(StepKind.POWEROFF, "pi4-a", limit_s=30)
    assert progress.state is StepState.DONE
    assert rack.did() == ["poweroff pi4-a"]


async def test_the_mounts_of_a_machine_that_goes_off_are_told(bench: Workbench, rack: MemoryRack) -> None:
    """Whoever reads the report sees what it wrote to."""
    rack.hosts["pi4-a"].says = "upsd-worker: powering off\nmount=/mnt/nas\nmount=/mnt/media\n"
    progress = await bench.do(StepKind.POWEROFF, "pi4-a")
    assert (progress.state, progress.detail) == (StepState.DONE, "mounted there: /mnt/nas, /mnt/media")
    assert bench.events == []


async def test_a_hung_mount_of_a_machine_that_goes_off_is_named(bench: Workbench, rack: MemoryRack) -> None:
    """What it had cached for that is lost, which is among what went wrong."""
    rack.hosts["pi4-a"].says = "upsd-worker: powering off\nmount=/mnt/media\nhung_mount=/mnt/with\\040blank\n"
    progress = await bench.do(StepKind.POWEROFF, "pi4-a")
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "does not answer there, and is detached: /mnt/with blank",
    )
    assert [(event.name, dict(event.fields)) for event in bench.events] == [
        ("mount_hung", {"machine": "pi4-a", "mount": "/mnt/with blank"})
    ]
    assert "pi4-a" in bench.going_off.acknowledged


async def test_a_refused_power_off_is_tried_three_times(bench: Workbench, rack: MemoryRack) -> None:
    """Then the reason stands, and the plan goes on."""
    rack.hosts["pi4-a"].faults.fail("run", "host key has changed")
    progress = await bench.do(StepKind.POWEROFF, "pi4-a", limit_s=30)
    assert (progress.state, progress.detail) == (StepState.FAILED, "host key has changed")
    assert took_s(progress) == pytest.approx(2 * 2.0, abs=0.5)


async def test_a_power_off_that_works_at_the_second_try(bench: Workbench, rack: MemoryRack) -> None:
    """One lost packet is no reason to leave a machine on."""
    rack.hosts["pi4-a"].faults.fail("run", for_s=1)
    progress = await bench.do(StepKind.POWEROFF, "pi4-a", limit_s=30)
    assert progress.state is StepState.DONE
    assert rack.did() == ["poweroff pi4-a"]


async def test_a_host_that_accepts_and_hangs_is_asked_again(bench: Workbench, rack: MemoryRack) -> None:
    """Ten seconds without an answer is an error with a name."""
    rack.hosts["pi4-a"].faults.hang("run")
    progress = await bench.do(StepKind.POWEROFF, "pi4-a", limit_s=30)
    assert "did not answer within 10 s" in progress.detail
    assert took_s(progress) <= 31

    rack.hosts["pi4-b"].faults.hang("run", for_s=5)
    assert (await bench.do(StepKind.POWEROFF, "pi4-b", limit_s=30)).state is StepState.DONE


# storage


async def test_the_nas_is_unmounted_and_flushed(bench: Workbench, rack: MemoryRack) -> None:
    """First nothing here holds data for it, then it holds none in memory."""
    unmount, flush = await bench.do(StepKind.UNMOUNT, "nas"), await bench.do(StepKind.FLUSH, "nas")
    assert (unmount.state, flush.state) == (StepState.DONE, StepState.DONE)
    assert rack.did() == ["unmount", "flush"]
    assert unmount.detail == "unmounted; here 2.0 MiB written in 0.1 s, 0.0 MiB left"
    assert flush.detail == "412 MiB written in 6.2 s, 0.1 MiB left"
    assert bench.events == []


async def test_an_array_that_is_not_sound_is_told_and_not_waited_for(bench: Workbench, rack: MemoryRack) -> None:
    """In the step's detail, and to everybody who listens."""
    arrays = (RaidArray("md0", RaidState.CLEAN), RaidArray("md1", RaidState.REBUILDING, 43.1))
    rack.storage.figures = replace(rack.storage.figures, raid=(*arrays, RaidArray("md2", RaidState.DEGRADED)))
    flush = await bench.do(StepKind.FLUSH, "nas")
    assert flush.state is StepState.DONE
    assert flush.detail == "412 MiB written in 6.2 s, 0.1 MiB left; md1 rebuilding 43 %; md2 degraded"
    assert took_s(flush) < 1
    assert [(event.name, dict(event.fields)) for event in bench.events] == [
        ("raid_unsound", {"machine": "nas", "array": "md1", "state": "rebuilding", "percent": 43.1}),
        ("raid_unsound", {"machine": "nas", "array": "md2", "state": "degraded", "percent": None}),
    ]


async def test_a_flush_that_did_not_come_to_rest_has_failed_and_says_what_is_left(
    bench: Workbench, rack: MemoryRack
) -> None:
    """It is no flush that anybody could count on."""
    rack.storage.figures = Flushed(WrittenOut(421888, 81920, 57.0, at_rest=False))
    flush = await bench.do(StepKind.FLUSH, "nas")
    left = "332 MiB written in 57.0 s, and 80 MiB left that did not come to rest in that time"
    assert (flush.state, flush.detail) == (StepState.FAILED, left)


async def test_a_flush_without_figures_says_why(bench: Workbench, rack: MemoryRack) -> None:
    """It is done all the same."""
    rack.storage.figures = Flushed(remark="no figures: not allowed here")
    flush = await bench.do(StepKind.FLUSH, "nas")
    assert (flush.state, flush.detail) == (StepState.DONE, "flushed; no figures: not allowed here")


@pytest.mark.parametrize("kind", [StepKind.UNMOUNT, StepKind.FLUSH])
async def test_a_nas_that_refuses_is_tried_twice(bench: Workbench, rack: MemoryRack, kind: StepKind) -> None:
    """Then the reason stands."""
    rack.storage.faults.fail("*", "target is busy")
    progress = await bench.do(kind, "nas")
    assert (progress.state, progress.detail) == (StepState.FAILED, "target is busy")
    rack.storage.faults.fail("*", "target is busy", for_s=1)
    assert (await bench.do(kind, "nas")).state is StepState.DONE


async def test_a_mount_that_hangs_ends_with_the_step(bench: Workbench, rack: MemoryRack) -> None:
    """A dead NFS server hangs whoever touches it; here, also whoever would detach it."""
    rack.storage.faults.hang("*")
    progress = await bench.do(StepKind.UNMOUNT, "nas", limit_s=30)
    assert progress.state is StepState.TIMED_OUT
    assert took_s(progress) == pytest.approx(30, abs=0.5)


async def test_a_mount_that_hangs_is_detached_once_force_is_due(bench: Workbench, rack: MemoryRack) -> None:
    """Named, and in time for the step to end by its deadline."""
    rack.storage.faults.hang("unmount")
    progress = await bench.do(StepKind.UNMOUNT, "nas", limit_s=30, minimum_s=8)
    assert (progress.state, progress.detail) == (StepState.FORCED, "hung, and was detached: /mnt/nas")
    assert took_s(progress) == pytest.approx(22, abs=0.5)
    assert rack.did() == ["detach"]


async def test_a_mount_is_tried_before_it_is_detached_however_little_time_there_is(
    bench: Workbench, rack: MemoryRack
) -> None:
    """Where force is due from the beginning, half of the least time is for an unmount in order."""
    assert (await bench.do(StepKind.UNMOUNT, "nas", limit_s=3, minimum_s=3)).state is StepState.DONE
    rack.storage.faults.hang("unmount")
    progress = await bench.do(StepKind.UNMOUNT, "nas", limit_s=3, minimum_s=3)
    assert progress.state is StepState.FORCED
    assert took_s(progress) == pytest.approx(1.5, abs=0.2)
    assert rack.did() == ["unmount", "detach"]


async def test_a_mount_that_is_busy_is_not_detached(bench: Workbench, rack: MemoryRack) -> None:
    """Its reason stands at once; somebody still writes, and would lose what he writes."""
    rack.storage.faults.fail("unmount", "target is busy")
    progress = await bench.do(StepKind.UNMOUNT, "nas", limit_s=30, minimum_s=8)
    assert progress.state is StepState.FAILED
    assert rack.did() == []


async def test_a_hung_mount_that_can_t_be_detached_says_why(bench: Workbench, rack: MemoryRack) -> None:
    """As where the unit is not installed."""
    rack.storage.faults.hang("unmount")
    rack.storage.faults.fail("detach", "install systemd/upsd-detach@.service")
    progress = await bench.do(StepKind.UNMOUNT, "nas", limit_s=30)
    assert (progress.state, progress.detail) == (StepState.FAILED, "hung; install systemd/upsd-detach@.service")


async def test_the_nas_is_mounted_as_soon_as_it_is_back(bench: Workbench, rack: MemoryRack) -> None:
    """It boots more slowly than the master."""
    rack.storage.mounted = False
    rack.storage.faults.fail("mount", "no route to host", for_s=100)
    progress = await bench.do(StepKind.WAIT_STORAGE, "nas", limit_s=600)
    assert (progress.state, rack.storage.mounted) == (StepState.DONE, True)
    assert 100 <= took_s(progress) <= 106
    assert "no route to host" in bench.said


async def test_where_else_it_was_mounted_is_written_down_before_it_goes(bench: Workbench, rack: MemoryRack) -> None:
    """Once, also where the unmount is done again; and not at all where it is mounted in one place only."""
    rack.storage.others = {"/mnt/media", "/mnt/books"}
    rack.storage.faults.hang("unmount", for_s=30)
    rack.storage.faults.fail("detach", "no right")
    for state in (StepState.FAILED, StepState.DONE, StepState.DONE):
        assert (await bench.do(StepKind.UNMOUNT, "nas")).state is state
    written = [record for record in bench.records if record["record"] == "mounts"]
    assert written == [{"record": "mounts", "others": '["/mnt/books", "/mnt/media"]'}]
    states = [record.get("state") for record in bench.records]
    assert states[:3] == ["running", None, "failed"]


async def test_it_is_mounted_again_wherever_it_was(bench: Workbench, rack: MemoryRack) -> None:
    """After it is back; a place where that can't be done is named, and holds up nothing."""
    rack.storage.others = {"/mnt/media", "/mnt/books"}
    await bench.do(StepKind.UNMOUNT, "nas")
    assert rack.storage.others == set()
    progress = await bench.do(StepKind.WAIT_STORAGE, "nas")
    assert (progress.state, progress.detail) == (StepState.DONE, "mounted")
    assert rack.did() == ["unmount", "mount", "mount /mnt/books", "mount /mnt/media"]
    rack.storage.faults.fail("mount_also", "needs a unit")
    progress = await bench.do(StepKind.WAIT_STORAGE, "nas")
    missing = [f"not mounted again at {place}: needs a unit" for place in ("/mnt/books", "/mnt/media")]
    assert (progress.state, progress.detail.split("; ")) == (StepState.DONE, ["mounted", *missing])


async def test_an_outage_that_is_over_leaves_nothing_of_it_to_the_next_one(bench: Workbench, rack: MemoryRack) -> None:
    """A mount that a person has taken away since stays away, and who used the NAS then is no news."""
    rack.storage.others = {"/mnt/media"}
    await bench.do(StepKind.UNMOUNT, "nas")
    bench.nas_users.by_node["pi4-a"] = ["web/immich"]
    bench.parts.forget()
    await bench.do(StepKind.WAIT_STORAGE, "nas")
    assert rack.storage.others == set()
    assert "immich" not in (await bench.do(StepKind.FLUSH, "nas")).detail


async def test_a_mount_that_does_not_answer_is_waited_for(bench: Workbench, rack: MemoryRack) -> None:
    """Mounted is not enough: pods would hang on it."""
    rack.storage.faults.fail("is_mounted", "mounted, but hangs", for_s=20)
    progress = await bench.do(StepKind.WAIT_STORAGE, "nas", limit_s=600)
    assert progress.state is StepState.DONE
    assert took_s(progress) >= 20


# datastore


async def test_a_snapshot_is_named_after_the_outage(bench: Workbench, rack: MemoryRack) -> None:
    """And what there is now is told."""
    progress = await bench.do(StepKind.SNAPSHOT, "k3s")
    assert (progress.state, progress.detail) == (StepState.DONE, "k3s-o1.db is whole")
    assert rack.did() == ["snapshot"]


async def test_a_snapshot_that_takes_too_long_is_given_up(bench: Workbench, rack: MemoryRack) -> None:
    """In time, so that it does not hold the NAS that comes after it."""
    rack.datastore.faults.hang("snapshot")
    progress = await bench.do(StepKind.SNAPSHOT, "k3s", limit_s=30, minimum_s=8)
    assert (progress.state, progress.detail) == (StepState.FAILED, "was not over in time, and was given up")
    assert took_s(progress) == pytest.approx(22, abs=0.5)
    assert rack.did() == ["give up the snapshot"]
    rack.datastore.faults.fail("give_up", "systemd does not answer")
    progress = await bench.do(StepKind.SNAPSHOT, "k3s")
    why = "was not over in time, and still runs: systemd does not answer"
    assert (progress.state, progress.detail) == (StepState.FAILED, why)


async def test_a_snapshot_that_fails_is_tried_twice(bench: Workbench, rack: MemoryRack) -> None:
    """Then the reason stands."""
    rack.datastore.faults.fail("snapshot", "the disk is full")
    progress = await bench.do(StepKind.SNAPSHOT, "k3s")
    assert (progress.state, progress.detail) == (StepState.FAILED, "the disk is full")
    rack.datastore.faults.fail("snapshot", "the disk is full", for_s=1)
    assert (await bench.do(StepKind.SNAPSHOT, "k3s")).state is StepState.DONE


async def test_the_server_is_stopped_and_started(bench: Workbench, rack: MemoryRack) -> None:
    """The stop gives up after a second try; the start does not, since everything waits for it."""
    assert (await bench.do(StepKind.STOP, "k3s")).detail == "stopped"
    assert not rack.datastore.running
    rack.datastore.faults.fail("*", "denied", for_s=20)
    assert (await bench.do(StepKind.STOP, "k3s")).state is StepState.FAILED
    started = await bench.do(StepKind.START, "k3s")
    assert (started.state, rack.datastore.running) == (StepState.DONE, True)


# outlets, this host


async def test_the_outlet_cycle_is_scheduled_with_both_delays(bench: Workbench, rack: MemoryRack) -> None:
    """Once, and people read when."""
    progress = await bench.do(StepKind.OUTLET_CYCLE, "ups")
    assert rack.did() == ["cycle 120s 1min"]
    assert progress.detail == "outlets off in 120 s, on again 1 min later"


async def test_a_ups_that_does_not_answer_is_asked_until_it_does(bench: Workbench, rack: MemoryRack) -> None:
    """The one command that brings everybody back is worth some seconds."""
    rack.outlets.faults.fail("cycle", "the UPS did not answer", for_s=10)
    progress = await bench.do(StepKind.OUTLET_CYCLE, "ups", limit_s=20)
    assert progress.state is StepState.DONE
    assert rack.did() == ["cycle 120s 1min"]


async def test_a_ups_that_is_gone_does_not_keep_the_master_up(bench: Workbench, rack: MemoryRack) -> None:
    """The step ends in time with the reason."""
    rack.outlets.faults.fail("cycle", "the UPS is unplugged")
    progress = await bench.do(StepKind.OUTLET_CYCLE, "ups", limit_s=20)
    assert (progress.state, progress.detail) == (StepState.TIMED_OUT, "the UPS is unplugged")


async def test_the_master_is_asked_until_it_is_gone(bench: Workbench, rack: MemoryRack) -> None:
    """A host that is still up after the usual time is asked again."""
    await bench.do(StepKind.HOST_POWEROFF, MASTER, expected_s=40, minimum_s=40, limit_s=120)
    assert rack.did() == [f"poweroff {MASTER}"] * 3
    assert "still up; asks again" in bench.said


async def test_a_master_that_refuses_is_asked_again_soon(bench: Workbench, rack: MemoryRack) -> None:
    """The login manager may be busy for a moment."""
    rack.local_host.faults.fail("poweroff", "not authorized", for_s=5)
    start = asyncio.get_running_loop().time()
    await bench.do(StepKind.HOST_POWEROFF, MASTER, expected_s=40, minimum_s=40, limit_s=60)
    assert rack.first(f"poweroff {MASTER}") - start < 8
    assert "not authorized" in bench.said
