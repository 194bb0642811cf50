"""A conductor on a rack in memory, as one run of the daemon that can be killed and started again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hardware_sim.memory_rack import MASTER, MemoryRack
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.floor import AMPLE, BatteryLevel
from upsd.shutdown.journal import JournalError
from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, StorageShape
from upsd.shutdown.records import Unfinished, replay
from upsd.shutdown.steps import DrainRules, Rack, RemoteMachine, performers, rehearsers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.plan import PlanPurpose, StepProgress, StepState
    from upsd.domain.power import Event, Scalar
    from upsd.shutdown.learner import Learner
    from upsd.shutdown.phase import Phase

CYCLE = "cycle 120s 1min"
MASTER_OFF = f"poweroff {MASTER}"
NAS_ADDRESS = "192.168.7.20"
BOOT_ID = "b1"
LONGER_THAN_ANY_PLAN_S = 3600.0


@dataclass
class MemoryJournal:
    """A journal that takes its time, is torn by a kill, and can fail.

    `wrote` is called when half a line is written, and when the whole is.
    """

    text: str = ""
    error: str | None = None
    delay_s: float = 0.02
    wrote: Callable[[], None] = lambda: None

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Write a line in two halves."""
        if self.error is not None:
            await asyncio.sleep(self.delay_s)
            raise JournalError(self.error)
        line = "\n" + json.dumps({"at": "2025-11-23T18:00:00+00:00", **record}) + "\n"
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):
            self.text += half
            self.wrote()
            await asyncio.sleep(self.delay_s / 2)

    def unfinished(self) -> Unfinished | None:
        """What a restarted daemon reads."""
        return replay(self.text.splitlines())


def shape_of(rack: MemoryRack) -> RackShape:
    """What the plan of this rack is made from."""
    return RackShape(
        master=HostShape(MASTER, 20, 60),
        workers=tuple(HostShape(name, 10, 60, server=name in rack.cluster.members) for name in rack.hosts),
        cluster=ClusterShape(cordon_s=2, drain_s=10, drain_limit_s=60, delete_grace_s=5, ready_limit_s=300),
        storage=StorageShape("nas", flush_s=2, limit_s=30, host=None),
        outlet_off_delay_s=120,
    )


@dataclass
class Daemon:
    """One run of the daemon on a rack: from its start until it is killed."""

    rack: MemoryRack
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    battery_end_at: Callable[[], float] = lambda: float("inf")
    events: list[Event] = field(default_factory=list)
    learner: Learner | None = None
    level: BatteryLevel = AMPLE
    datastore: DatastoreShape | None = None
    learn: Callable[[PlanPurpose, StepProgress], None] = lambda _purpose, _progress: None
    conductor: Conductor = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Wire the rooms."""
        unfinished = self.journal.unfinished()
        parts = Rack(
            emit=self.events.append,
            outlets=self.rack.outlets,
            outlet_off_delay_s=120,
            outlet_restore_delay_min=1,
            local_host=self.rack.local_host,
            machines={
                name: RemoteMachine(host, "poweroff", host if host.wakes else None)
                for name, host in self.rack.hosts.items()
            },
            cluster=self.rack.cluster,
            storage=self.rack.storage,
            datastore=self.rack.datastore,
            battery=lambda: self.level,
            drain=DrainRules(nas=NAS_ADDRESS),
        )
        if unfinished:
            parts.recall(unfinished, BOOT_ID)
        self.conductor = Conductor(
            replace(shape_of(self.rack), datastore=self.datastore),
            performers(parts),
            rehearsers(parts),
            journal=self.journal,
            emit=self.events.append,
            changed=self._changed.set,
            battery_end_at=self._battery,
            reserve_s=0.0,
            boot_id=BOOT_ID,
            linger_s=60.0,
            learner=self.learner,
            closed=parts.forget,
            learn=self._learn,
            name_outage=lambda: f"o{asyncio.get_running_loop().time():.0f}",
        )

    def _battery(self) -> float:
        return self.battery_end_at()

    def _learn(self, purpose: PlanPurpose, progress: StepProgress) -> None:
        self.learn(purpose, progress)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(LONGER_THAN_ANY_PLAN_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def phase(self, phase: Phase) -> None:
        """Wait for a phase."""
        await self.until(lambda: self.conductor.phase is phase)

    async def step(self, step: str, state: StepState) -> None:
        """Wait for a step to stand there."""
        await self.until(lambda: step in self.conductor.progress and self.conductor.progress[step].state is state)

    async def kill(self) -> None:
        """End it as `kill -9` does: nothing more is written, asked or undone."""
        await self.conductor.close()

    def restart(self) -> Daemon:
        """The next run, on the same rack and journal, which goes on as the supervisor does in an outage."""
        after = Daemon(self.rack, self.journal, learner=self.learner)
        unfinished = self.journal.unfinished()
        if unfinished:
            after.conductor.resume(unfinished)
        else:
            after.conductor.start("on-battery")
        return after

    def names(self) -> list[str]:
        """What happened, without the steps' events."""
        return [event.name for event in self.events if not event.name.startswith("step_")]

    def event(self, name: str) -> Event:
        """The only event of that name."""
        (found,) = (event for event in self.events if event.name == name)
        return found


def is_off(rack: MemoryRack) -> bool:
    """Whether everything was brought to its end."""
    return (
        all(host.off for host in rack.hosts.values())
        and rack.storage.flushed
        and {CYCLE, MASTER_OFF} <= set(rack.did())
    )


def assert_off_in_order(rack: MemoryRack) -> None:
    """Workers, then the NAS, then the outlets, then the master."""
    assert is_off(rack)
    workers_off = max((rack.first(f"off {name}") for name in rack.hosts), default=0.0)
    order = [workers_off, rack.first("unmount"), rack.first("flush"), rack.first(CYCLE), rack.first(MASTER_OFF)]
    assert order == sorted(order)
