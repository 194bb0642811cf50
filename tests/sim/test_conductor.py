"""One plan at a time: started, called off, taken up again after a kill, and closed when all is back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from upsd.domain.plan import StepState
from upsd.domain.power import Severity
from upsd.shutdown.conductor import Conductor, Phase
from upsd.shutdown.journal import JournalError, Unfinished, replay
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, StorageShape
from upsd.shutdown.steps import Rack, RemoteMachine, performers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Event, Scalar

CYCLE = "cycle 120s 1min"
MASTER_OFF = f"poweroff {MASTER}"
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
        workers=tuple(HostShape(name, 10, 60) for name in rack.hosts),
        cluster=ClusterShape(cordon_s=2, drain_s=10, drain_limit_s=60, delete_grace_s=5, ready_limit_s=300),
        storage=StorageShape("nas", flush_s=2, limit_s=30, host=None),
    )


@dataclass
class Daemon:
    """One run of the daemon on a rack: from its start until it is killed."""

    rack: MemoryRack
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    battery_end_at: Callable[[], float] = lambda: float("inf")
    events: list[Event] = field(default_factory=list)
    conductor: Conductor = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Wire the rooms."""
        table = performers(
            Rack(
                emit=self.events.append,
                outlets=self.rack.outlets,
                outlet_off_delay_s=120,
                outlet_restore_delay_min=1,
                local_host=self.rack.local_host,
                machines={name: RemoteMachine(host, "poweroff") for name, host in self.rack.hosts.items()},
                cluster=self.rack.cluster,
                storage=self.rack.storage,
            )
        )
        self.conductor = Conductor(
            shape_of(self.rack),
            table,
            journal=self.journal,
            emit=self.events.append,
            changed=self._changed.set,
            battery_end_at=self._battery,
            boot_id="b1",
            linger_s=60.0,
            name_outage=lambda: f"o{asyncio.get_running_loop().time():.0f}",
        )

    def _battery(self) -> float:
        return self.battery_end_at()

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
        after = Daemon(self.rack, self.journal)
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


@pytest.fixture
def daemon(rack: MemoryRack) -> Daemon:
    """A daemon on a good rack."""
    return Daemon(rack)


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


# a shutdown


async def test_a_shutdown_powers_everything_off_in_order(daemon: Daemon, rack: MemoryRack) -> None:
    """The main job."""
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert daemon.names() == ["shutdown_started", "shutdown_announced", "point_of_no_return", "shutdown_finished"]
    assert daemon.event("shutdown_started").fields["reason"] == "battery-low"
    assert daemon.event("shutdown_finished").fields["not_done"] == f"host-poweroff {MASTER}"
    assert daemon.conductor.confirmed_off == {"pi4-a", "pi4-b"}
    assert not daemon.conductor.may_start


async def test_every_step_tells_its_start_and_its_end(daemon: Daemon) -> None:
    """What a subscriber sees on MQTT."""
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    steps = [step.id for step in daemon.conductor.plan.steps]
    for name in ("step_started", "step_ended"):
        assert sorted(str(event.fields["step"]) for event in daemon.events if event.name == name) == sorted(steps)
    drain = next(event for event in daemon.events if event.fields.get("detail") == "2 pods ended")
    assert drain.severity is Severity.INFO
    assert drain.fields["seconds"]


async def test_the_outage_is_written_before_anything_is_touched(daemon: Daemon, rack: MemoryRack) -> None:
    """A daemon killed then has done nothing that nobody knows of."""
    daemon.journal.delay_s = 1.0
    daemon.conductor.start("battery-low")
    await asyncio.sleep(0.9)
    assert (rack.did(), daemon.names()) == ([], ["shutdown_started"])
    await daemon.phase(Phase.FINISHED)
    assert daemon.journal.text.split("\n")[1].startswith('{"at"')
    assert '"record": "outage"' in daemon.journal.text.split("\n")[1]


