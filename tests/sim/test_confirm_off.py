"""A machine is off when that is seen: by its port, its node, or the load of the UPS; never by its word alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.sim.workbench import COMMAND, Workbench, took_s
from upsd.domain.plan import StepKind, StepProgress, StepState
from upsd.domain.power import OutputLoad
from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.steps import RemoteMachine

if TYPE_CHECKING:
    from hardware_sim.memory_rack import MemoryHost, MemoryRack

STEP_W = 2.0
HOURS_S = 10_000.0
WATTS = {"pi4-a": 10.0, "pi4-b": 10.0, "nas": 18.0}


@dataclass
class ScriptedHost:
    """A machine that accepts (+), refuses (x), is silent (-), or of which nobody can tell (?); the last goes on."""

    script: str
    commands: list[str] = field(default_factory=list)
    asked: int = 0

    async def run(self, command: str) -> str:
        """Take the command and do nothing."""
        self.commands.append(command)
        return ""

    async def run_unforced(self, command: str) -> str:
        """Take the command and do nothing."""
        return await self.run(command)

    async def call_port(self) -> PortAnswer:
        """What the script says."""
        answer = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        if answer == "?":
            raise RackError("no such name")
        return {"+": PortAnswer.ACCEPTS, "x": PortAnswer.REFUSES, "-": PortAnswer.SILENT}[answer]


def use(bench: Workbench, script: str) -> ScriptedHost:
    """Let pi4-a be a scripted machine."""
    host = ScriptedHost(script)
    bench.machines["pi4-a"] = RemoteMachine(host, COMMAND)
    return host


async def test_a_machine_is_off_after_three_silences(bench: Workbench) -> None:
    """One refused connection is a busy machine, not one that is off."""
    host = use(bench, "++-")
    bench.rack.cluster.faults.fail("nodes")
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True)
    assert (progress.state, progress.detail, host.asked) == (StepState.DONE, "port silent", 5)
    assert host.commands == []


async def test_a_machine_that_accepts_again_is_not_off(bench: Workbench) -> None:
    """The count starts anew."""
    host = use(bench, "--+--+-")
    bench.rack.cluster.faults.fail("nodes")
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True)
    assert (progress.state, host.asked) == (StepState.DONE, 9)


@pytest.mark.parametrize("script", ["?", "--?"])
async def test_that_nobody_can_tell_is_no_silence(bench: Workbench, script: str) -> None:
    """A name that does not resolve any more, because DNS ran in the cluster, proves nothing."""
    use(bench, script)
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, limit_s=30)
    assert progress.state is StepState.TIMED_OUT
    assert took_s(progress) == pytest.approx(30, abs=0.5)
    assert "no such name" in bench.said


async def test_a_machine_that_took_no_command_is_told_as_soon_as_it_answers(bench: Workbench, rack: MemoryRack) -> None:
    """It was booting when its turn came, and half of a generous deadline may be too late for it."""
    rack.hosts["pi4-a"].up_at = asyncio.get_running_loop().time() + 10
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", expected_s=20, limit_s=120)
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "port silent and node NotReady, after it was asked again",
    )
    assert took_s(progress) < 25


async def test_a_machine_that_stays_on_is_asked_again_at_half_time(bench: Workbench, rack: MemoryRack) -> None:
    """The first command may have got lost in a machine that was busy."""
    start = asyncio.get_running_loop().time()
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, limit_s=60)
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "port silent and node NotReady, after it was asked again",
    )
    assert rack.did() == ["poweroff pi4-a", "off pi4-a"]
    assert rack.first("poweroff pi4-a") - start == pytest.approx(30, abs=1.5)


async def test_a_machine_that_does_not_go_off_is_asked_once_more_and_given_up(
    bench: Workbench, rack: MemoryRack
) -> None:
    """In time, and with words."""
    rack.hosts["pi4-a"].deaf = 9
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, limit_s=60)
    assert (progress.state, progress.detail) == (StepState.TIMED_OUT, "still up; asked again")
    assert rack.did() == ["poweroff pi4-a"]


async def test_a_machine_that_refuses_when_asked_again_is_still_waited_for(bench: Workbench, rack: MemoryRack) -> None:
    """It may be on its way down, where it takes no new connections."""
    host: MemoryHost = rack.hosts["pi4-a"]
    host.faults.fail("run", "system is going down")
    asyncio.get_running_loop().call_later(45, setattr, host, "off_at", 0)
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, limit_s=60)
    assert progress.state is StepState.FORCED
    assert "still up; system is going down" in bench.said


async def test_a_machine_that_was_never_heard_of_is_not_confirmed_off(bench: Workbench) -> None:
    """It may run on behind a dead switch, with data for a NAS that is about to go."""
    use(bench, "-")
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", expected_s=10, limit_s=60)
    assert progress.state is StepState.FAILED
    assert "never answered" in progress.detail
    assert took_s(progress) == pytest.approx(20, abs=1.5)


# a port that refuses


async def test_a_port_that_refuses_is_waited_on_as_long_as_there_is_slack(bench: Workbench) -> None:
    """Its sshd ends long before its kernel does; that nothing better was seen is told, and the last look asks again."""
    use(bench, "+x")
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, expected_s=10, limit_s=60, minimum_s=3)
    assert (progress.state, progress.detail) == (StepState.FORCED, "port refuses, no more time")
    assert took_s(progress) == pytest.approx(57, abs=1.5)
    assert "port refuses; waits for better evidence" in bench.said
    assert bench.going_off.seen_off == set()


async def test_slack_that_shrinks_ends_the_wait(bench: Workbench) -> None:
    """The battery may be weaker than was thought."""
    use(bench, "+x")
    loop = asyncio.get_running_loop()
    loop.call_later(20, setattr, bench, "battery_end_at", loop.time() + 30)
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, limit_s=120, minimum_s=3)
    assert (progress.state, progress.detail) == (StepState.FORCED, "port refuses, no more time")
    assert took_s(progress) == pytest.approx(27, abs=1.5)


async def test_a_port_that_falls_silent_after_it_refused_is_off(bench: Workbench, rack: MemoryRack) -> None:
    """As most machines go off: sshd ends at once, the file systems are unmounted, and the kernel is gone."""
    rack.hosts["pi4-a"].poweroff_s = 35
    await bench.do(StepKind.POWEROFF, "pi4-a")
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", expected_s=10, limit_s=120)
    assert progress.state is StepState.DONE
    assert progress.detail == "port silent and node NotReady"
    assert took_s(progress) == pytest.approx(38, abs=1.5)
    assert bench.going_off.seen_off == {"pi4-a"}


# its node


def refusing(rack: MemoryRack, *, sshd_s: float = 0.0, not_ready_s: float = 45.0) -> MemoryHost:
    """A machine whose sshd ends after this time, whose node is not Ready after that one, and that never goes off."""
    host, loop = rack.hosts["pi4-a"], asyncio.get_running_loop()
    host.poweroff_s, host.sshd_s, host.off_at = HOURS_S, sshd_s, loop.time() + HOURS_S
    loop.call_later(not_ready_s, rack.cluster.node_off, "pi4-a")
    return host


async def confirm(bench: Workbench, expected_s: float = 10) -> StepProgress:
    """Wait for the machine that took the command."""
    return await bench.do(StepKind.CONFIRM_OFF, "pi4-a", told=True, expected_s=expected_s, limit_s=120, minimum_s=3)


async def test_a_port_that_refuses_and_a_node_that_is_not_ready_are_off(bench: Workbench, rack: MemoryRack) -> None:
    """Nobody there has been heard of for as long as Kubernetes waits."""
    refusing(rack)
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port refuses and node NotReady")
    assert took_s(progress) == pytest.approx(46, abs=4)


async def test_the_refusal_counts_from_the_first_one(bench: Workbench, rack: MemoryRack) -> None:
    """The helper takes most of a minute before sshd ends, and kubelet is the first to go."""
    refusing(rack, sshd_s=50, not_ready_s=45)
    progress = await confirm(bench, expected_s=20)
    assert progress.detail == "port refuses and node NotReady"
    assert took_s(progress) == pytest.approx(50 + 2 * 20, abs=3)


async def test_a_node_that_was_not_ready_before_says_nothing(bench: Workbench, rack: MemoryRack) -> None:
    """Its k3s may have been broken for days, while its file systems are in use."""
    refusing(rack, not_ready_s=0)
    rack.cluster.node_off("pi4-a")
    assert (await confirm(bench)).detail == "port refuses, no more time"


@pytest.mark.parametrize("fault", ["fail", "hang"])
async def test_an_api_that_is_away_costs_no_more_than_its_evidence(
    bench: Workbench, rack: MemoryRack, fault: str
) -> None:
    """The port is still called, and its silence is seen."""
    refusing(rack)
    getattr(rack.cluster.faults, fault)("nodes")
    asyncio.get_running_loop().call_later(60, setattr, rack.hosts["pi4-a"], "off_at", 0)
    progress = await confirm(bench)
    assert progress.detail == "port silent"
    assert took_s(progress) == pytest.approx(63, abs=4)


async def test_one_list_of_nodes_does_for_all_machines(bench: Workbench, rack: MemoryRack) -> None:
    """A server that goes down soon has better things to do."""
    for host in rack.hosts.values():
        host.poweroff_s, host.off_at = HOURS_S, asyncio.get_running_loop().time() + HOURS_S
    steps = (bench.do(StepKind.CONFIRM_OFF, name, told=True, limit_s=63, minimum_s=3) for name in rack.hosts)
    await asyncio.gather(*steps)
    assert rack.cluster.faults.met["nodes"] <= 21


async def test_a_silent_machine_whose_kubelet_has_stopped_is_off(bench: Workbench, rack: MemoryRack) -> None:
    """Its missing reports say so long before Kubernetes calls its node NotReady."""
    rack.hosts["pi4-a"].off_at = 0.0
    asyncio.get_running_loop().call_later(2, rack.cluster.dead.add, "pi4-a")
    progress = await confirm(bench)
    assert rack.cluster.node_by_name["pi4-a"].ready
    assert (progress.state, progress.detail) == (StepState.DONE, "port silent and no heartbeat")
    assert took_s(progress) == pytest.approx(16, abs=2)


async def test_a_silent_machine_whose_kubelet_reports_is_on(bench: Workbench) -> None:
    """A firewall there may have enough of our calls; it is told, and the last look calls again."""
    use(bench, "+-")
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "port silent but its kubelet reports, no more time",
    )
    assert took_s(progress) == pytest.approx(117, abs=1.5)
    assert "port silent; its kubelet still reports" in bench.said
    assert bench.going_off.seen_off == set()


async def test_a_silent_machine_is_off_at_last_when_its_kubelet_stops(bench: Workbench, rack: MemoryRack) -> None:
    """Its network was gone before it was."""
    use(bench, "+-")
    asyncio.get_running_loop().call_later(40, rack.cluster.dead.add, "pi4-a")
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port silent and no heartbeat")
    assert 47 < took_s(progress) < 59
    assert bench.going_off.seen_off == {"pi4-a"}


@pytest.mark.parametrize("asked", ["nodes", "heartbeats"])
async def test_what_was_heard_of_a_kubelet_counts_though_the_api_goes_away(
    bench: Workbench, rack: MemoryRack, asked: str
) -> None:
    """It reported a moment ago; later nobody can tell any more, and that is not called a heartbeat that has stopped."""
    use(bench, "+-")
    asyncio.get_running_loop().call_later(2, rack.cluster.faults.fail, asked)
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port silent")
    assert took_s(progress) == pytest.approx(16, abs=2)


async def test_a_silent_machine_is_off_at_once_where_heartbeats_may_not_be_read(
    bench: Workbench, rack: MemoryRack
) -> None:
    """The rights that were given to an older upsd do not have that."""
    rack.hosts["pi4-a"].off_at = 0.0
    rack.cluster.faults.fail("heartbeats", "403 Forbidden to list leases")
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port silent")
    assert took_s(progress) < 4


# the load of the UPS


def load(bench: Workbench, watts: float) -> None:
    """Let the UPS say that it delivers this."""
    bench.load = OutputLoad(asyncio.get_running_loop().time(), watts, STEP_W)


async def told_at(bench: Workbench, watts: float, *names: str) -> None:
    """Tell these machines to go off while the UPS delivers this."""
    bench.watts.update(WATTS)
    for name in names:
        load(bench, watts)
        await bench.do(StepKind.POWEROFF, name)
        await asyncio.sleep(1)


async def test_a_load_that_fell_by_a_machine_s_share_says_that_it_is_off(bench: Workbench) -> None:
    """At once: it need not be the whole of what the settings say."""
    use(bench, "x")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 92.0)
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port refuses and load fell by 8 W")
    assert took_s(progress) < 5


async def test_a_load_that_fell_tells_what_a_dead_switch_does_not(bench: Workbench) -> None:
    """Nobody can call its port, and it need not be waited for all the same."""
    use(bench, "?")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 90.0)
    assert (await confirm(bench)).detail == "load fell by 10 W"


async def test_a_load_that_fell_tells_sooner_than_a_heartbeat_that_stopped(bench: Workbench) -> None:
    """Who is silent and draws no power is off, though its kubelet reported a moment ago."""
    use(bench, "-")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 91.0)
    progress = await confirm(bench)
    assert (progress.state, progress.detail) == (StepState.DONE, "port silent and load fell by 9 W")
    assert took_s(progress) < 5


async def test_a_machine_that_took_no_command_is_on_whatever_the_load(bench: Workbench, rack: MemoryRack) -> None:
    """The switch had died before, and pods that ended have saved as much."""
    for operation in ("run", "call_port"):
        rack.hosts["pi4-a"].faults.fail(operation, "no route to host")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 90.0)
    progress = await bench.do(StepKind.CONFIRM_OFF, "pi4-a", limit_s=60)
    assert (progress.state, progress.detail) == (StepState.TIMED_OUT, "no route to host")


async def test_a_port_that_accepts_is_on_whatever_the_load(bench: Workbench) -> None:
    """Something else has gone off."""
    use(bench, "+")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 80.0)
    assert (await confirm(bench)).state is StepState.TIMED_OUT


@pytest.mark.parametrize(("fell_to", "by"), [(90.0, "port refuses, no more time"), (81.0, "load fell by 9 W")])
async def test_what_others_save_that_go_off_too_is_theirs(bench: Workbench, fell_to: float, by: str) -> None:
    """One of two is off: nobody can tell which."""
    use(bench, "x")
    await told_at(bench, 100.0, "pi4-b", "pi4-a")
    load(bench, fell_to)
    assert by in (await confirm(bench)).detail


async def test_what_was_off_before_has_saved_nothing_since(bench: Workbench) -> None:
    """Only who went off meanwhile counts."""
    use(bench, "x")
    bench.going_off.asked.add("nas")
    bench.going_off.seen_off.add("nas")
    await told_at(bench, 100.0, "pi4-a")
    load(bench, 90.0)
    assert "load fell by 10 W" in (await confirm(bench)).detail


async def test_a_share_below_what_the_ups_tells_apart_is_no_evidence(bench: Workbench) -> None:
    """A hundredth of a large UPS is more than a small computer draws."""
    use(bench, "x")
    await told_at(bench, 100.0, "pi4-a")
    bench.watts["pi4-a"] = 3.0
    load(bench, 96.0)
    assert (await confirm(bench)).detail == "port refuses, no more time"


@pytest.mark.parametrize("before", [True, False])
async def test_a_ups_that_reports_no_load_says_nothing(bench: Workbench, before: bool) -> None:  # noqa: FBT001
    """Not even if it begins or ends to report it meanwhile."""
    use(bench, "x")
    await told_at(bench, 100.0, "pi4-a")
    if before:
        bench.load = None
    else:
        bench.load = None
        await bench.do(StepKind.POWEROFF, "pi4-a")
        load(bench, 50.0)
    assert (await confirm(bench)).detail == "port refuses, no more time"


# the rehearsal


async def test_a_rehearsal_tells_what_there_is_to_go_by(bench: Workbench, rack: MemoryRack) -> None:
    """A node that is not Ready is seen before the outage in which it would be no evidence."""
    bench.watts.update({"pi4-a": 10.0, "pi4-b": 3.0})
    load(bench, 100.0)
    rack.cluster.node_off("pi4-b")
    assert [(await bench.rehearse(StepKind.CONFIRM_OFF, name)).detail for name in ("pi4-a", "pi4-b")] == [
        "its SSH port answers; its node is Ready; its share of the load is seen",
        "its SSH port answers; its node is not Ready; its share of the load is too small to see",
    ]


async def test_a_rehearsal_tells_that_heartbeats_can_not_be_read(bench: Workbench, rack: MemoryRack) -> None:
    """After an upgrade the rights in the cluster are still those of before."""
    rack.cluster.faults.fail("heartbeats", "403 Forbidden to list leases")
    said = (await bench.rehearse(StepKind.CONFIRM_OFF, "pi4-a")).detail
    assert said.startswith("its SSH port answers; its node is Ready; its heartbeats can't be read (")
