"""One run of the daemon: the real decisions, plans and journal, wired as `upsd/daemon.py` does, killed at any moment.

What a killed process still had under way reaches nobody: every way from it to the world leads through a `Tether`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from hardware_sim.iplug_reading import iplug_reading
from hardware_sim.outages.scenario import NAS
from upsd.power import PowerRules
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.journal import FileJournal
from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, RecoveryShape, StorageShape
from upsd.shutdown.records import replay, replay_lost_at
from upsd.shutdown.steps import DrainRules, Rack, RemoteMachine, performers
from upsd.shutdown.trigger import TriggerRules
from upsd.supervisor import Supervisor, SupervisorRules
from upsd.ups import battery_file
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.watch import BatteryWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hardware_sim.outages.scenario import MachineSpec, Scenario
    from hardware_sim.outages.world import World
    from upsd.domain.power import Event, Reading

DEBOUNCE_S = 3.0
OFF_DELAY_S = 90
RESTORE_MIN = 1
DELETE_GRACE_S = 5
_SILENCE_POLLS = 4.0
_QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What the daemon believed when a shutdown or its last step began.

    `battery_end_at` is until when the battery may be used (loop time), and `fell_s` by how much that has ever fallen.
    """

    at: float
    battery_end_at: float
    fell_s: float


class Tether:
    """Stands between a process and a part of the world: counts what is called on it, and is cut by the kill."""

    def __init__(self, process: Process, part: Any) -> None:
        self._process = process
        self._part = part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def asked(*arguments: Any) -> Any:
            await self._process.asks()
            answer = await found(*arguments)
            await self._process.asks()
            return answer

        setattr(self, name, asked)
        return asked