async def test_a_step_that_fails_is_named_at_the_end(daemon: Daemon, rack: MemoryRack) -> None:
    """And the rest goes off all the same."""
    rack.hosts["pi4-a"].faults.fail("run", "permission denied")
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    not_done = str(daemon.event("shutdown_finished").fields["not_done"])
    assert not_done == f"confirm-off pi4-a, host-poweroff {MASTER}, poweroff pi4-a"
    assert rack.hosts["pi4-b"].off
    assert {"flush", CYCLE, MASTER_OFF} <= set(rack.did())


@pytest.mark.parametrize("delay_s", [0.0, 2.0])
async def test_a_failing_journal_does_not_stop_the_plan(daemon: Daemon, rack: MemoryRack, delay_s: float) -> None:
    """It is told once, and the rack goes off, also if each record costs two seconds."""
    daemon.journal.error, daemon.journal.delay_s = "the disk is full", delay_s
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert daemon.event("journal_failed").fields["reason"] == "the disk is full"


@pytest.mark.parametrize("machine", ["cluster", "storage", "outlets", "local_host", "pi4-a"])
@pytest.mark.parametrize("how", ["fail", "hang"])
async def test_a_shutdown_ends_before_the_battery_whatever_is_broken(
    daemon: Daemon, rack: MemoryRack, machine: str, how: str
) -> None:
    """Whoever does not answer, everybody else is off in time."""
    broken = rack.hosts[machine] if machine in rack.hosts else getattr(rack, machine)
    getattr(broken.faults, how)("*")
    end_at = asyncio.get_running_loop().time() + 180
    daemon.battery_end_at = lambda: end_at
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert asyncio.get_running_loop().time() <= end_at + 2
    assert all(host.off for name, host in rack.hosts.items() if name != machine)
    assert rack.storage.flushed or machine == "storage"
    assert CYCLE in rack.did() or machine == "outlets"
    assert MASTER_OFF in rack.did() or machine == "local_host"


async def test_a_defect_in_the_plan_lets_the_next_trigger_try_again(daemon: Daemon, rack: MemoryRack) -> None:
    """Whatever goes wrong inside, the rack is not left without a daemon that acts."""

    def broken() -> float:
        raise ZeroDivisionError

    daemon.battery_end_at = broken
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.IDLE)
    assert daemon.conductor.may_start
    daemon.battery_end_at = lambda: float("inf")
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)


# mains back


