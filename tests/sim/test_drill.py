"""One worker really goes off and comes back, nobody else is touched, and an outage always comes first."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import AN_HOUR_S, PODS, WORKERS, DyingNotes, Notes, Outage, all_as_before, living, rules
from upsd.control import ActError
from upsd.domain.plan import PlanPurpose, StepProgress, StepState
from upsd.drill_acts import drill_acts
from upsd.plan_acts import plan_acts
from upsd.shutdown.missing import complaints
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import undo_plan
from upsd.shutdown.shedding import ShedGroup
from upsd.shutdown.steps import RemoteMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from upsd.domain.plan import Plan
    from upsd.domain.power import Event, Scalar

OTHERS = {"pi4-a", "pi4-b", MASTER}
BETWEEN_READINGS_S = 0.5


async def act(outage: Outage, **arguments: str | bool) -> Any:
    """Command a drill, as over the control socket."""
    return await drill_acts(outage.supervisor, outage.conductor)["drill"](arguments)


async def refused(outage: Outage, **arguments: str | bool) -> str:
    """Why a drill is refused."""
    with pytest.raises(ActError) as caught:
        await act(outage, **arguments)
    return str(caught.value)


@contextlib.asynccontextmanager
async def drilling(outage: Outage, worker: str = "pi3") -> AsyncIterator[MemoryWorld]:
    """A rack on mains whose worker's drill has just begun."""
    async with living(outage):
        await asyncio.sleep(5)
        await act(outage, worker=worker, yes=True)
        yield outage.world


def on_mains(*, armed: bool = True, on_battery_s: float | None = None, shedding: tuple[ShedGroup, ...] = ()) -> Outage:
    """A daemon's decisions in a rack on mains."""
    return Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=on_battery_s), armed=armed, shedding=shedding)


def event(outage: Outage, name: str) -> Event:
    """The only event of that name."""
    (found,) = (event for event in outage.events if event.name == name)
    return found


def powered_off(outage: Outage) -> set[str]:
    """The machines that were told to power off."""
    return {what.partition(" ")[2] for what in outage.world.rack.did() if what.startswith("poweroff")}


async def until_told_to_go_off(outage: Outage) -> None:
    """Wait until the drilled worker has been told."""
    assert await outage.world.until(lambda: "poweroff pi3" in outage.world.rack.did(), 120)


@pytest.mark.parametrize("armed", [False, True])
async def test_a_worker_goes_off_and_comes_back_and_nobody_else_is_touched(*, armed: bool) -> None:
    """On a rack that nobody has armed, too; readings on mains, one each second, do not call it off."""
    outage = on_mains(armed=armed)
    async with drilling(outage) as world:
        assert await world.until(lambda: world.rack.hosts["pi3"].off, 120)
        assert outage.conductor.phase is Phase.DRILLING
        assert world.rack.cluster.cordoned() == {"pi3"}
        assert world.rack.cluster.ready_pods() == PODS
        await all_as_before(outage)
    assert powered_off(outage) == {"pi3"}
    assert "wake pi3" in outage.world.rack.did()
    assert not any(what.startswith(("cordon", "drain", "cycle", "unmount")) for what in others_acts(outage))
    name = "outage-1-drill"
    assert event(outage, "drill_started").fields == {"drill": name, "worker": "pi3"}
    assert event(outage, "drill_finished").fields == {"drill": name, "worker": "pi3", "not_done": None}
    assert not any(event.name.startswith(("shedding", "shutdown", "abort", "recovery")) for event in outage.events)


def others_acts(outage: Outage) -> list[str]:
    """What was done that has nothing to do with the drilled worker."""
    return [what for what in outage.world.rack.did() if "pi3" not in what]


async def test_each_step_proves_that_the_shutdown_can_do_it() -> None:
    """By the ids that the steps of the shutdown have; what undoes them proves nothing of it."""
    heard: list[tuple[PlanPurpose, StepProgress]] = []
    outage = on_mains()
    outage.learn = lambda purpose, progress: heard.append((purpose, progress))
    async with drilling(outage):
        await all_as_before(outage)
    assert {purpose for purpose, _ in heard} == {PlanPurpose.DRILL}
    found = {progress.step.id: progress.state for _, progress in heard}
    shutdown = {step.id for step in outage.conductor.plan.steps}
    assert found.keys() & shutdown == {"drain pi3", "poweroff pi3", "confirm-off pi3"}
    assert found.keys() - shutdown == {"cordon pi3"}
    assert set(found.values()) == {StepState.DONE}
    details = {progress.step.id: progress.detail for _, progress in heard}
    assert details["confirm-off pi3"] == "port silent and node NotReady"


