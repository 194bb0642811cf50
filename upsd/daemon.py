"""The only place where the parts are built and wired: one task group, named and guarded tasks, the clocks.

Whatever goes wrong outside is the business of the room that it goes wrong in. A defect in one task is logged and the
task begun again; only wrong settings (78) and a second daemon (69) end the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from upsd import adapters, shapes
from upsd import log as logs
from upsd.acts import battery_acts, calibration_acts, may_act, outage_inquiries, ups_acts, ups_asks
from upsd.battery_keeper import BatteryKeeper
from upsd.control import ControlError, ControlServer
from upsd.domain.rack import RackError
from upsd.drill_acts import drill_acts
from upsd.filing import Filing
from upsd.notify import Notifier, watchdog_interval_s
from upsd.plan_acts import plan_acts
from upsd.plan_document import plan_document
from upsd.publish.mqtt import PublishError
from upsd.rack.kubernetes import CORDON_MARK
from upsd.rack.ssh_line import HeldLines
from upsd.readiness import ReadinessKeeper
from upsd.settings import EXIT_CONFIG, SettingsError, load_settings
from upsd.settings_advice import advise
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.journal import FileJournal
from upsd.shutdown.learner import Learner
from upsd.shutdown.missing import complaints, look_for
from upsd.shutdown.phase import Phase
from upsd.shutdown.records import replay, replay_lost_at
from upsd.shutdown.steps import performers, rehearsers
from upsd.status import StatusBoard
from upsd.supervisor import Supervisor
from upsd.surfaces import Surfaces
from upsd.ups import profile as profiles
from upsd.ups.battery.watch import BatteryWatch
from upsd.ups.errors import UpsError
from upsd.ups.operations import UpsOperations
from upsd.ups.outlets import UpsOutlets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from upsd.publish.mqtt import MqttPublisher
    from upsd.rack.kubernetes import KubernetesCluster
    from upsd.settings import Settings
    from upsd.status import Json
    from upsd.ups.profile import DeviceProfile
    from upsd.ups.selection import Known

log = structlog.get_logger()

EXIT_UNAVAILABLE = 69
_TICK_S = 1.0
_LONGEST_TICK_S = 5.0
_A_MOMENT_S = 0.02
_LOOK_AGAIN_S = 10.0
_AFTER_DEFECT_S = 1.0
_STOP_S = 3.0
_LIBRARY_THREADS = 24
_LINGER_S = 60.0
_OUTAGES = "outages"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Daemon:
    """All parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._notifier = Notifier()
        self.board = StatusBoard(settings.ups.name)
        self._surfaces = Surfaces(self.board, self._notifier, _date)

        self._profile, self._profile_trouble = _load_profile(settings.state_directory)
        self._transport = adapters.ups_transport(settings.ups, self._profile)
        self._driver = adapters.ups_driver(
            settings.ups,
            self._transport,
            known=profiles.load_known(settings.state_directory),
            remember=self._remember,
            reports_load=lambda: bool((profile := self._fitting_profile()) and profile.reports_load),
        )
        self._operations = UpsOperations(
            self._driver,
            emit=self._surfaces.emit,
            why_not=self._why_no_command,
            expect_test=lambda until: self._supervisor.expect_test(until),  # noqa: PLW0108  # it is made later
        )
        self._cluster = adapters.cluster(settings)
        self._identity = adapters.ssh_identity(settings)
        self._learner = Learner(settings.state_directory, lambda: _date().partition("T")[0])
        self._learner.load()
        spare = settings.control.socket.parent / "journal-spare.jsonl"
        self._journal = FileJournal(settings.state_directory / "journal.jsonl", _date, spare)
        found = self._journal.take_up()
        lines = found.contents.lines
        hosts = adapters.ssh_hosts(settings, self._identity)
        self._lines = HeldLines({name: host.line for name, host in hosts.items()})
        rack = adapters.rack(
            settings,
            emit=self._surfaces.emit,
            outlets=UpsOutlets(self._operations, self._fitting_profile),
            cluster=self._cluster,
            hosts=hosts,
            battery=lambda: self._supervisor.battery_level(self._loop.time()),
            load=lambda: self._supervisor.output_load(),  # noqa: PLW0108  # it is made later
        )
        self._readiness = ReadinessKeeper(
            settings.state_directory,
            shapes.readiness_rules(settings),
            emit=self._surfaces.emit,
            changed=self._show,
            today=partial(datetime.now, UTC),
        )
        boot_id = _boot_id()
        self._filing = Filing(
            self._journal,
            found,
            settings.state_directory / _OUTAGES,
            ups=settings.ups.name,
            boot_id=boot_id,
            emit=self._surfaces.emit,
        )
        self._machines = rack.machines
        self._conductor = Conductor(
            shapes.rack_shape(settings),
            performers(rack),
            rehearsers(rack),
            journal=self._journal,
            emit=self._surfaces.emit,
            changed=self._surfaces.show_shutdown,
            battery_end_at=lambda: self._supervisor.battery_end_at(self._loop.time()),
            reserve_s=settings.battery.reserve,
            boot_id=boot_id,
            linger_s=settings.ups.outlet_off_delay + _LINGER_S,
            learner=self._learner,
            closed=rack.forget,
            name_outage=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:4]}",
            figures=lambda: self._supervisor.figures(self._loop.time()),
            settled=self._filing.begin,
            learn=self._readiness.learn,
        )
        self._conductor.recorder.problem = self._journal.why_not() or found.trouble
        self._unfinished = replay(lines)
        if self._unfinished:
            rack.recall(self._unfinished, boot_id)
        self._battery_keeper = BatteryKeeper(settings.state_directory, self._surfaces.emit)
        self._battery = BatteryWatch(
            self._battery_keeper.load(),
            now=self._loop.time(),
            today=_date,
            keep=self._battery_keeper.keep,
            emit=self._surfaces.emit,
            installed=settings.battery.installed,
        )
        self._supervisor = Supervisor(
            shapes.supervisor_rules(settings),
            self._conductor,
            facts=lambda identity: shapes.battery_facts(settings, identity, self._fitting_profile()),
            battery=self._battery,
            emit=self._surfaces.emit,
            unfinished=self._unfinished,
            lost_at=replay_lost_at(lines, boot_id),
            boot_id=boot_id,
            now=self._loop.time(),
            armed=lambda: self._readiness.armed,
        )
        fingerprints = shapes.step_fingerprints(settings, self._conductor.plan)
        self._readiness.follow(self._supervisor, self._conductor, fingerprints)
        self._surfaces.follow(self._supervisor, self._conductor)
        self._publisher, self._publisher_trouble = self._make_publisher()
        self._advice = advise(settings)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            ControlError: the control socket can't be had.
        """
        settings = self._settings
        control = ControlServer(
            self.board,
            settings.control.socket,
            extra={"plan": self._plan, **ups_asks(self._operations)},
            acts={
                **ups_acts(self._operations),
                **battery_acts(self._battery.replaced),
                **calibration_acts(self._operations, lambda: self._supervisor.would_start_in_s(self._loop.time())),
                **plan_acts(self._supervisor, self._conductor, self._surfaces.emit),
                **drill_acts(self._supervisor, self._conductor),
                **self._readiness.acts(),
            },
            inquiries=outage_inquiries(settings.state_directory / _OUTAGES),
            may_act=partial(may_act, group=settings.control.operators),
            refresh=self._refresh,
        )
        async with control, asyncio.TaskGroup() as group:
            tasks: dict[str, Callable[[], Awaitable[None]]] = {"readings": self._read, "ticks": self._tick}
            tasks["rehearsals"] = self._readiness.keep_rehearsing
            tasks["missing"] = partial(look_for, self._conductor.missing, self._machines, self._surfaces.emit)
            if self._publisher:
                tasks["mqtt"] = self._publisher.run
            tasks["journal"] = partial(self._filing.take_up, self._conductor.recorder)
            if self._cluster and not self._unfinished:
                tasks["leftovers"] = partial(self._look_for_leftovers, self._cluster)
            running = {name: group.create_task(_guarded(name, work), name=name) for name, work in tasks.items()}
            self._notifier.ready()
            log.info("daemon_started", ups=settings.ups.name, machines=len(settings.machines))
            await stop.wait()
            self._notifier.stopping()
            log.info("daemon_stopping", phase=self._conductor.phase.value)
            # Nothing that is still heard may begin anything; the publisher goes last, to tell how it ended.
            publishing = running.pop("mqtt", None)
            for task in running.values():
                task.cancel()
            await asyncio.wait(running.values(), timeout=_STOP_S)
            await self._conductor.close()
            if publishing:
                publishing.cancel()
            self._lines.follow(outage=False, off=())
            with contextlib.suppress(UpsError):
                await self._driver.close()
        self._battery_keeper.close()
        self._transport.shutdown()
        self._journal.close()
        self._notifier.close()

    async def _read(self) -> None:
        async for reading in self._driver.readings():
            test = self._operations.last_test
            self._supervisor.test_result = test.outcome.value if test else None
            self._supervisor.identity = self._driver.identity
            self._supervisor.hear(reading)
            self._hold_lines()
            self._surfaces.show_state()

    async def _tick(self) -> None:
        watchdog_s = watchdog_interval_s(os.environ)
        fed_at = self._loop.time()
        while True:
            # While readings come, they carry everything; a tick is due only when they have stayed away.
            silent_in_s = self._supervisor.view.heard_at + self._settings.power.silence - self._loop.time()
            await asyncio.sleep(min(silent_in_s + _A_MOMENT_S, _LONGEST_TICK_S) if silent_in_s > 0 else _TICK_S)
            now = self._loop.time()
            self._look()
            self._supervisor.tick(now, trouble=self._driver.trouble)
            self._hold_lines()
            if self._supervisor.view.silent:
                self._surfaces.show_state()
            # Fed from the loop that everything runs in: if that hangs, systemd starts us again.
            if watchdog_s is not None and now - fed_at >= watchdog_s:
                self._notifier.watchdog()
                fed_at = now

    def _hold_lines(self) -> None:
        view = self._supervisor.view
        self._lines.follow(outage=view.lost_at is not None and view.confirmed, off=self._conductor.confirmed_off)

    def _look(self) -> None:
        """See what a person should mend, and whether we are ready."""
        self._supervisor.warnings = self._warnings()
        self._supervisor.readiness = self._readiness.look(self._troubles())

    def _refresh(self) -> None:
        self._supervisor.readiness = self._readiness.look(self._troubles())
        self._surfaces.refresh()

    def _show(self) -> None:
        self._look()
        self._surfaces.show_state()

    async def _look_for_leftovers(self, cluster: KubernetesCluster) -> None:
        """Find nodes that carry our mark though the journal knows of no outage, and bring them back."""
        while True:
            if self._supervisor.view.on_mains:
                try:
                    marks = [
                        node.annotations[CORDON_MARK]
                        for node in await cluster.nodes()
                        if CORDON_MARK in node.annotations
                    ]
                except RackError as error:
                    log.debug("leftovers_unknown", reason=str(error))
                else:
                    if marks and self._conductor.phase in {Phase.IDLE, Phase.REHEARSING}:
                        self._conductor.recover(marks[0])
                    return
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _fitting_profile(self) -> DeviceProfile | None:
        """What a bench test has measured, if it was on a unit like the one that answers."""
        profile, identity = self._profile, self._driver.identity
        return profile if profile and identity and profile.fits(identity) else None

    def _remember(self, known: Known) -> None:
        # In a thread: a dying disk may hang, and to forget this costs little.
        saving = self._loop.run_in_executor(None, profiles.save, self._settings.state_directory, known)
        saving.add_done_callback(_report_saving)

    def _why_no_command(self) -> str | None:
        phase = self._conductor.phase
        return None if phase is Phase.IDLE else f"the daemon's own plan is under way ({phase.value})"

    def _make_publisher(self) -> tuple[MqttPublisher | None, str | None]:
        try:
            return adapters.publisher(self._settings, self.board), None
        except PublishError as error:
            # The rack is looked after also when nobody can be told.
            log.critical("broker_not_configured", reason=str(error))
            return None, str(error)

    def _troubles(self) -> tuple[str, ...]:
        """What would hinder a shutdown now."""
        found = [
            self._driver.trouble,
            self._conductor.recorder.problem,
            self._learner.trouble,
            *self._battery_keeper.troubles(),
            self._filing.trouble,
            *(self._identity.warnings() if self._identity else ()),
            *(self._cluster.warnings(datetime.now(UTC)) if self._cluster else ()),
        ]
        return tuple(trouble for trouble in found if trouble)

    def _warnings(self) -> tuple[str, ...]:
        found = [
            *self._readiness.warnings(),
            *self._troubles(),
            self._profile_trouble or self._profile_misfit(),
            self._publisher_trouble or (self._publisher and self._publisher.trouble),
            *self._surfaces.complaints(),
            *complaints(self._conductor.missing, self._machines),
            *self._advice,
        ]
        return tuple(trouble for trouble in found if trouble)

    def _profile_misfit(self) -> str | None:
        if self._profile is None or self._driver.identity is None or self._fitting_profile():
            return None
        return f"the bench test was of a {self._profile.model}, not of this UPS; repeat it: upsctl ups bench"

    async def _plan(self) -> Json:
        settings, supervisor = self._settings, self._supervisor
        return plan_document(
            self._conductor.plan,
            supervisor.runtime(self._loop.time()) if supervisor.view.reading else None,
            reserve_s=settings.battery.reserve,
            margin_s=settings.shutdown.margin,
            recovery=self._conductor.recovery,
            shedding=shapes.supervisor_rules(settings).shedding,
            wakes=[worker.name for worker in self._conductor.shape.workers if worker.wakes],
        )


async def _guarded(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do endless work; a defect in it is logged, and it begins again."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("task_defect", task=name)
            await asyncio.sleep(_AFTER_DEFECT_S)


def _load_profile(directory: Path) -> tuple[DeviceProfile | None, str | None]:
    try:
        return profiles.load_profile(directory), None
    except UpsError as error:
        log.warning("ups_profile_unusable", reason=str(error))
        return None, str(error)


def _report_saving(saving: asyncio.Future[None]) -> None:
    if not saving.cancelled() and (error := saving.exception()):
        log.warning("ups_not_remembered", reason=f"{error}; see that state_directory is there and the daemon's own")


def _date() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex  # no other boot is this one


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Name look-ups and connections of the libraries run here; a dead name server must not leave the others without.
    loop.set_default_executor(ThreadPoolExecutor(_LIBRARY_THREADS, "library"))
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await Daemon(settings).run(stop)


def main() -> None:
    """Run the daemon until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m upsd", description="The power daemon; upsctl shows what it does.")
    default = os.environ.get("UPSD_CONFIG", "/etc/upsd/upsd.toml")
    parser.add_argument("--config", type=Path, default=Path(default), help="the settings file (default: %(default)s)")
    try:
        settings = load_settings(parser.parse_args().config, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # there is no log yet
        sys.exit(EXIT_CONFIG)
    logs.configure(settings.log.level, settings.log.format)
    for advice in advise(settings):
        log.warning("settings_unwise", advice=advice)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(settings))
    except ControlError as error:
        log.critical("start_failed", reason=str(error))
        sys.exit(EXIT_UNAVAILABLE)
