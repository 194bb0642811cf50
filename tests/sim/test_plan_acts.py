"""A shutdown that a person asks for, and one that a person calls off: safe with mains, without, and after a restart."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import WORKERS, Outage, living, rules
from upsd.control import ActError
from upsd.plan_acts import plan_acts
from upsd.shutdown.phase import Phase
from upsd.shutdown.records import replay

if TYPE_CHECKING:
    from upsd.shutdown.trigger import TriggerRules

AN_HOUR_S = 3600.0


def rack_whose_drains_last(triggers: TriggerRules | None = None) -> Outage:
    """A daemon in a rack with a disruption budget that never yields, so that there is time to think again."""
    outage = Outage(MemoryWorld(workers=WORKERS), triggers or rules())
    for name in WORKERS:
        outage.world.rack.cluster.refused[f"web/{name}-0"] = AN_HOUR_S
    return outage


async def act(outage: Outage, name: str, **arguments: bool) -> Any:
    """Command something, as over the control socket."""
    acts = plan_acts(outage.supervisor, outage.conductor, outage.events.append)
    return await acts[name](arguments)


async def refused(outage: Outage, name: str, **arguments: bool) -> str:
    """Why a command is refused."""
    with pytest.raises(ActError) as caught:
        await act(outage, name, **arguments)
    return str(caught.value)


def restarted(outage: Outage) -> Outage:
    """The next run of the daemon in this boot, in the same world."""
    unfinished = replay(json.dumps(record) for record in outage.journal.records)
    after = Outage(outage.world, outage.trigger, unfinished=unfinished, journal=outage.journal)
    after.journal = outage.journal
    return after


def powered_off(outage: Outage) -> list[str]:
    """The machines that were told to power off."""
    return [what for what in outage.world.rack.did() if what.startswith("poweroff")]


async def idle(outage: Outage, within_s: float = 60.0) -> None:
    """Wait until nothing runs any more."""
    assert await outage.world.until(lambda: outage.conductor.phase is Phase.IDLE, within_s)


async def lose_the_mains(outage: Outage, for_s: float = 30.0) -> None:
    """Cut it, and wait."""
    await asyncio.sleep(5)
    outage.world.device.cut_mains()
    await asyncio.sleep(for_s)


# shutdown


async def test_a_requested_shutdown_runs_to_its_end_on_mains() -> None:
    """Readings on mains, one each second, do not call it off; and everything cold-starts in the end."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules())
    world = outage.world
    async with living(outage):
        await asyncio.sleep(5)
        answer = await act(outage, "shutdown", yes=True)
        assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
        assert world.on_when_cut == []
        assert world.flushed_when_cut
        await asyncio.sleep(120)
    assert answer["outage"] == "outage-1"
    assert world.device.outlets.on
    assert outage.conductor.reason == "requested"
    assert "shutdown_aborted" not in outage.names()


async def test_without_a_yes_it_says_what_would_happen_and_does_nothing() -> None:
    """Somebody who only tries a word out learns what it does."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules())
    async with living(outage):
        await asyncio.sleep(5)
        said = await refused(outage, "shutdown")
        assert await refused(outage, "shutdown", yes=False) == said
        await asyncio.sleep(60)
    assert f"power off pi4-a, pi4-b, pi3, {MASTER} in order, within about" in said
    assert "--yes" in said
    assert outage.world.rack.did() == []
    assert outage.conductor.phase is Phase.IDLE


async def test_a_second_request_starts_no_second_shutdown() -> None:
    """Two people at two terminals."""
    outage = rack_whose_drains_last()
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(5)
        assert "under way already (requested)" in await refused(outage, "shutdown", yes=True)
    assert outage.names().count("shutdown_started") == 1


async def test_mains_that_goes_and_comes_back_does_not_call_a_requested_shutdown_off() -> None:
    """It was not the outage that began it."""
    outage = rack_whose_drains_last()
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        outage.world.device.cut_mains()
        await asyncio.sleep(10)
        outage.world.device.restore_mains()
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []


@pytest.mark.parametrize("silent", [False, True])
async def test_a_requested_shutdown_survives_a_restart_on_mains(*, silent: bool) -> None:
    """Also if the UPS does not answer: it was no reading that began it."""
    outage = rack_whose_drains_last()
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(5)
    assert powered_off(outage) == []
    after = restarted(outage)
    if silent:
        after.silent_from = 0.0
    async with living(after):
        assert await after.world.until(lambda: after.world.on_when_cut is not None, AN_HOUR_S)
    assert after.world.on_when_cut == []
    assert "shutdown_resumed" in after.names()


# abort


async def test_an_abort_undoes_a_requested_shutdown_exactly() -> None:
    """What an administrator had cordoned stays so; all else is as it was."""
    outage = rack_whose_drains_last()
    cluster = outage.world.rack.cluster
    cluster.add_node("pi5", unschedulable=True)
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(10)
        assert len(cluster.cordoned()) > 1
        assert await act(outage, "abort") == {"outage": "outage-1", "held_back": []}
        await idle(outage)
        await asyncio.sleep(600)
    assert cluster.cordoned() == {"pi5"}
    assert powered_off(outage) == []
    assert [name for name in outage.names() if not name.startswith("step_")][-2:] == [
        "shutdown_aborted",
        "abort_finished",
    ]
    assert [event.fields["reason"] for event in outage.events if event.name == "shutdown_aborted"] == ["requested"]


async def test_an_abort_that_a_restart_interrupts_is_no_reason_to_go_on_with_the_shutdown() -> None:
    """The last word of the person counts."""
    outage = rack_whose_drains_last()
    outage.world.rack.cluster.faults.slow("uncordon", 20.0)
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(10)
        await act(outage, "abort")
        await asyncio.sleep(5)
        assert outage.conductor.phase is Phase.ABORTING
    outage.world.rack.cluster.faults.mend()
    after = restarted(outage)
    async with living(after):
        await asyncio.sleep(5)
        await idle(after)
        await asyncio.sleep(60)
    assert after.world.rack.cluster.cordoned() == set()
    assert "shutdown_resumed" not in after.names()


async def test_an_abort_that_a_restart_interrupts_is_finished_on_battery_too() -> None:
    """No trigger holds yet, so nothing asks for the shutdown any more."""
    outage = rack_whose_drains_last()
    outage.world.rack.cluster.faults.slow("uncordon", 20.0)
    async with living(outage):
        await lose_the_mains(outage)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(10)
        await act(outage, "abort")
        await asyncio.sleep(5)
    outage.world.rack.cluster.faults.mend()
    after = restarted(outage)
    async with living(after):
        await asyncio.sleep(10)
        await idle(after)
    assert after.world.rack.cluster.cordoned() == set()
    assert "shutdown_resumed" not in after.names()


async def test_after_the_point_of_no_return_an_abort_is_refused() -> None:
    """A worker that goes off comes back only by the outlet cycle; and the reason says so."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules())
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, "shutdown", yes=True)
        assert await outage.world.until(lambda: bool(powered_off(outage)), AN_HOUR_S)
        for force in (False, True):
            said = await refused(outage, "abort", force=force)
            assert "point of no return is passed (poweroff pi4-a)" in said
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []


async def test_where_nothing_is_under_way_there_is_nothing_to_abort() -> None:
    """And what is being undone already is not undone twice."""
    outage = rack_whose_drains_last()
    outage.world.rack.cluster.faults.slow("uncordon", 20.0)
    async with living(outage):
        await asyncio.sleep(5)
        assert await refused(outage, "abort") == "no shutdown is under way"
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(10)
        await act(outage, "abort")
        assert "being undone already" in await refused(outage, "abort")
        await idle(outage)


async def test_a_rehearsal_is_not_called_off() -> None:
    """There is nothing to undo, and nobody must wait until it is undone."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules())
    async with living(outage):
        await asyncio.sleep(5)
        outage.conductor.rehearse("r1")
        assert await refused(outage, "abort") == (
            "no shutdown is under way: a rehearsal is, which harms nothing and ends by itself"
        )
        assert outage.conductor.phase is Phase.REHEARSING


async def test_a_shutdown_requested_too_early_on_battery_can_be_taken_back() -> None:
    """The battery would have carried the rack for longer: from now on the settings decide again."""
    outage = rack_whose_drains_last()
    async with living(outage):
        await lose_the_mains(outage)
        await act(outage, "shutdown", yes=True)
        await asyncio.sleep(10)
        await act(outage, "abort")
        await idle(outage)
        await asyncio.sleep(60)
        assert outage.conductor.phase is Phase.IDLE
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, 2 * AN_HOUR_S)
    assert outage.world.on_when_cut == []
    assert [event.fields["reason"] for event in outage.events if event.name == "shutdown_started"] == [
        "requested",
        "latest-safe-start",
    ]


async def test_on_battery_an_abort_is_refused_while_what_started_the_shutdown_holds() -> None:
    """It would start again with the next reading, and the time would be lost."""
    outage = rack_whose_drains_last(rules(on_battery_s=20))
    async with living(outage):
        await lose_the_mains(outage)
        said = await refused(outage, "abort")
        assert "still holds (on-battery)" in said
        assert "--force" in said
        await asyncio.sleep(5)
        assert outage.conductor.phase is Phase.SHUTTING_DOWN
    assert "shutdown_aborted" not in outage.names()


@pytest.mark.parametrize("auto", [True, False])
async def test_by_force_a_fixed_trigger_is_held_back_but_never_the_latest_safe_start(*, auto: bool) -> None:
    """A person who waits for the generator gets all of the battery, and not a second more than is safe."""
    outage = rack_whose_drains_last(rules(on_battery_s=20, auto=auto))
    async with living(outage):
        await lose_the_mains(outage)
        assert (await act(outage, "abort", force=True))["held_back"] == ["on-battery"]
        await idle(outage)
        await asyncio.sleep(120)
        assert outage.conductor.phase is Phase.IDLE
        assert outage.world.rack.cluster.cordoned() == set()
        assert outage.supervisor.snapshot(asyncio.get_running_loop().time()).starts_in_s
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, 2 * AN_HOUR_S)
    assert outage.world.on_when_cut == []
    assert outage.world.flushed_when_cut
    assert outage.conductor.reason == "latest-safe-start"
    assert "triggers_held_back" in outage.names()


async def test_the_next_outage_knows_nothing_of_a_trigger_that_was_held_back() -> None:
    """The generator was for that one."""
    outage = rack_whose_drains_last(rules(on_battery_s=20))
    async with living(outage):
        await lose_the_mains(outage)
        await act(outage, "abort", force=True)
        await idle(outage)
        outage.world.device.restore_mains()
        await lose_the_mains(outage)
    assert [event.fields["reason"] for event in outage.events if event.name == "shutdown_started"] == ["on-battery"] * 2


@pytest.mark.parametrize("force", [False, True])
async def test_a_shutdown_that_can_not_wait_is_not_stopped_by_force_either(*, force: bool) -> None:
    """At the latest safe start the battery holds just what the shutdown needs."""
    outage = rack_whose_drains_last()
    async with living(outage):
        await lose_the_mains(outage)
        assert await outage.world.until(lambda: outage.conductor.phase is Phase.SHUTTING_DOWN, 2 * AN_HOUR_S)
        assert "no longer than the shutdown needs (latest-safe-start)" in await refused(outage, "abort", force=force)
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []
