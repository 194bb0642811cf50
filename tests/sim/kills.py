"""A daemon that is killed at a record of its journal, as `kill -9` does it, and started again on what it left.

Its journal is a real file, its decisions are the supervisor's. From the instant of its death nothing of it reaches the
journal or a machine any more, whatever its tasks still try on their way out.
"""

from __future__ import annotations

import asyncio
import enum
import json
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from hardware_sim.memory_rack import MASTER, MemoryHost, memory_rack
from upsd.domain.power import Reading
from upsd.files import lines_of
from upsd.power import PowerRules
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.journal import FileJournal
from upsd.shutdown.outages import file_outage
from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, StorageShape
from upsd.shutdown.records import gather, is_over, records_in, replay, replay_lost_at
from upsd.shutdown.steps import Rack, RemoteMachine, performers
from upsd.shutdown.trigger import TriggerRules
from upsd.supervisor import Supervisor, SupervisorRules
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.history import BatteryHistory
from upsd.ups.battery.watch import BatteryWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hardware_sim.memory_rack import MemoryRack
    from upsd.domain.power import Event, Scalar

WORKERS = ("pi4-a", "pi4-b", "pi3", "bananapi")
NAS = "nas"
MEDIA = "/mnt/media"
"""Where the NAS is mounted besides."""
SHAPE = RackShape(
    master=HostShape(MASTER, 20, 60),
    workers=tuple(HostShape(name, 10, 60) for name in WORKERS),
    cluster=ClusterShape(cordon_s=2, drain_s=10, drain_limit_s=60, delete_grace_s=5, ready_limit_s=300),
    storage=StorageShape(NAS, flush_s=2, limit_s=30, host=HostShape(NAS, 15, 60)),
    outlet_off_delay_s=120,
    datastore=DatastoreShape(snapshot_s=3, limit_s=30, stops=True),
)
_BEGAN = datetime(2025, 11, 23, 18, tzinfo=UTC)
_PATIENCE_S = 3600.0


class Kill(enum.Enum):
    """How far the record that the daemon dies at has come."""

    NOT_WRITTEN = "not-written"
    TORN = "torn"
    WRITTEN = "written"


def _reference_rack() -> MemoryRack:
    """The rack of `config/upsd.toml`: master, four workers and a NAS that is powered off too, and mounted twice."""
    rack = memory_rack(WORKERS)
    rack.hosts[NAS] = MemoryHost(NAS, rack.acts)
    rack.storage.others = {MEDIA}
    return rack


@dataclass
class Scene:
    """What outlives the daemon: the rack, the state directory, the mains, and which boot of the master it is.

    `mains_after` says whether there is mains, so many seconds after the scene began.
    """

    directory: Path
    mains_after: Callable[[float], bool]
    began_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    rack: MemoryRack = field(default_factory=_reference_rack)
    boot_id: str = "boot-1"
    calls: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        return self.directory / "journal.jsonl"

    def mains(self, *, ago_s: float = 0.0) -> bool:
        """Whether there is mains, or was."""
        return self.mains_after(asyncio.get_running_loop().time() - self.began_at - ago_s)

    def records(self) -> list[Mapping[str, Scalar]]:
        """The intact records, filed or not."""
        filed = [line for path in sorted(self.directory.glob("outages/*.jsonl")) for line in lines_of(path)]
        return records_in(gather([*filed, *lines_of(self.journal_path)]).lines)

    def reports(self) -> list[dict[str, Any]]:
        """The reports of the outages that are over."""
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("outages/*.json"))]

    def boot(self) -> None:
        """Start every machine, as after the outlets were cycled."""
        self.boot_id = "boot-2"
        self.rack.cluster.dead.clear()
        nodes = self.rack.cluster.node_by_name
        nodes |= {name: replace(node, ready=True) for name, node in nodes.items()}
        self.rack.datastore.running = True
        for host in self.rack.hosts.values():
            host.off_at = math.inf


class _Life:
    """One run of the daemon: whether it lives, and what it is killed at."""

    def __init__(self, kill: Kill | None, at_record: Callable[[Mapping[str, Scalar]], bool]) -> None:
        self._kill = kill
        self._at_record = at_record
        self.over = asyncio.Event()

    async def go_on(self) -> None:
        """Return if it lives; the dead do not return."""
        while self.over.is_set():
            await asyncio.Event().wait()

    def kill_at(self, record: Mapping[str, Scalar]) -> Kill | None:
        """How it is killed at this record, if it is."""
        return self._kill if self._kill and self._at_record(record) else None


class _Mortal:
    """A machine of the rack as one run of the daemon reaches it."""

    def __init__(self, machine: Any, name: str, life: _Life, calls: list[tuple[str, str]]) -> None:
        self._machine, self._name, self._life, self._calls = machine, name, life, calls

    def __getattr__(self, operation: str) -> Any:
        async def call(*arguments: Any) -> Any:
            await self._life.go_on()
            self._calls.append((self._name, operation))
            return await getattr(self._machine, operation)(*arguments)

        return call


