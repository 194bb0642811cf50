"""Whole outages in virtual time: the decisions and the plan against a UPS with physics and a rack with faults."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from hardware_sim.ups.battery import BatterySpec
from hardware_sim.virtual_time import VirtualTimeLoop
from upsd.domain.power import Reading
from upsd.power import PowerRules
from upsd.shutdown.conductor import Conductor, Phase
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, StorageShape
from upsd.shutdown.steps import Rack, RemoteMachine, performers
from upsd.shutdown.trigger import TriggerRules
from upsd.supervisor import Supervisor, SupervisorRules
from upsd.ups.battery import BatteryFacts

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from upsd.domain.power import Event, Scalar

WORKERS = ("pi4-a", "pi4-b", "pi3")
WORKER_W = 7.0
MASTER_W = 25.0
AN_HOUR_S = 3600.0


class NoJournal:
    """A journal that keeps nothing."""

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Take the record."""


@dataclass
class Outage:
    """A world, and a daemon's decisions that follow it."""

    world: MemoryWorld
    trigger: TriggerRules
    silent_from: float = float("inf")
    silent_until: float = float("inf")
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Wire the rooms, as the daemon does."""
        rack = self.world.rack
        shape = RackShape(
            master=HostShape(MASTER, 30.0, 90.0),
            workers=tuple(HostShape(name, 10.0, 60.0) for name in WORKERS),
            cluster=ClusterShape(2.0, 20.0, 60.0, 5.0, 600.0),
            storage=StorageShape("nas", 5.0, 30.0, None),
        )
        self.conductor = Conductor(
            shape,
            performers(
                Rack(
                    emit=self.events.append,
                    outlets=self.world,
                    outlet_off_delay_s=90,
                    outlet_restore_delay_min=1,
                    local_host=self.world,
                    machines={name: RemoteMachine(host, "poweroff") for name, host in rack.hosts.items()},
                    cluster=rack.cluster,
                    storage=rack.storage,
                )
            ),
            journal=NoJournal(),
            emit=self.events.append,
            changed=lambda: None,
            battery_end_at=lambda: self.supervisor.battery_end_at(asyncio.get_running_loop().time()),
            boot_id="boot",
            name_outage=lambda: "outage-1",
        )
        self.supervisor = Supervisor(
            SupervisorRules(
                ups="iplug",
                power=PowerRules(debounce_s=3.0, silence_s=4.0),
                trigger=self.trigger,
                watts={MASTER: MASTER_W, "nas and switch": 26.0, **dict.fromkeys(WORKERS, WORKER_W)},
            ),
            self.conductor,
            facts=lambda _: BatteryFacts(12.0, 7.0, 0.7, 0.8, 10.0),
            emit=self.events.append,
            unfinished=None,
            boot_id="boot",
            now=asyncio.get_running_loop().time(),
        )

    async def follow(self) -> None:
        """Poll once a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self.silent_from <= loop.time() < self.silent_until:
                self.supervisor.hear(reading_of(self.world, loop.time()))
            self.supervisor.tick(loop.time())
            await asyncio.sleep(1.0)

    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self.events]


def reading_of(world: MemoryWorld, now: float) -> Reading:
    """What an iPlug reports: no charge, no runtime, no load."""
    world.device.advance(now)
    status = world.device.status()
    return Reading(
        at=now,
        output_powered=status.output_powered,
        on_battery=status.battery_working,
        battery_low=status.battery_low,
        charged=status.charged,
        charging=status.charging,
        test_in_progress=status.test_in_progress,
        input_voltage_v=round(status.input_voltage_v),
        battery_voltage_v=round(status.battery_voltage_v, 1),
        load_percent=0,
    )


@contextlib.asynccontextmanager
async def living(outage: Outage) -> Any:
    """The world and the daemon's decisions go on while the block runs."""
    tasks = [asyncio.create_task(outage.world.live()), asyncio.create_task(outage.follow())]
    try:
        yield outage
    finally:
        await outage.conductor.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)


def rules(*, on_battery_s: float | None = None, auto: bool = True) -> TriggerRules:
    """Trigger rules with the usual margin and reserve."""
    return TriggerRules(auto=auto, margin_s=60.0, reserve_s=60.0, on_battery_s=on_battery_s, battery_low=True)


FAULTS = st.sampled_from(
    [
        None,
        ("cluster", "*", "fail"),
        ("cluster", "*", "hang"),
        ("cluster", "evict", "hang"),
        ("cluster", "cordon", "fail"),
        ("storage", "flush", "hang"),
        ("storage", "unmount", "hang"),
        ("storage", "unmount", "fail"),
        ("outlets", "cycle", "fail"),
        ("outlets", "cycle", "hang"),
        ("pi3", "run", "fail"),
        ("pi3", "run", "hang"),
        ("pi3", "answers", "hang"),
    ]
)


def break_something(world: MemoryWorld, fault: tuple[str, str, str]) -> None:
    """Switch the fault on."""
    part, operation, kind = fault
    faults = (world.rack.hosts.get(part) or getattr(world.rack, part)).faults
    getattr(faults, kind)(operation)


@settings(max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
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
        if ("storage", "flush", "hang") not in (fault, other_fault):
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
        for name in WORKERS:
            world.rack.cluster.refused[f"web/{name}-0"] = AN_HOUR_S
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