class Process:
    """The daemon from its start to its end.

    Args:
        world: what it looks after.
        directory: its state directory.
        boot_id: of the master's present boot.
        wall_clock: the date.
        killed: is called when it has asked the world as often as `dies_after` says.
    """

    def __init__(
        self, world: World, directory: Path, *, boot_id: str, wall_clock: Callable[[], str], dies_after: int | None
    ) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._asks_left = dies_after
        self._alive = True
        self.promises: dict[str, Promise] = {}
        """By what began: `shutdown`, or `last step`; the latest of this process."""
        self._latest_end = 0.0
        self.fell_s = 0.0
        """By how much the estimate of the battery's end fell since the last shutdown began."""
        scenario = world.scenario
        self._journal = FileJournal(directory / "journal.jsonl", wall_clock)
        trigger = TriggerRules(
            auto=True, margin_s=scenario.margin_s, reserve_s=scenario.reserve_s, on_battery_s=scenario.on_battery_s
        )
        self.started_at = self._loop.time()
        self.killed = asyncio.Event()
        self._buried = asyncio.Event()
        lines = self._journal.take_up().contents.lines
        unfinished = replay(lines)
        self._date = lambda: datetime.fromisoformat(wall_clock())
        rack = self._rack()
        if unfinished:
            rack.recall(unfinished, boot_id)
        self.conductor = Conductor(
            rack_shape(scenario),
            performers(rack),
            {},  # nobody rehearses in an outage
            journal=Tether(self, self._journal),
            emit=self._emit,
            changed=lambda: None,
            battery_end_at=lambda: self.supervisor.battery_end_at(self._loop.time()),
            reserve_s=scenario.reserve_s,
            boot_id=boot_id,
            linger_s=lambda: OFF_DELAY_S + 60.0,
            closed=rack.forget,
            name_outage=lambda: f"outage-{self._loop.time():.0f}",
        )
        self.supervisor = Supervisor(
            SupervisorRules(
                ups="iplug",
                power=PowerRules(debounce_s=DEBOUNCE_S, silence_s=_SILENCE_POLLS * scenario.poll_s),
                trigger=trigger,
                watts={spec.name: spec.watts for spec in scenario.machines} | {"others": scenario.other_watts},
            ),
            self.conductor,
            facts=lambda _: BatteryFacts(
                voltage_v=scenario.battery.voltage_v,
                capacity_ah=scenario.told_ah,
                health=scenario.told_health,
                inverter_efficiency=scenario.told_efficiency,
                inverter_idle_w=scenario.told_idle_w,
            ),
            battery=BatteryWatch(
                battery_file.load(directory),
                now=self.started_at,
                today=wall_clock,
                keep=partial(battery_file.save, directory),
                emit=self._emit,
            ),
            emit=self._emit,
            unfinished=unfinished,
            lost_at=replay_lost_at(lines, boot_id),
            boot_id=boot_id,
            now=self.started_at,
        )

    async def asks(self) -> None:
        """Pass, and be killed when it is time; a killed process gets no further."""
        if self._asks_left is not None:
            self._asks_left -= 1
            if self._asks_left <= 0:
                self.killed.set()
        if self.killed.is_set():
            await self._buried.wait()
            raise asyncio.CancelledError

    async def follow(self) -> None:
        """Poll, until cancelled."""
        while True:
            now = self._loop.time()
            reading = reading_of(self._world, now)
            if reading is not None:
                self.supervisor.hear(reading)
            self.supervisor.tick(now)
            if not self.conductor.may_start:
                self._estimate()
            quiet = reading is not None and not reading.on_battery and self.supervisor.view.on_mains
            if quiet:
                await self._world.rest(_QUIET_S)
            await asyncio.sleep(self._world.scenario.poll_s)

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        self._alive = False
        self.killed.set()
        self._buried.set()
        await self.conductor.close()
        self._journal.close()

    def _emit(self, event: Event) -> None:
        if self._alive:
            self._world.did(f"event {event.name} {dict(event.fields)}")
            if event.name in {"shutdown_started", "shutdown_resumed"}:
                self._promise("shutdown")
            elif event.name == "step_started" and str(event.fields["step"]).startswith("host-poweroff"):
                self._promise("last step")

    def _promise(self, what: str) -> None:
        if what == "shutdown":
            self._latest_end = self.fell_s = 0.0
        self.promises[what] = Promise(self._loop.time(), self._estimate(), self.fell_s)

    def _estimate(self) -> float:
        """Until when the battery may be used; remembers by how much that falls."""
        end_at = self.supervisor.battery_end_at(self._loop.time())
        self._latest_end = max(self._latest_end, end_at)
        self.fell_s = max(self.fell_s, self._latest_end - end_at)
        return end_at

    def _rack(self) -> Rack:
        world = self._world
        hosts = [spec.name for spec in world.scenario.workers]
        hosts += [NAS] if world.scenario.nas_goes_off else []
        return Rack(
            emit=self._emit,
            outlets=Tether(self, world),
            outlet_off_delay_s=OFF_DELAY_S,
            outlet_restore_delay_min=RESTORE_MIN,
            local_host=Tether(self, world.master),
            machines={name: RemoteMachine(Tether(self, world.machines[name]), "poweroff") for name in hosts},
            cluster=Tether(self, world.cluster),
            drain=DrainRules(DELETE_GRACE_S),
            storage=Tether(self, world.storage),
            datastore=Tether(self, world.datastore) if world.datastore else None,
            date=self._date,
            battery=lambda: self.supervisor.battery_level(self._loop.time()),
        )


def rack_shape(scenario: Scenario) -> RackShape:
    """What the settings say of the rack."""
    kept = scenario.kept.datastore
    return RackShape(
        master=_host(scenario.master, 3.0),
        workers=tuple(_host(worker, 3.0) for worker in scenario.workers),
        cluster=ClusterShape(2.0, scenario.told_drain_s, scenario.drain_limit_s, DELETE_GRACE_S, 600.0),
        storage=StorageShape(NAS, 5.0, 30.0, _host(scenario.nas, 3.0) if scenario.nas_goes_off else None),
        outlet_off_delay_s=OFF_DELAY_S,
        recovery=RecoveryShape(battery_limit_s=scenario.battery_limit_s),
        datastore=DatastoreShape(kept.told_s, kept.limit_s, kept.stops) if kept else None,
    )


def reading_of(world: World, now: float) -> Reading | None:
    """What an iPlug reports, which is no charge, no runtime and no load; `None` when it says nothing."""
    lie = False
    for silence in world.scenario.silences:
        if silence.lie:
            lie = lie or silence.at <= now < silence.at + world.scenario.poll_s
        elif silence.at <= now < silence.at + silence.for_s:
            return None
    reading = iplug_reading(world.device, now)
    return replace(reading, on_battery=not reading.on_battery) if lie else reading


def _host(spec: MachineSpec, times: float) -> HostShape:
    return HostShape(spec.name, spec.told_poweroff_s, times * spec.told_poweroff_s)