async def test_a_node_that_somebody_else_had_cordoned_stays_so() -> None:
    """It is brought back as it was."""
    outage = on_mains()
    cluster = outage.world.rack.cluster
    await cluster.cordon("pi3", "somebody else's")
    cluster.node_by_name["pi3"] = replace(cluster.node_by_name["pi3"], annotations={})
    async with drilling(outage) as world:
        await until_told_to_go_off(outage)
        assert await world.until(lambda: outage.conductor.phase is Phase.IDLE, AN_HOUR_S)
    assert outage.world.rack.cluster.cordoned() == {"pi3"}
    assert not outage.world.rack.hosts["pi3"].off


async def test_a_machine_that_does_not_take_the_command_is_named_and_stays_up() -> None:
    """That is what a drill is for; its node is uncordoned all the same."""
    outage = on_mains()
    outage.world.rack.hosts["pi3"].faults.fail("run", "refused the key")
    async with drilling(outage):
        await all_as_before(outage)
    assert event(outage, "drill_finished").fields["not_done"] == "confirm-off pi3, poweroff pi3"
    assert "drill_cancelled" not in outage.names()


async def test_a_machine_that_can_not_be_woken_is_waited_for_until_somebody_switches_it_on() -> None:
    """It has the usual time for that; then everything is as before."""
    outage = on_mains()
    outage.world.rack.hosts["pi3"].wakes = False
    outage = Outage(outage.world, rules())
    async with drilling(outage) as world:
        assert await world.until(lambda: outage.conductor.phase is Phase.ABORTING, 120)
        await asyncio.sleep(200)
        assert outage.conductor.progress["wait-host pi3"].state is StepState.RUNNING
        world.rack.hosts["pi3"].power_on()
        await all_as_before(outage)
    assert event(outage, "drill_finished").fields["not_done"] is None


async def test_a_machine_that_nobody_switches_on_is_complained_of_until_it_is_seen() -> None:
    """The drill ends, its node may be used as soon as it is there, and nobody forgets it."""
    world = MemoryWorld(workers=WORKERS)
    world.rack.hosts["pi3"].wakes = False
    outage = Outage(world, rules())
    async with drilling(outage):
        assert await world.until(lambda: outage.conductor.phase is Phase.IDLE, AN_HOUR_S)
    assert "wait-host pi3" in str(event(outage, "drill_finished").fields["not_done"])
    machines = {"pi3": RemoteMachine(world.rack.hosts["pi3"], "poweroff")}
    assert list(complaints(outage.conductor.missing, machines)) == [
        "pi3 has not come back and can't be woken (no mac); switch it on"
    ]
    assert world.rack.cluster.cordoned() == set()


# An outage comes first.


@pytest.mark.parametrize("when", ["draining", "going off", "off", "on its way back"])
async def test_an_outage_in_a_drill_shuts_the_rack_down_as_any_other(when: str) -> None:
    """Whatever the drill was at: everything is off in order and in time, and starts again."""
    outage = on_mains(on_battery_s=20)
    world, conductor = outage.world, outage.conductor
    if when == "draining":
        world.rack.cluster.refused["web/pi3-0"] = AN_HOUR_S
    world.rack.hosts["pi3"].boot_s = 24.0  # so that it is hardly up when the shutdown begins
    moments: dict[str, Callable[[], bool]] = {
        "draining": lambda: "drain pi3" in conductor.progress,
        "going off": lambda: "poweroff pi3" in world.rack.did(),
        "off": lambda: world.rack.hosts["pi3"].off,
        "on its way back": lambda: conductor.phase is Phase.ABORTING,
    }
    async with drilling(outage):
        assert await world.until(moments[when], 120)
        world.device.cut_mains()
        assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
        assert world.on_when_cut == []
        assert world.flushed_when_cut
        assert event(outage, "drill_cancelled").fields["worker"] == "pi3"
        assert "drill_finished" not in outage.names()
        assert event(outage, "shutdown_started").fields["outage"] == "outage-1"
        world.device.restore_mains()
        assert await world.until(lambda: world.device.outlets.on, AN_HOUR_S)
    after = outage.next_run("next boot")
    async with living(after):
        assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        await all_as_before(after)


async def test_a_shutdown_that_follows_a_drill_does_not_ask_the_worker_twice() -> None:
    """What the drill has done is done."""
    outage = on_mains(on_battery_s=60)
    world = outage.world
    async with drilling(outage):
        assert await world.until(lambda: world.rack.hosts["pi3"].off, 120)
        world.device.cut_mains()
        assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
    assert world.on_when_cut == []
    assert world.rack.did().count("poweroff pi3") == 1
    assert outage.conductor.progress["poweroff pi3"].detail == "done before"


