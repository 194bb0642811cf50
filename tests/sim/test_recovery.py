"""Whole outages with what comes after them: the boot, the recovery, and further outages in the middle of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import AN_HOUR_S, PODS, WORKERS, Outage, living, rules, virtually
from upsd.domain.plan import StepState
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = {MASTER, *WORKERS}


async def outage_to_its_end(world: MemoryWorld) -> Outage:
    """The mains goes, everything goes off, the mains comes back, and so does the power of the outlets."""
    outage = Outage(world, rules(on_battery_s=10))
    async with living(outage):
        await asyncio.sleep(5)
        world.device.cut_mains()
        await power_gone_and_back(world)
    assert world.rack.cluster.cordoned() == ALL
    return outage


async def power_gone_and_back(world: MemoryWorld) -> None:
    """The rack goes off, the mains comes back, and so does the power of the outlets."""
    assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
    world.device.restore_mains()
    assert await world.until(lambda: world.device.outlets.on, AN_HOUR_S)


async def settled(outage: Outage) -> None:
    """The daemon has nothing left to do."""
    assert await outage.world.until(lambda: outage.conductor.phase is Phase.IDLE, AN_HOUR_S)


def assert_as_before(world: MemoryWorld) -> None:
    """Every machine is on, every node takes pods, every pod runs."""
    assert not any(host.off for host in world.rack.hosts.values())
    assert world.rack.storage.mounted
    assert world.rack.cluster.cordoned() == set()
    assert world.rack.cluster.ready_pods() == PODS


def at_step(outage: Outage, step: str) -> Callable[[], bool]:
    """Whether a step runs."""
    return lambda: step in outage.conductor.progress and outage.conductor.progress[step].state is StepState.RUNNING


def linger(world: MemoryWorld) -> None:
    """Let each step of the recovery take a while, so that something can happen in it."""
    world.rack.storage.faults.slow("mount", 5.0)
    world.rack.hosts["pi3"].boot_s = 120.0
    world.rack.cluster.faults.slow("nodes", 5.0)
    world.rack.cluster.start_s = 10.0


def test_after_an_outage_everything_is_as_before() -> None:
    """The boot, the NAS, the workers, the nodes, the pods; and the count of pods is that of before the outage."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        before = await outage_to_its_end(world)
        after = before.next_run("next boot")
        async with living(after):
            assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        assert_as_before(world)
        finished = next(event for event in after.events if event.name == "recovery_finished")
        assert finished.fields["not_done"] is None
        assert after.conductor.progress["workloads"].detail == "8 pods of 1 workloads Ready, as before"
        assert before.next_run("next boot").unfinished is None

    virtually(story())


def test_what_an_administrator_had_cordoned_stays_so() -> None:
    """Through the whole outage and the recovery."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        world.rack.cluster.add_node("pi3", unschedulable=True)
        after = (await outage_to_its_end(world)).next_run("next boot")
        async with living(after):
            assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        assert world.rack.cluster.cordoned() == {"pi3"}

    virtually(story())


def test_nothing_is_started_below_the_floor() -> None:
    """A battery that a long outage has emptied is waited for, with the NAS unmounted and every node cordoned."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        before = await outage_to_its_end(world)
        before.trigger = replace(before.trigger, margin_s=240.0)
        (*_, known) = before.kept
        assert known.charge
        before.kept.append(replace(known, charge=replace(known.charge, unsure=0.22)))
        after = before.next_run("next boot")
        world.device.battery.step(AN_HOUR_S, drain_w=40.0)
        async with living(after):
            assert await world.until(at_step(after, "wait-battery"), AN_HOUR_S)
            await asyncio.sleep(60)
            assert world.rack.cluster.cordoned() == ALL
            assert not world.rack.storage.mounted
            began = asyncio.get_running_loop().time()
            await world.until(lambda: "mount" in world.rack.did(), 24 * AN_HOUR_S)
            assert after.supervisor.battery_level(asyncio.get_running_loop().time()).enough
            assert "battery_below_floor" not in after.names()
            assert asyncio.get_running_loop().time() - began > 600
            assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        assert_as_before(world)

    virtually(story())


STEPS = ["wait-storage nas", "wait-host pi3", "wait-ready", "workloads"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_an_outage_in_the_recovery_is_just_another_outage(step: str, times: int, restarted: bool) -> None:  # noqa: FBT001
    """It runs to its end in order, as often as it comes, and in the end everything is as before the first one."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        linger(world)
        outage = await outage_to_its_end(world)
        for number in range(times):
            outage = outage.next_run(f"boot {number}")
            async with living(outage):
                assert await world.until(at_step(outage, step), 2 * AN_HOUR_S)
                world.device.cut_mains()
                await asyncio.sleep(5)
                if not restarted:
                    await power_gone_and_back(world)
            if restarted:
                outage = outage.next_run(f"boot {number}")
                async with living(outage):
                    await power_gone_and_back(world)
        last = outage.next_run("last boot")
        async with living(last):
            assert await world.until(lambda: "recovery_finished" in last.names(), 2 * AN_HOUR_S)
        assert_as_before(world)
        assert last.next_run("last boot").unfinished is None

    virtually(story())


@pytest.mark.parametrize("restarted", [False, True])
def test_a_short_outage_in_the_recovery_leads_to_a_whole_recovery(restarted: bool) -> None:  # noqa: FBT001
    """The second shutdown is called off in its drain; what the first had powered off is still brought back in order."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        linger(world)
        outage = (await outage_to_its_end(world)).next_run("next boot")
        world.rack.cluster.refused = {pod.full_name: 9e9 for node in ALL for pod in world.rack.cluster.on(node)}
        async with living(outage):
            assert await world.until(at_step(outage, "wait-ready"), AN_HOUR_S)
            world.device.cut_mains()
            assert await world.until(at_step(outage, "cordon"), AN_HOUR_S)
            if not restarted:
                world.device.restore_mains()
                await settled(outage)
        if restarted:
            world.device.restore_mains()
            outage = outage.next_run("next boot")
            async with living(outage):
                assert await world.until(lambda: "recovery_finished" in outage.names(), AN_HOUR_S)
        assert "recovery_finished" in outage.names()
        assert "wait-ready" in outage.conductor.progress
        assert_as_before(world)

    virtually(story())


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_in_the_recovery_begins_it_again(step: str) -> None:
    """And still knows how much ran before the outage."""

    async def story() -> None:
        world = MemoryWorld(workers=WORKERS)
        linger(world)
        killed = (await outage_to_its_end(world)).next_run("next boot")
        async with living(killed):
            assert await world.until(at_step(killed, step), AN_HOUR_S)
        after = killed.next_run("next boot")
        async with living(after):
            assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        assert_as_before(world)
        assert after.conductor.progress["workloads"].detail == "8 pods of 1 workloads Ready, as before"
        assert after.next_run("next boot").unfinished is None

    virtually(story())
