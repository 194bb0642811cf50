"""One whole outage in virtual time, from its scenario to what is left when everything is quiet again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from hardware_sim.outages.disk import Disk
from hardware_sim.outages.machine import Machine, MachineState
from hardware_sim.outages.process import Process, Promise
from hardware_sim.outages.scenario import draw
from hardware_sim.outages.world import World, ours
from hardware_sim.virtual_time import VirtualTimeLoop
from upsd import files
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from structlog.typing import EventDict

    from hardware_sim.outages.scenario import Crash, Scenario
    from upsd.domain.rack import Pod

_LOOK_S = 60.0
_QUIET_LOOKS = 2
_SETTLES_WITHIN_S = 6 * 3600.0
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_SERVICE_STARTS_S = 10.0
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of ours is made in it


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a daemon ran, whether it ended because it had powered its machine off, and what it promised.

    `fell_s` is by how much its estimate of the battery's end fell in its last shutdown.
    """

    start: float
    end: float
    powered_off: bool
    promises: Mapping[str, Promise]
    fell_s: float


@dataclass
class Run:
    """A scenario on its way.

    Attributes:
        unexplained: acts before which the journal did not durably say that their step began.
        defects: what the daemon logged as a defect of its own.
        lives: the runs of the daemon.
        quiet: whether in the end everything was as it should be.
        pods_after: how many pods of each controller were Ready in the end.
        ending: the pods that had been told to go, and were still there in the end.
        phase: of the daemon in the end; `None` if none ran.
    """

    scenario: Scenario
    directory: Path
    unexplained: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    process: Process | None = None
    boots: int = 1
    ended_at: float = 0.0
    quiet: bool = False
    phase: str | None = None
    pods_after: Mapping[str, int] = field(default_factory=dict)
    ending: tuple[Pod, ...] = ()

    def __post_init__(self) -> None:
        """Put the world together."""
        self._loop = asyncio.get_running_loop()
        self.world = World(self.scenario)
        self.world.cluster.date = lambda: self.date_at(self._loop.time())
        self.disk = Disk(self.directory)
        self.world.on_machine.append(self._machine_did)
        self.world.before_act = self._explain
        self._crashes = [crash for crash in self.scenario.crashes if crash.asked is not None]
        self._tasks: set[asyncio.Task[None]] = set()
        self._life: asyncio.Task[None] | None = None

    async def play(self) -> None:
        """Let it happen."""
        with self.disk.mounted(files):
            self._go(self.world.live())
            for when, what in self._script():
                self._go(self._at(when, what))
            self._start_daemon(0.0)
            await self._until_quiet()
            self.ended_at, self.quiet = self._loop.time(), self.settled
            self.pods_after = self.world.cluster.ready_pods()
            self.ending = tuple(pod for pod in self.world.cluster.on(None) if pod.ends_by is not None)
            self.phase = self.process.conductor.phase.value if self.process else None
            if self._life:
                self._life.cancel()
                await asyncio.wait({self._life})
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def settled(self) -> bool:
        """Whether everything is as it should be with mains for long."""
        world, process = self.world, self.process
        return (
            world.device.mains_usable
            and process is not None
            and process.conductor.phase is Phase.IDLE
            and not ours(world.cluster)
            and all(machine.state is MachineState.ON for machine in world.machines.values())
            and world.storage.mounted
        )

    async def _until_quiet(self) -> None:
        await asyncio.sleep(self.scenario.last_event_s)
        looks, end = 0, self._loop.time() + _SETTLES_WITHIN_S
        while looks < _QUIET_LOOKS and self._loop.time() < end:
            await asyncio.sleep(_LOOK_S)
            looks = looks + 1 if self.settled else 0

    def _script(self) -> list[tuple[float, Any]]:
        scenario, world = self.scenario, self.world
        script: list[tuple[float, Any]] = [(s.at, lambda s=s: self._set_input(s.volts)) for s in scenario.supply]
        for fault in (*scenario.faults, *scenario.kept.faults):
            switch = getattr(world.faults_of(fault.part), fault.kind)
            more = (8.0,) if fault.kind == "slow" else ()
            script.append(
                (fault.at, lambda switch=switch, more=more, f=fault: switch(f.operation, *more, for_s=f.for_s))
            )
        script += [(at, world.machines[name].die) for at, name in scenario.deaths]
        script += [(crash.at, lambda c=crash: self._crash(c)) for crash in scenario.crashes if crash.at is not None]
        if scenario.test_at is not None:
            script.append((scenario.test_at, self._test_battery))
        return script

    async def _at(self, when: float, what: Any) -> None:
        await asyncio.sleep(max(0.0, when))
        what()

    def _set_input(self, volts: float) -> None:
        self.world.device.advance(self._loop.time())
        self.world.device.set_input(volts, 50.0 if volts else 0.0)
        self.world.did(f"mains {volts:.0f} V")
        self.world.stir()

    def _test_battery(self) -> None:
        self.world.device.advance(self._loop.time())
        self.world.device.test_battery()
        self.world.stir()

    def _crash(self, crash: Crash) -> None:
        if self._life and self.process:
            self._life.cancel()
            self.world.did("daemon killed")
            self._start_daemon(crash.restart_s)

    def _start_daemon(self, delay_s: float) -> None:
        previous, self._life = self._life, None
        self._life = asyncio.create_task(self._live_on(delay_s, previous))

    async def _live_on(self, delay_s: float, previous: asyncio.Task[None] | None) -> None:
        if previous:
            previous.cancel()
            await asyncio.wait({previous})
        await asyncio.sleep(delay_s)
        while True:
            crash = self._crashes.pop(0) if self._crashes else None
            try:
                await self._run_process(crash)
            except Exception as error:
                self.defects.append(f"the daemon died of {error!r}")
                raise
            self.world.did("daemon killed")
            await asyncio.sleep(crash.restart_s if crash else 1.0)

    async def _run_process(self, crash: Crash | None) -> None:
        """One run, until it is killed by its own count, or cancelled."""
        self.process = process = Process(
            self.world,
            self.directory,
            boot_id=f"boot-{self.boots}",
            wall_clock=self._date,
            dies_after=crash.asked if crash else None,
        )
        self.world.did("daemon starts")
        following = asyncio.create_task(process.follow())
        counting = asyncio.create_task(process.killed.wait())
        try:
            await asyncio.wait({following, counting}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        finally:
            self.process = None
            powered_off = self.world.master.state is MachineState.STOPPING
            self.lives.append(
                Life(process.started_at, self._loop.time(), powered_off, process.promises, process.fell_s)
            )
            following.cancel()
            counting.cancel()
            await process.kill()

    def _machine_did(self, machine: Machine, what: str) -> None:
        world = self.world
        if what == MachineState.BOOTING.value and machine is world.nas:
            world.storage.closed = False
        if what == MachineState.ON.value and machine is world.nas:
            world.storage.flushed = True  # it remembers nothing that is not on its disks
        if what == MachineState.ON.value and machine in {world.master, world.nas} and world.storage.mount_due:
            self._mount_at_boot()
        if machine is not world.master:
            return
        if what == MachineState.ON.value:
            self.boots += 1
            if world.datastore:
                world.datastore.booted()
            self._start_daemon(_SERVICE_STARTS_S)
        elif what in {MachineState.STOPPING.value, "cut"}:
            if what == "cut":
                self.disk.lose_power()
            world.storage.mounted, world.storage.mount_due = False, True
            if self._life:
                self._life.cancel()

    def _mount_at_boot(self) -> None:
        """What the mount unit of the master does when both are there, once for each boot."""
        if self.world.master.answers and self.world.nas.answers:
            self.world.storage.mounted_at_boot()

    def _explain(self, kind: str, target: str) -> None:
        """Look whether the journal says, and will after a power cut, what is about to be done."""
        text = self.disk.durable_text("journal.jsonl")
        names = {kind, f"{kind} {target}"}
        if kind == "poweroff":
            names |= {f"confirm-off {target}", "last-look"}
        if not any(f'"step": "{name}", "state": "running"' in text for name in names):
            self.unexplained.append(f"{kind} {target}")

    def date_at(self, moment: float) -> datetime:
        """What the clocks showed then, all the same."""
        steps = sum(by_s for at, by_s in self.scenario.clock_steps if at <= moment)
        return _EPOCH + timedelta(seconds=moment + steps)

    def _date(self) -> str:
        return self.date_at(self._loop.time()).isoformat()

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))


class _OneThreadLoop(VirtualTimeLoop):
    """Does at once what would be done by a thread: time stands still meanwhile anyway."""

    def run_in_executor(  # type: ignore[override]  # as in the loop above it
        self,
        executor: Any,  # noqa: ARG002
        func: Any,
        *args: Any,
    ) -> asyncio.Future[Any]:
        """Whatever comes of it is there when this returns."""
        job = self.create_future()
        try:
            job.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does
            job.set_exception(error)
        return job


def play(seed: int) -> Run:
    """The outage of a seed, played to its end."""
    with (
        tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as directory,
        contextlib.closing(asyncio.Runner(loop_factory=_OneThreadLoop)) as runner,
    ):

        async def whole() -> Run:
            run = Run(draw(seed), Path(directory))
            structlog.configure(processors=[partial(_notice, run.defects)], cache_logger_on_first_use=False)
            await run.play()
            return run

        try:
            return runner.run(whole())
        finally:
            structlog.reset_defaults()


def _notice(defects: list[str], _logger: object, _method: str, event: EventDict) -> EventDict:
    if str(event["event"]).endswith("_defect"):
        _, error, _ = sys.exc_info()
        defects.append(f"{event['event']} {error!r}")
    raise structlog.DropEvent