async def test_mains_back_before_the_first_power_off_undoes_the_shutdown(daemon: Daemon, rack: MemoryRack) -> None:
    """Nothing is powered off, every cordon of ours is taken back, and the outage is closed."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    await asyncio.sleep(100)
    assert rack.cluster.cordoned() == set()
    assert not any(what.startswith(("poweroff", "cycle", "unmount", "mount")) for what in rack.did())
    assert daemon.journal.unfinished() is None
    assert daemon.names()[-2:] == ["shutdown_aborted", "abort_finished"]
    assert daemon.event("abort_finished").fields["not_done"] is None
    assert (daemon.conductor.outage, daemon.conductor.may_start) == (None, True)


async def test_an_abort_leaves_what_was_not_ours(daemon: Daemon, rack: MemoryRack) -> None:
    """A node that an operator cordoned stays so."""
    rack.cluster.add_node("pi3", unschedulable=True)
    daemon.conductor.start("on-battery")
    await daemon.step("cordon", StepState.DONE)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == {"pi3"}


async def test_an_abort_before_anything_began_touches_nothing(daemon: Daemon, rack: MemoryRack) -> None:
    """A shutdown that was only announced is only called off."""
    daemon.conductor.start("on-battery")
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.did() == []
    assert daemon.journal.unfinished() is None


@pytest.mark.parametrize(("until", "mounts"), [("drain k3s-master", 0), ("unmount nas", 1), ("flush nas", 1)])
async def test_an_abort_mounts_the_nas_only_if_the_shutdown_unmounted_it(until: str, mounts: int) -> None:
    """In a rack without workers the NAS goes before the point of no return."""
    daemon = Daemon(memory_rack(()))
    daemon.conductor.start("on-battery")
    await daemon.step(until, StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert daemon.rack.did().count("mount") == mounts
    assert daemon.rack.storage.mounted
    assert daemon.rack.cluster.cordoned() == set()


async def test_mains_back_after_the_first_power_off_changes_nothing(daemon: Daemon, rack: MemoryRack) -> None:
    """What has begun to go off must go off, so that the outlets can start it again."""
    daemon.conductor.start("on-battery")
    await daemon.step("poweroff pi4-a", StepState.RUNNING)
    daemon.conductor.mains_back()
    assert daemon.conductor.phase is Phase.SHUTTING_DOWN
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert "shutdown_aborted" not in daemon.names()


async def test_mains_back_long_after_the_end_recovers(daemon: Daemon, rack: MemoryRack) -> None:
    """A master that nobody powered off brings back what is there, but not while it may still be going off."""
    daemon.conductor.start("on-battery")
    await daemon.phase(Phase.FINISHED)
    for name in (*rack.hosts, MASTER):
        rack.cluster.node_by_name[name] = replace(rack.cluster.node_by_name[name], ready=True)
    daemon.conductor.mains_back()
    assert daemon.conductor.phase is Phase.FINISHED
    await asyncio.sleep(61)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.storage.mounted
    assert rack.cluster.cordoned() == set()
    assert daemon.journal.unfinished() is None
    assert "recovery_finished" in daemon.names()


async def test_what_an_outage_before_left_behind_is_undone_with_the_next_one(rack: MemoryRack) -> None:
    """Mains back, mains lost again while the abort still runs, mains back for good: the cluster is as it was."""
    daemon = Daemon(rack)
    for name in (*rack.hosts, MASTER):
        rack.cluster.refused[f"web/{name}-0"] = 600.0
    daemon.conductor.start("on-battery")
    await daemon.step(f"drain {MASTER}", StepState.RUNNING)
    rack.cluster.faults.fail("uncordon", for_s=5)
    daemon.conductor.mains_back()
    await daemon.step("uncordon", StepState.RUNNING)
    daemon.conductor.start("on-battery")
    await daemon.step("announce", StepState.RUNNING)
    daemon.conductor.mains_back()
    await daemon.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()


async def test_a_recovery_brings_back_nas_nodes_and_pods_in_order(daemon: Daemon, rack: MemoryRack) -> None:
    """Nothing is uncordoned before its volumes and its machine are there."""
    for name in (*rack.hosts, MASTER):
        await rack.cluster.cordon(name, "o1")
    rack.storage.mounted = False
    rack.acts.clear()
    rack.cluster.node_off("pi4-a")
    rack.storage.faults.fail("mount", for_s=60)
    back = replace(rack.cluster.node_by_name["pi4-a"], ready=True)
    asyncio.get_running_loop().call_later(90, rack.cluster.node_by_name.update, {"pi4-a": back})
    began = asyncio.get_running_loop().time()
    daemon.conductor.recover("o1")
    await daemon.phase(Phase.IDLE)
    assert rack.did()[0] == "mount"
    assert sorted(rack.did()[1:]) == ["uncordon k3s-master", "uncordon pi4-a", "uncordon pi4-b"]
    assert rack.first("uncordon pi4-b") - began >= 90


@pytest.mark.parametrize("purpose", ["abort", "recovery"])
async def test_an_outage_stays_open_if_its_cordons_could_not_be_taken_back(
    daemon: Daemon, rack: MemoryRack, purpose: str
) -> None:
    """The next start tries again, and people are told."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    rack.cluster.faults.fail("uncordon", "403 forbidden")
    if purpose == "abort":
        daemon.conductor.mains_back()
    else:
        daemon.conductor.recover("o0")
    await daemon.phase(Phase.IDLE)
    assert daemon.journal.unfinished() is not None
    finished = daemon.event(f"{purpose}_finished")
    assert (finished.severity, finished.fields["not_done"]) == (Severity.CRITICAL, "uncordon")

    rack.cluster.faults.mend()
    after = Daemon(rack, daemon.journal)
    unfinished = daemon.journal.unfinished()
    assert unfinished is not None
    after.conductor.undo(unfinished.outage, unfinished.began)
    await after.phase(Phase.IDLE)
    assert rack.cluster.cordoned() == set()
    assert daemon.journal.unfinished() is None