@pytest.mark.parametrize("armed", [False, True])
async def test_in_an_outage_that_needs_no_shutdown_the_worker_stays_off_until_the_mains_is_back(*, armed: bool) -> None:
    """Nothing is switched on that an outage would have to switch off again; and no second machine goes off."""
    outage = on_mains(armed=armed)
    async with drilling(outage) as world:
        await until_told_to_go_off(outage)
        world.device.cut_mains()
        assert await world.until(lambda: world.rack.hosts["pi3"].off, 60)
        await asyncio.sleep(100)
        assert world.rack.hosts["pi3"].off
        assert outage.conductor.phase is Phase.SHEDDING
        assert powered_off(outage) == {"pi3"}
        world.device.restore_mains()
        await all_as_before(outage)
    assert {"drill_cancelled", "shedding_undone", "abort_finished"} <= set(outage.names())


async def test_shedding_takes_its_workers_beside_the_drilled_one() -> None:
    """And all come back."""
    outage = on_mains(shedding=(ShedGroup(name="extras", workers=("pi4-b",), on_battery_s=20),))
    async with drilling(outage) as world:
        await until_told_to_go_off(outage)
        world.device.cut_mains()
        assert await world.until(lambda: outage.conductor.confirmed_off == {"pi3", "pi4-b"}, 300)
        assert not world.rack.hosts["pi4-a"].off
        world.device.restore_mains()
        await all_as_before(outage)


async def test_a_flicker_ends_a_drill_and_brings_the_worker_back() -> None:
    """A second without mains may be the first of an outage."""
    outage = on_mains()
    async with drilling(outage) as world:
        await until_told_to_go_off(outage)
        world.device.cut_mains()
        await asyncio.sleep(1.5)
        world.device.restore_mains()
        await all_as_before(outage)
    assert "drill_finished" not in outage.names()
    assert outage.names().count("drill_cancelled") == 1


async def test_a_drill_can_be_called_off() -> None:
    """By the command that calls a shutdown off; it is undone at once."""
    outage = on_mains()
    outage.world.rack.cluster.refused["web/pi3-0"] = AN_HOUR_S
    async with drilling(outage):
        await asyncio.sleep(5)
        acts = plan_acts(outage.supervisor, outage.conductor, outage.events.append)
        await acts["abort"]({})
        await all_as_before(outage)
    assert powered_off(outage) == set()
    assert {"drill_cancelled", "abort_finished"} <= set(outage.names())


async def test_a_defect_in_a_drill_does_not_leave_the_worker_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for its end hears of it, and upsd brings back what it has begun."""
    outage = on_mains()
    defects = ["a defect"]

    def broken(*arguments: Any, **more: Any) -> Plan:
        if defects:
            raise ValueError(defects.pop())
        return undo_plan(*arguments, **more)

    monkeypatch.setattr("upsd.shutdown.conductor.undo_plan", broken)
    async with drilling(outage) as world:
        assert await world.until(lambda: "drill_cancelled" in outage.names(), 120)
        assert await world.until(lambda: "abort_finished" in outage.names(), 600)
        await all_as_before(outage)


@pytest.mark.parametrize("mains", ["there", "away"])
@pytest.mark.parametrize("record", range(1, 18))
async def test_a_daemon_killed_at_any_record_of_a_drill_brings_the_worker_back(record: int, mains: str) -> None:
    """At its next start, or with the mains; and nobody else ever goes off."""
    journal = DyingNotes(record)
    outage = Outage(MemoryWorld(workers=WORKERS), rules(), journal=journal)
    world = outage.world
    async with drilling(outage):
        await world.until(lambda: journal.dead.is_set() or outage.conductor.phase is Phase.IDLE, AN_HOUR_S)
        journal.buried.set()
    if mains == "away":
        world.device.cut_mains()
    after = outage.next_run("boot")
    async with living(after):
        await asyncio.sleep(60)
        if mains == "away":
            world.device.restore_mains()
            await asyncio.sleep(10)
        await asyncio.sleep(200)
        await all_as_before(after)
    assert powered_off(outage) <= {"pi3"}


async def test_a_master_that_boots_in_the_middle_of_a_drill_brings_the_worker_back() -> None:
    """Its battery, its plug, a kernel that panics: nobody waits for the worker then."""
    outage = on_mains()
    async with drilling(outage) as world:
        assert await world.until(lambda: world.rack.hosts["pi3"].off, 120)
    after = outage.next_run("next boot")
    async with living(after):
        assert await world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
        await all_as_before(after)


async def test_a_shutdown_that_a_person_asks_for_takes_over() -> None:
    """And powers everything off, the drilled worker too."""
    outage = on_mains()
    async with drilling(outage) as world:
        await until_told_to_go_off(outage)
        acts = plan_acts(outage.supervisor, outage.conductor, outage.events.append)
        assert await acts["shutdown"]({"yes": True}) == {"outage": "outage-1", "expected_s": pytest.approx(120, abs=60)}
        assert await world.until(lambda: world.on_when_cut is not None, AN_HOUR_S)
    assert world.on_when_cut == []
    assert "drill_cancelled" in outage.names()
    assert outage.conductor.reason == "requested"


class SlowNotes(Notes):
    """A journal whose disk takes its time with the end of the last step of a drill."""

    def __init__(self) -> None:
        super().__init__()
        self.written: asyncio.Future[None] | None = None

    async def append(self, record: Mapping[str, Scalar]) -> None:
        """Take the record, sooner or later."""
        await super().append(record)
        if (record.get("step"), record.get("state")) == ("confirm-off pi3", "done") and self.written is None:
            self.written = asyncio.get_running_loop().create_future()
            await self.written


async def test_mains_that_goes_at_the_very_end_of_a_drill_does_not_leave_the_worker_off() -> None:
    """The drill goes on by a hair's breadth, and must not take itself for what has taken its place."""
    journal = SlowNotes()
    outage = Outage(MemoryWorld(workers=WORKERS), rules(), journal=journal)
    async with drilling(outage) as world:
        assert await world.until(lambda: journal.written is not None, 120)
        assert journal.written
        await asyncio.sleep(BETWEEN_READINGS_S)
        journal.written.set_result(None)
        outage.conductor.mains_away()
        await asyncio.sleep(0)
        assert outage.conductor.phase is Phase.SHEDDING
        await all_as_before(outage)


# What is refused.


async def test_without_a_yes_it_says_what_would_happen_and_does_nothing() -> None:
    """Which machine, what becomes of its pods, how long, and who brings it back."""
    outage = on_mains()
    outage.world.rack.hosts["pi4-a"].wakes = False
    outage = Outage(outage.world, rules())
    async with living(outage):
        await asyncio.sleep(5)
        said = await refused(outage, worker="pi3")
        by_hand = await refused(outage, worker="pi4-a", yes=False)
        await asyncio.sleep(60)
    assert "power off pi3 for real, and no other machine; its pods move to other machines first" in said
    assert "upsd wakes it at once (Wake-on-LAN). All that takes about 1" in said
    assert "somebody has to switch it on, as it can't be woken (no mac): upsd waits 300 s for it" in by_hand
    assert said.endswith("; say that you mean it with --yes")
    assert outage.world.rack.did() == []
    assert outage.conductor.phase is Phase.IDLE


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ("pi5", "there is no worker 'pi5'; the workers are: pi4-a, pi4-b, pi3"),
        (MASTER, f"{MASTER} is the master"),
        ("nas", "nas is the NAS"),
    ],
)
async def test_only_workers_are_drilled(worker: str, reason: str) -> None:
    """Without the master or the NAS there is no rack."""
    outage = on_mains()
    async with living(outage):
        await asyncio.sleep(5)
        said = await refused(outage, worker=worker, yes=True)
        await asyncio.sleep(5)
    assert reason in said
    assert outage.world.rack.did() == []


async def test_a_drill_is_refused_whenever_an_outage_may_be_near() -> None:
    """Before the UPS is heard, when it is silent, on battery, and while any plan runs."""
    outage = on_mains()
    assert "the UPS is not heard" in await refused(outage, worker="pi3", yes=True)
    async with drilling(outage) as world:
        assert "under way (drilling)" in await refused(outage, worker="pi4-a", yes=True)
        assert await world.until(lambda: outage.conductor.phase is Phase.ABORTING, 120)
        assert "under way (aborting)" in await refused(outage, worker="pi4-a", yes=True)
        await all_as_before(outage)
        outage.conductor.rehearse("r1")
        assert "under way (rehearsing)" in await refused(outage, worker="pi3", yes=True)
        assert await world.until(lambda: outage.conductor.phase is Phase.IDLE, 120)
        world.device.cut_mains()
        await asyncio.sleep(2)
        assert "runs on battery" in await refused(outage, worker="pi3", yes=True)
        outage.conductor.start("on-battery")
        assert "under way (shutting-down)" in await refused(outage, worker="pi3", yes=True)
    silent = Outage(MemoryWorld(workers=WORKERS), rules(), silent_from=asyncio.get_running_loop().time() + 5)
    async with living(silent):
        await asyncio.sleep(20)
        assert "the UPS is not heard" in await refused(silent, worker="pi3", yes=True)
    assert silent.world.rack.did() == []
