"""A world in memory and the daemon's decisions that follow it, for whole outages in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hardware_sim.iplug_reading import iplug_reading
from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import WORKLOAD
from hardware_sim.virtual_time import VirtualTimeLoop
from upsd.power import PowerRules
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, StorageShape
from upsd.shutdown.records import replay, replay_lost_at
from upsd.shutdown.steps import Rack, RemoteMachine, performers, rehearsers
from upsd.shutdown.trigger import TriggerRules
from upsd.supervisor import Supervisor, SupervisorRules
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.history import BatteryHistory
from upsd.ups.battery.watch import BatteryWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from hardware_sim.memory_world import MemoryWorld
    from upsd.domain.plan import PlanPurpose, StepProgress
    from upsd.domain.power import Event, Scalar
    from upsd.shutdown.records import Unfinished
    from upsd.shutdown.shedding import ShedGroup

WORKERS = ("pi4-a", "pi4-b", "pi3")
WORKER_W = 7.0
MASTER_W = 25.0
AN_HOUR_S = 3600.0
PODS = {WORKLOAD: 2 * (len(WORKERS) + 1)}
"""What runs on all of them."""
_MIDNIGHT = datetime(2025, 11, 23, tzinfo=UTC)


class Notes:
    """A journal in memory."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Scalar]] = []

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Take the record."""
        self.records.append(record)


class DyingNotes(Notes):
    """A journal whose daemon is killed when so many records are written: nothing that waits for it goes on."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last
        self.dead = asyncio.Event()
        self.buried = asyncio.Event()

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Take the record, or die."""
        if not self.dead.is_set() or self.buried.is_set():
            await super().append(record)
        if len(self.records) == self.last and not self.buried.is_set():
            self.dead.set()
            await self.buried.wait()


@dataclass
class Outage:
    """A world, and a daemon's decisions that follow it."""

    world: MemoryWorld
    trigger: TriggerRules
    silent_from: float = float("inf")
    silent_until: float = float("inf")
    unfinished: Unfinished | None = None
    lost_at: float | None = None
    boot_id: str = "boot"
    shedding: tuple[ShedGroup, ...] = ()
    armed: bool = True
    facts: BatteryFacts = field(default_factory=lambda: BatteryFacts(12.0, 7.0, 0.7, 0.8, 10.0))
    learn: Callable[[PlanPurpose, StepProgress], None] = lambda _purpose, _progress: None
    events: list[Event] = field(default_factory=list)
    known: BatteryHistory = field(default_factory=BatteryHistory)
    kept: list[BatteryHistory] = field(default_factory=list)
    journal: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        """Wire the rooms, as the daemon does."""
        machines = self.world.rack
        shape = RackShape(
            master=HostShape(MASTER, 30.0, 90.0),
            workers=tuple(
                HostShape(name, 10.0, 60.0, wakes=host.wakes, server=name in machines.cluster.members)
                for name, host in machines.hosts.items()
            ),
            cluster=ClusterShape(2.0, 20.0, 60.0, 5.0, 600.0),
            storage=StorageShape("nas", 5.0, 30.0, None),
            outlet_off_delay_s=90,
            datastore=DatastoreShape(3.0, 30.0, stops=True),
        )
        parts = Rack(
            emit=self.events.append,
            outlets=self.world,
            outlet_off_delay_s=90,
            outlet_restore_delay_min=1,
            local_host=self.world,
            battery=lambda: self.supervisor.battery_level(asyncio.get_running_loop().time()),
            machines={
                name: RemoteMachine(host, "poweroff", host if host.wakes else None)
                for name, host in machines.hosts.items()
            },
            cluster=machines.cluster,
            storage=machines.storage,
            datastore=machines.datastore,
        )
        if self.unfinished:
            parts.recall(self.unfinished, self.boot_id)
        self.conductor = Conductor(
            shape,
            performers(parts),
            rehearsers(parts),
            journal=self.journal,
            emit=self.events.append,
            changed=lambda: None,
            battery_end_at=lambda: self.supervisor.battery_end_at(asyncio.get_running_loop().time()),
            reserve_s=self.trigger.reserve_s,
            boot_id=self.boot_id,
            linger_s=240.0,
            closed=parts.forget,
            name_outage=lambda: "outage-1",
            learn=lambda purpose, progress: self.learn(purpose, progress),  # noqa: PLW0108  # a test sets it later
        )
        self.supervisor = Supervisor(
            SupervisorRules(
                ups="iplug",
                power=PowerRules(debounce_s=3.0, silence_s=4.0),
                trigger=self.trigger,
                watts={MASTER: MASTER_W, "nas and switch": 26.0, **dict.fromkeys(WORKERS, WORKER_W)},
                shedding=self.shedding,
            ),
            self.conductor,
            facts=lambda _: self.facts,
            battery=BatteryWatch(
                self.known,
                now=asyncio.get_running_loop().time(),
                today=lambda: f"{_MIDNIGHT + timedelta(seconds=asyncio.get_running_loop().time()):%Y-%m-%dT%H:%M:%SZ}",
                keep=self.kept.append,
                emit=self.events.append,
            ),
            emit=self.events.append,
            unfinished=self.unfinished,
            lost_at=self.lost_at,
            boot_id=self.boot_id,
            now=asyncio.get_running_loop().time(),
            armed=lambda: self.armed,
        )

    async def follow(self) -> None:
        """Poll once a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self.silent_from <= loop.time() < self.silent_until:
                self.supervisor.hear(iplug_reading(self.world.device, loop.time()))
            self.supervisor.tick(loop.time())
            await asyncio.sleep(1.0)

    def next_run(self, boot_id: str) -> Outage:
        """The daemon's next run, on the same world and journal."""
        unfinished = replay(json.dumps(dict(record)) for record in self.journal.records)
        lost_at = replay_lost_at((json.dumps(dict(record)) for record in self.journal.records), boot_id)
        return Outage(
            self.world,
            self.trigger,
            unfinished=unfinished,
            lost_at=lost_at,
            boot_id=boot_id,
            shedding=self.shedding,
            journal=self.journal,
            facts=self.facts,
            known=self.kept[-1] if self.kept else self.known,
        )

    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self.events]


@contextlib.asynccontextmanager
async def living(outage: Outage) -> AsyncIterator[Outage]:
    """The world and the daemon's decisions go on while the block runs."""
    tasks = [asyncio.create_task(outage.world.live()), asyncio.create_task(outage.follow())]
    try:
        yield outage
    finally:
        await outage.conductor.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_as_before(outage: Outage) -> None:
    """Everything is on, uncordoned and running, and no outage is left open."""
    world = outage.world
    assert await world.until(lambda: outage.conductor.phase is Phase.IDLE, AN_HOUR_S)
    assert not any(host.off for host in world.rack.hosts.values())
    assert world.rack.cluster.cordoned() == set()
    assert world.rack.cluster.ready_pods() == PODS
    assert outage.next_run("boot").unfinished is None


def virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)


def rules(*, on_battery_s: float | None = None, auto: bool = True) -> TriggerRules:
    """Trigger rules with the usual margin and reserve."""
    return TriggerRules(auto=auto, margin_s=60.0, reserve_s=60.0, on_battery_s=on_battery_s)