@pytest.mark.parametrize("during", [Phase.ABORTING, Phase.RECOVERING])
async def test_a_trigger_during_an_abort_or_a_recovery_starts_a_shutdown(
    daemon: Daemon, rack: MemoryRack, during: Phase
) -> None:
    """The second outage does not wait for the end of the first."""
    daemon.conductor.start("on-battery")
    await daemon.step("drain pi4-a", StepState.RUNNING)
    rack.cluster.faults.hang("uncordon")
    if during is Phase.ABORTING:
        daemon.conductor.mains_back()
    else:
        daemon.conductor.recover("o0")
    await daemon.step("uncordon", StepState.RUNNING)
    assert (daemon.conductor.phase, daemon.conductor.may_start) == (during, True)
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    unfinished = daemon.journal.unfinished()
    assert unfinished is not None
    assert unfinished.reason == "battery-low"
    assert "uncordon" not in unfinished.ended


# after a kill


async def test_a_resumed_shutdown_skips_what_was_done(daemon: Daemon, rack: MemoryRack) -> None:
    """No pod is evicted twice, no worker is asked twice."""
    daemon.conductor.start("on-battery")
    await daemon.until(lambda: {"confirm-off pi4-a", "confirm-off pi4-b"} <= daemon.conductor.ended)
    await daemon.step("unmount nas", StepState.RUNNING)
    await daemon.kill()
    before = rack.did()
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert [what for what in rack.did()[len(before) :] if what != MASTER_OFF] == ["unmount", "flush", CYCLE]
    assert after.conductor.confirmed_off == {"pi4-a", "pi4-b"}
    resumed = after.event("shutdown_resumed").fields
    assert (resumed["outage"], resumed["reason"]) == ("o0", "on-battery")


async def test_a_resumed_shutdown_that_was_past_its_point_of_no_return_is_not_undone(
    daemon: Daemon, rack: MemoryRack
) -> None:
    """A worker that is going off can't be left off for good because the daemon forgot that it asked."""
    rack.hosts["pi4-b"].poweroff_s = rack.hosts["pi4-a"].poweroff_s = 20
    daemon.conductor.start("on-battery")
    await daemon.step("confirm-off pi4-a", StepState.RUNNING)
    await daemon.step("confirm-off pi4-b", StepState.RUNNING)
    await daemon.kill()
    after = daemon.restart()
    assert after.conductor.committed
    after.conductor.mains_back()
    await after.step("confirm-off pi4-a", StepState.RUNNING)
    after.conductor.mains_back()
    await after.phase(Phase.FINISHED)
    assert_off_in_order(rack)


async def test_a_resumed_shutdown_can_still_be_undone_before_that_point() -> None:
    """Also what only the killed daemon began."""
    daemon = Daemon(memory_rack(()))
    daemon.rack.cluster.faults.hang("pods")
    daemon.conductor.start("on-battery")
    await daemon.step("unmount nas", StepState.DONE)
    await daemon.kill()
    assert daemon.rack.did()[-1] == "unmount"
    after = daemon.restart()
    await after.step("drain k3s-master", StepState.RUNNING)
    after.conductor.mains_back()
    await after.phase(Phase.IDLE)
    assert daemon.rack.storage.mounted
    assert daemon.rack.cluster.cordoned() == set()


async def test_what_an_abort_undid_is_done_again_by_a_resumed_shutdown(daemon: Daemon, rack: MemoryRack) -> None:
    """Killed in an abort, with the mains gone again: the cordons that were taken back are no done work."""
    daemon.conductor.start("on-battery")
    await daemon.until(lambda: {"cordon", "drain k3s-master"} <= daemon.conductor.ended)
    daemon.conductor.mains_back()
    await daemon.until(lambda: not rack.cluster.cordoned())
    await daemon.kill()
    assert daemon.journal.unfinished() is not None
    rack.acts.clear()
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert {f"cordon {name}" for name in (*rack.hosts, MASTER)} <= set(rack.did())
    assert_off_in_order(rack)


async def story(daemon: Daemon, pauses_s: list[float], kills: list[Callable[[Daemon], asyncio.Task[None]]]) -> Daemon:
    """Kill the daemon again and again, each time when the next of `kills` has run out, and start it again."""
    daemon.conductor.start("battery-low")
    for pause_s, kill in zip(pauses_s, kills, strict=True):
        moment = kill(daemon)
        await asyncio.wait({moment})
        await daemon.kill()
        await asyncio.sleep(pause_s)
        daemon = daemon.restart()
    await daemon.phase(Phase.FINISHED)
    return daemon


def after_s(seconds: float) -> Callable[[Daemon], asyncio.Task[None]]:
    """At a time."""
    return lambda _: asyncio.create_task(asyncio.sleep(seconds))


def at_write(number: int) -> Callable[[Daemon], asyncio.Task[None]]:
    """When the journal has got so many more half lines, or all has ended."""

    def watch(daemon: Daemon) -> asyncio.Task[None]:
        left, reached = [number], asyncio.Event()

        def wrote() -> None:
            left[0] -= 1
            if left[0] <= 0:
                reached.set()

        async def wait() -> None:
            daemon.journal.wrote = wrote
            ended = asyncio.create_task(daemon.phase(Phase.FINISHED))
            enough = asyncio.create_task(reached.wait())
            await asyncio.wait({ended, enough}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            enough.cancel()

        return asyncio.create_task(wait())

    return watch


@pytest.mark.parametrize("number", range(56))
async def test_a_daemon_killed_at_any_write_brings_the_rack_down_in_order(daemon: Daemon, number: int) -> None:
    """With the last line torn, and with the last line whole and nothing done after it."""
    await story(daemon, [1.0], [at_write(number)])
    assert_off_in_order(daemon.rack)


moments = st.one_of(st.builds(after_s, st.floats(0, 60)), st.builds(at_write, st.integers(0, 50)))


@settings(max_examples=150, print_blob=True)
@given(st.lists(st.tuples(st.floats(0, 30), moments), min_size=1, max_size=4))
async def test_a_daemon_killed_at_any_moments_brings_the_rack_down_in_order(
    kills: list[tuple[float, Callable[[Daemon], asyncio.Task[None]]]],
) -> None:
    """However often: workers off, NAS flushed, outlets cycled, master asked, one after the other."""
    daemon = Daemon(memory_rack())
    await story(daemon, [pause_s for pause_s, _ in kills], [kill for _, kill in kills])
    assert_off_in_order(daemon.rack)


@settings(max_examples=100, print_blob=True)
@given(moments, st.sampled_from([(), ("pi4-a",)]))
async def test_a_daemon_killed_before_the_point_of_no_return_can_undo_everything(
    kill: Callable[[Daemon], asyncio.Task[None]], workers: tuple[str, ...]
) -> None:
    """Mains back before the restart: what is not committed is undone, and nothing is left cordoned or unmounted."""
    daemon = Daemon(memory_rack(workers))
    daemon.conductor.start("battery-low")
    await asyncio.wait({kill(daemon)})
    await daemon.kill()
    unfinished = daemon.journal.unfinished()
    if unfinished is None or unfinished.committed:
        assert daemon.rack.did() == [] or unfinished
        return
    assert not any(what.startswith(("poweroff", "cycle")) for what in daemon.rack.did())
    after = Daemon(daemon.rack, daemon.journal)
    after.conductor.undo(unfinished.outage, unfinished.began)
    await after.phase(Phase.IDLE)
    assert daemon.rack.cluster.cordoned() == set()
    assert daemon.rack.storage.mounted
    assert daemon.journal.unfinished() is None