class _MortalJournal:
    def __init__(self, journal: FileJournal, path: Path, life: _Life) -> None:
        self._journal, self._path, self._life = journal, path, life

    async def append(self, record: Mapping[str, Scalar]) -> None:
        await self._life.go_on()
        kill = self._life.kill_at(record)
        if kill is Kill.TORN:
            text = "\n" + json.dumps({"n": 99, "at": "2025-11-23T18:00:00.000Z", **record})
            with self._path.open("a") as file:
                file.write(text[: len(text) // 2])
        elif kill is not Kill.NOT_WRITTEN:
            await self._journal.append(record)
        if kill:
            self._life.over.set()
        await self._life.go_on()


async def live(
    scene: Scene,
    until: Callable[[Conductor], bool],
    *,
    kill: Kill | None = None,
    at_record: Callable[[Mapping[str, Scalar]], bool] = lambda _: False,
) -> bool:
    """One run of the daemon, until something is so (and a moment longer) or it is killed; whether it was killed."""
    others = asyncio.all_tasks()
    life = _Life(kill, at_record)
    journal = FileJournal(scene.journal_path, _date, scene.directory / "journal-spare.jsonl")
    following = asyncio.create_task(_follow(scene, journal, life, until))
    dying = asyncio.create_task(life.over.wait())
    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.wait({following, dying}, return_when=asyncio.FIRST_COMPLETED)
    killed = life.over.is_set()
    life.over.set()
    mine = asyncio.all_tasks() - others
    for task in mine:
        task.cancel()
    results = await asyncio.gather(*mine, return_exceptions=True)
    journal.close()
    errors = [result for result in results if isinstance(result, Exception)]
    if errors:
        raise errors[0]
    if not killed:
        following.result()
    return killed


async def _follow(scene: Scene, journal: FileJournal, life: _Life, until: Callable[[Conductor], bool]) -> None:
    """What the daemon does: take the journal up, read the UPS once a second, and file what is over."""
    loop = asyncio.get_running_loop()
    lines = journal.take_up().contents.lines
    rack, unfinished = _rack(scene, life), replay(lines)
    if unfinished:
        rack.recall(unfinished, scene.boot_id)
    file = partial(file_outage, scene.directory / "outages", ups="iplug", boot_id=scene.boot_id)
    conductor = Conductor(
        SHAPE,
        performers(rack),
        {},
        journal=_MortalJournal(journal, scene.journal_path, life),
        emit=scene.events.append,
        changed=lambda: None,
        battery_end_at=lambda: supervisor.battery_end_at(loop.time()),
        reserve_s=60.0,
        boot_id=scene.boot_id,
        name_outage=lambda: f"{_BEGAN + timedelta(seconds=loop.time()):%Y%m%dT%H%M%SZ}-0000",
        linger_s=600.0,
        closed=rack.forget,
        figures=lambda: supervisor.figures(loop.time()),
        settled=lambda: filing.append(asyncio.create_task(journal.hand_over(file))),
    )
    filing: list[asyncio.Task[str | None]] = []
    supervisor = Supervisor(
        SupervisorRules(
            ups="iplug",
            power=PowerRules(debounce_s=3.0, silence_s=4.0),
            trigger=TriggerRules(auto=False, margin_s=60.0, reserve_s=60.0, on_battery_s=5.0),
            watts={MASTER: 25.0, NAS: 18.0, **dict.fromkeys(WORKERS, 7.0)},
        ),
        conductor,
        facts=lambda _: BatteryFacts(12.0, 24.0, 1.0, 0.8, 10.0),
        battery=BatteryWatch(
            BatteryHistory(), now=loop.time(), today=_date, keep=lambda _: None, emit=scene.events.append
        ),
        emit=scene.events.append,
        unfinished=unfinished,
        lost_at=replay_lost_at(lines, scene.boot_id),
        boot_id=scene.boot_id,
        now=loop.time(),
    )
    if lines and is_over(lines, scene.boot_id):
        await journal.hand_over(file)
    elif lines:
        conductor.recorder.note({"record": "started"})
    while not until(conductor):
        supervisor.hear(_reading(scene, loop.time()))
        supervisor.tick(loop.time())
        await asyncio.sleep(1.0)
    await asyncio.gather(*filing)


def _rack(scene: Scene, life: _Life) -> Rack:
    def reached(machine: object, name: str) -> Any:
        return _Mortal(machine, name, life, scene.calls)

    rack = scene.rack
    return Rack(
        emit=scene.events.append,
        outlets=reached(rack.outlets, "ups"),
        outlet_off_delay_s=120,
        outlet_restore_delay_min=1,
        local_host=reached(rack.local_host, MASTER),
        machines={name: RemoteMachine(reached(host, name), "poweroff") for name, host in rack.hosts.items()},
        cluster=reached(rack.cluster, "cluster"),
        storage=reached(rack.storage, "storage"),
        datastore=reached(rack.datastore, "datastore"),
    )


def _reading(scene: Scene, now: float) -> Reading:
    mains = scene.mains()
    return Reading(
        at=now,
        output_powered=True,
        on_battery=not mains,
        battery_low=False,
        charged=mains,
        input_voltage_v=230 if mains else 0,
        battery_voltage_v=13.6 if mains else 12.3,
    )


def _date() -> str:
    now = _BEGAN + timedelta(seconds=asyncio.get_running_loop().time()) if _loop_runs() else _BEGAN
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
