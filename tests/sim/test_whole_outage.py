"""Whole outages in virtual time: the decisions and the plan against a UPS with physics and a rack with faults."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hardware_sim.memory_world import MemoryWorld
from hardware_sim.ups.battery import BatterySpec
from tests.sim.outages import AN_HOUR_S, MASTER_W, WORKER_W, WORKERS, Outage, living, rules, virtually
from upsd.shutdown.phase import Phase

FAULTS = st.sampled_from(
    [
        None,
        ("cluster", "*", "fail"),
        ("cluster", "*", "hang"),
        ("cluster", "evict", "hang"),
        ("cluster", "cordon", "fail"),
        ("storage", "flush", "hang"),
        ("storage", "unmount", "hang"),
        ("storage", "*", "hang"),
        ("storage", "unmount", "fail"),
        ("datastore", "snapshot", "hang"),
        ("datastore", "*", "hang"),
        ("outlets", "cycle", "fail"),
        ("outlets", "cycle", "hang"),
        ("pi3", "run", "fail"),
        ("pi3", "run", "hang"),
        ("pi3", "call_port", "hang"),
    ]
)


def break_something(world: MemoryWorld, fault: tuple[str, str, str]) -> None:
    """Switch the fault on."""
    part, operation, kind = fault
    faults = (world.rack.hosts.get(part) or getattr(world.rack, part)).faults
    getattr(faults, kind)(operation)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    health=st.floats(0.6, 1.0),
    fault=FAULTS,
    other_fault=FAULTS,
    on_battery_s=st.none() | st.floats(5.0, 300.0),
    lost_after_s=st.floats(5.0, 20.0),
    silence=st.none() | st.tuples(st.floats(2.0, 400.0), st.floats(1.0, 2000.0)),
)
@example(
    health=0.6, fault=("cluster", "*", "hang"), other_fault=("storage", "flush", "hang"), on_battery_s=None,
    lost_after_s=5.0, silence=(2.0, 2000.0),
)  # fmt: skip
def test_nobody_is_on_when_the_power_goes(
    health: float,
    fault: tuple[str, str, str] | None,
    other_fault: tuple[str, str, str] | None,
    on_battery_s: float | None,
    lost_after_s: float,
    silence: tuple[float, float] | None,
) -> None:
    """Whatever breaks, and however worn the battery: whoever can be powered off is off before the outlets are."""

    async def outage_from_start_to_end() -> None:
        world = MemoryWorld(workers=WORKERS, worker_w=WORKER_W, master_w=MASTER_W, battery=BatterySpec(health=health))
        outage = Outage(world, rules(on_battery_s=on_battery_s))
        async with living(outage):
            await asyncio.sleep(lost_after_s)
            world.device.cut_mains()
            now = asyncio.get_running_loop().time()
            if silence:
                outage.silent_from, outage.silent_until = now + silence[0], now + silence[0] + silence[1]
            for broken in filter(None, (fault, other_fault)):
                break_something(world, broken)
            assert await world.until(lambda: world.on_when_cut is not None, 2 * AN_HOUR_S)

        excused = {"pi3"} if ("pi3", "run", "fail") in (fault, other_fault) else set()
        excused |= {"pi3"} if ("pi3", "run", "hang") in (fault, other_fault) else set()
        assert set(world.on_when_cut or ()) <= excused
        if not {("storage", "flush", "hang"), ("storage", "*", "hang")} & {fault, other_fault}:
            assert world.flushed_when_cut

    virtually(outage_from_start_to_end())


def test_short_outage_costs_nobody_anything() -> None:
    """With the automatic trigger, five minutes without mains touch nothing."""

    async def short_outage() -> None:
        outage = Outage(MemoryWorld(workers=WORKERS), rules())
        async with living(outage):
            await asyncio.sleep(10)
            outage.world.device.cut_mains()
            await asyncio.sleep(300)
            outage.world.device.restore_mains()
            await asyncio.sleep(60)

        assert outage.world.rack.did() == []
        assert outage.names() == ["mains_lost", "outage_confirmed", "mains_back"]

    virtually(short_outage())


def test_mains_back_during_the_drain_undoes_everything() -> None:
    """Before the point of no return the cluster is as it was, half a minute after the mains is back."""

    async def aborted_outage() -> None:
        outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=10))
        world = outage.world
        world.rack.cluster.broken = {f"web/{name}-0" for name in WORKERS}
        async with living(outage):
            await asyncio.sleep(5)
            world.device.cut_mains()
            await asyncio.sleep(25)
            assert world.rack.cluster.cordoned()
            world.device.restore_mains()
            await asyncio.sleep(30)

        assert world.rack.cluster.cordoned() == set()
        assert not any(what.startswith("poweroff") for what in world.rack.did())
        assert outage.conductor.phase is Phase.IDLE

    virtually(aborted_outage())


def test_mains_back_after_the_point_of_no_return_still_cold_starts_everything() -> None:
    """The power race: machines that are off come back, because the outlets are cycled all the same."""

    async def raced_outage() -> None:
        outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=10))
        world = outage.world
        async with living(outage):
            await asyncio.sleep(5)
            world.device.cut_mains()
            await world.until(lambda: any(what.startswith("poweroff") for what in world.rack.did()), AN_HOUR_S)
            world.device.restore_mains()
            assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
            assert world.on_when_cut == []
            await asyncio.sleep(120)
            assert world.device.outlets.on

    virtually(raced_outage())


def test_battery_test_touches_nothing() -> None:
    """A battery test runs on battery and is no outage."""

    async def tested() -> None:
        outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=2))
        async with living(outage):
            await asyncio.sleep(5)
            outage.world.device.test_battery()
            await asyncio.sleep(60)

        assert outage.names() == ["battery_test_started", "battery_test_ended"]
        assert outage.world.rack.did() == []

    virtually(tested())
