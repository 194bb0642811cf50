"""Some workers go off early, the rest lasts longer, and whatever comes then ends well."""

from __future__ import annotations

import asyncio

import pytest

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import AN_HOUR_S, PODS, WORKERS, DyingNotes, Outage, all_as_before, living, rules, virtually
from upsd.control import ActError
from upsd.plan_acts import plan_acts
from upsd.shutdown.missing import complaints, look_for
from upsd.shutdown.phase import Phase
from upsd.shutdown.shedding import ShedGroup
from upsd.shutdown.steps import RemoteMachine

EXTRAS = ShedGroup(name="extras", workers=("pi3",), on_battery_s=20)
MORE = ShedGroup(name="more", workers=("pi4-b",), on_battery_s=25)


def outage_with(*groups: ShedGroup, on_battery_s: float | None = None) -> Outage:
    """A world whose outages shed these groups."""
    return Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=on_battery_s), shedding=groups)


async def lose_mains(outage: Outage) -> None:
    """Let the mains go, after the first readings."""
    await asyncio.sleep(5)
    outage.world.device.cut_mains()


def finished(outage: Outage) -> bool:
    """Whether the shedding has ended."""
    return "shedding_finished" in outage.names()


def test_what_is_shed_lengthens_the_runtime_of_the_rest() -> None:
    """The group is off, its pods run elsewhere, nobody else is touched, and more time is counted on."""

    async def story() -> None:
        outage = outage_with(EXTRAS)
        rack = outage.world.rack
        async with living(outage):
            await lose_mains(outage)
            await asyncio.sleep(19)
            before_s = outage.supervisor.runtime(asyncio.get_running_loop().time()).low_s
            at = asyncio.get_running_loop().time()
            assert await outage.world.until(lambda: finished(outage), 120)
            assert rack.hosts["pi3"].off
            await asyncio.sleep(10)
            now = asyncio.get_running_loop().time()
            assert outage.supervisor.runtime(now).low_s > before_s - (now - at) + 20
            assert outage.conductor.confirmed_off == {"pi3"}
            assert rack.cluster.cordoned() == {"pi3"}
            assert rack.cluster.ready_pods() == PODS
            assert outage.conductor.phase is Phase.SHEDDING
            assert not outage.conductor.committed
            done = next(event for event in outage.events if event.name == "shedding_finished")
            assert (done.fields["off"], done.fields["not_done"]) == ("pi3", None)
            outage.world.device.restore_mains()
            await all_as_before(outage)
            assert "wake pi3" in rack.did()
            assert "shedding_undone" in outage.names()
            assert "shutdown_aborted" not in outage.names()

    virtually(story())


def test_the_shutdown_still_comes_in_order_and_does_not_ask_twice() -> None:
    """What is off is off: the shutdown that follows loses no time with it."""

    async def story() -> None:
        outage = outage_with(EXTRAS, on_battery_s=120)
        world = outage.world
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
        assert world.on_when_cut == []
        assert world.flushed_when_cut
        assert world.rack.did().count("poweroff pi3") == 1
        assert outage.conductor.progress["poweroff pi3"].detail == "done before"
        assert outage.names().index("shedding_finished") < outage.names().index("shutdown_started")
        assert outage.names().count("point_of_no_return") == 1
        shed = next(event for event in outage.events if event.name == "shedding_started")
        shutdown = next(event for event in outage.events if event.name == "shutdown_started")
        assert shed.fields["outage"] == shutdown.fields["outage"]
        world.device.restore_mains()

    virtually(story())


def test_the_rack_after_a_shutdown_that_followed_a_shedding_is_whole() -> None:
    """The outlets cold-start what was shed as well, and the recovery waits for it."""

    async def story() -> None:
        outage = outage_with(EXTRAS, on_battery_s=60)
        world = outage.world
        world.rack.hosts["pi3"].wakes = False
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
            world.device.restore_mains()
            assert await world.until(lambda: world.device.outlets.on, AN_HOUR_S)
        after = outage.next_run("next boot")
        async with living(after):
            assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
            await all_as_before(after)

    virtually(story())


def test_a_shutdown_takes_over_at_once() -> None:
    """In the middle of a drain that never ends."""

    async def story() -> None:
        outage = outage_with(EXTRAS, on_battery_s=30)
        world = outage.world
        world.rack.cluster.refused["web/pi3-0"] = AN_HOUR_S
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: outage.conductor.phase is Phase.SHUTTING_DOWN, 40)
            assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
        assert world.on_when_cut == []

    virtually(story())


def test_two_groups_go_one_after_the_other() -> None:
    """The second while the first still goes; both come back."""

    async def story() -> None:
        outage = outage_with(EXTRAS, MORE)
        world = outage.world
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: outage.conductor.confirmed_off == {"pi3", "pi4-b"}, 300)
            assert world.rack.did().count("poweroff pi3") <= 2
            assert not world.rack.hosts["pi4-a"].off
            world.device.restore_mains()
            await all_as_before(outage)

    virtually(story())


def test_an_aborted_shutdown_also_wakes_what_was_shed() -> None:
    """Mains back before the point of no return of the shutdown, with a group already off."""

    async def story() -> None:
        outage = outage_with(EXTRAS, on_battery_s=100)
        world = outage.world
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: finished(outage), 90)
            for pod in world.rack.cluster.on("pi4-a"):
                world.rack.cluster.refused[pod.full_name] = 9e9
            for node in ("pi4-b", MASTER):
                for pod in world.rack.cluster.on(node):
                    world.rack.cluster.refused[pod.full_name] = 9e9
            assert await world.until(lambda: len(world.rack.cluster.cordoned()) == len(WORKERS) + 1, 120)
            world.device.restore_mains()
            await all_as_before(outage)
            assert "shutdown_aborted" in outage.names()

    virtually(story())


def test_a_machine_that_can_not_be_woken_is_complained_of_until_it_is_seen() -> None:
    """The others are brought back all the same, and nobody forgets it."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        world.rack.hosts["pi3"].wakes = False
        outage = Outage(world, rules(), shedding=(EXTRAS, MORE))
        machines = {"pi3": RemoteMachine(world.rack.hosts["pi3"], "poweroff")}
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: outage.conductor.confirmed_off == {"pi3", "pi4-b"}, 300)
            world.device.restore_mains()
            assert await world.until(lambda: "pi4-b" not in world.rack.cluster.cordoned(), 120)
            assert await world.until(lambda: outage.conductor.phase is Phase.IDLE, AN_HOUR_S)
            missing = outage.conductor.missing
            assert list(complaints(missing, machines)) == [
                "pi3 has not come back and can't be woken (no mac); switch it on"
            ]
            looking = asyncio.create_task(look_for(missing, machines, outage.events.append))
            await asyncio.sleep(300)
            assert missing == {"pi3"}
            world.rack.hosts["pi3"].power_on()
            await asyncio.sleep(60)
            looking.cancel()
            assert list(complaints(missing, machines)) == []
            assert outage.events[-1].name == "machine_back"
            await all_as_before(outage)

    virtually(story())


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 1.0, 3.0, 6.0])
def test_mains_back_while_a_worker_goes_off_does_not_leave_it_off(after_s: float, restarted: bool) -> None:  # noqa: FBT001
    """It still answers when the mains is back, and is off a moment later: it is woken all the same."""

    async def story() -> None:
        outage = outage_with(EXTRAS)
        world = outage.world
        world.rack.hosts["pi3"].sshd_s, world.rack.hosts["pi3"].poweroff_s = 8.0, 10.0
        async with living(outage):
            await lose_mains(outage)
            assert await world.until(lambda: "poweroff pi3" in world.rack.did(), 120)
            await asyncio.sleep(after_s)
            world.device.restore_mains()
            if not restarted:
                await asyncio.sleep(20)
                await all_as_before(outage)
        if restarted:
            after = outage.next_run("boot")
            async with living(after):
                await asyncio.sleep(20)
                await all_as_before(after)

    virtually(story())


@pytest.mark.parametrize("mains", ["back", "away", "back while dead"])
@pytest.mark.parametrize("record", range(1, 20))
def test_a_daemon_killed_at_any_record_of_a_shedding_comes_to_the_same_end(record: int, mains: str) -> None:
    """With the mains back everything is as before; without it everything is off, in order, and once."""

    async def story() -> None:
        journal = DyingNotes(record)
        trigger = rules(on_battery_s=None if mains == "back" else 150)
        outage = Outage(MemoryWorld(workers=WORKERS), trigger, shedding=(EXTRAS,), journal=journal)
        world = outage.world
        async with living(outage):
            await lose_mains(outage)
            await world.until(lambda: journal.dead.is_set() or finished(outage), 140)
            journal.buried.set()
        if mains == "back while dead":
            world.device.restore_mains()
        after = outage.next_run("boot")
        async with living(after):
            if mains == "away":
                assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
                assert world.on_when_cut == []
                return
            if mains == "back":
                assert await world.until(lambda: after.conductor.confirmed_off == {"pi3"}, 300)
                world.device.restore_mains()
            assert await world.until(lambda: after.supervisor.view.on_mains, 60)
            await asyncio.sleep(200)
            await all_as_before(after)

    virtually(story())


def test_a_shedding_that_a_person_calls_off_does_not_begin_again_in_the_middle_of_a_boot() -> None:
    """It is refused while the group's condition holds; by force, all of them wait until the mains is back."""

    async def story() -> None:
        outage = outage_with(EXTRAS)
        rack = outage.world.rack
        abort = plan_acts(outage.supervisor, outage.conductor, outage.events.append)["abort"]
        async with living(outage):
            await lose_mains(outage)
            assert await outage.world.until(lambda: finished(outage), 120)
            with pytest.raises(ActError, match=r"what started the shutdown still holds \(group extras\)"):
                await abort({})
            await abort({"force": True})
            await asyncio.sleep(120)
            assert outage.names().count("shedding_started") == 1
            assert not rack.hosts["pi3"].off
            assert "shutdown_started" not in outage.names()
            outage.world.device.restore_mains()
            await all_as_before(outage)
            await asyncio.sleep(10)
            outage.world.device.cut_mains()
            assert await outage.world.until(lambda: outage.names().count("shedding_finished") == 2, 180)

    virtually(story())
