"""Several k3s servers: they go off last, come back first, and the API is asked only while they have a quorum."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MASTER
from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import AN_HOUR_S, DyingNotes, Notes, Outage, living, rules
from upsd.control import ActError
from upsd.domain.plan import StepState
from upsd.drill_acts import drill_acts
from upsd.shutdown.phase import Phase
from upsd.shutdown.shedding import ShedGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


AGENTS = ("pi4-a", "pi4-b", "pi3")
SERVERS = ("pi5-a", "pi5-b")
FIRST_POWEROFF, RECORDS = 20, 52
"""At which of its records an outage powers the first machine off, and how many it writes until the outlets are cut."""


def rack_of(
    servers: Sequence[str] = SERVERS,
    *,
    shed: Sequence[str] = (),
    on_battery_s: float = 60.0,
    journal: Notes | None = None,
) -> Outage:
    """A rack with these servers beside the master, and each of `shed` as a group that goes off early."""
    groups = tuple(ShedGroup(name=name, workers=(name,), on_battery_s=20) for name in shed)
    world = MemoryWorld(workers=(*AGENTS, *servers), servers=servers)
    return Outage(world, rules(on_battery_s=on_battery_s), shedding=groups, journal=journal or Notes())


@contextlib.asynccontextmanager
async def without_mains(outage: Outage) -> AsyncIterator[MemoryWorld]:
    """The mains has gone."""
    async with living(outage):
        await asyncio.sleep(5)
        outage.world.device.cut_mains()
        yield outage.world


def go_down(outage: Outage, server: str) -> None:
    """Let a server be off for good."""
    outage.world.rack.hosts[server].off_at = -1.0
    outage.world.rack.cluster.node_off(server)


async def until_cut(outage: Outage) -> None:
    """Wait until the outlets are off."""
    assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)


def assert_servers_went_last(world: MemoryWorld, *, without: str = "") -> None:
    """Every agent was off before a server was asked, and nothing was asked of an API that had no quorum.

    The machine `without` whom it went is left alone.
    """
    rack = world.rack
    servers = [name for name in rack.hosts if name in rack.cluster.members and name != without]
    agents_off = max(rack.first(f"off {name}") for name in AGENTS if name != without)
    asked = min(rack.first(f"poweroff {name}") for name in servers)
    servers_off = max(rack.first(f"off {name}") for name in servers)
    then = ("unmount", "flush", f"poweroff {MASTER}")
    order = [agents_off, rack.first("snapshot"), asked, servers_off, *(rack.first(what) for what in then)]
    assert order == sorted(order)
    assert order[-1] < math.inf
    assert rack.cluster.unheard == []
    assert set(world.on_when_cut or ()) <= {without}


@pytest.mark.parametrize("servers", [("pi5-a",), SERVERS, (*SERVERS, "pi5-c"), (*SERVERS, "pi5-c", "pi5-d")])
async def test_agents_go_off_then_servers_then_the_master(servers: Sequence[str]) -> None:
    """With two, three, four and five of them, the master's included; the point of no return is an agent's power-off."""
    outage = rack_of(servers)
    async with without_mains(outage) as world:
        await until_cut(outage)
    assert_servers_went_last(world)
    commit = next(event for event in outage.events if event.name == "point_of_no_return")
    assert str(commit.fields["step"]).partition(" ")[2] in AGENTS


@pytest.mark.parametrize("hung", ["pi3", "pi5-a"])
@pytest.mark.parametrize("how", ["run", "*", "deaf"])
async def test_a_machine_that_hangs_changes_nothing_of_the_order(hung: str, how: str) -> None:
    """An agent or a server that takes no command, answers nothing, or says yes and stays up: the others go in order."""
    outage = rack_of()
    host = outage.world.rack.hosts[hung]
    if how == "deaf":
        host.deaf = 1000
    else:
        host.faults.hang(how)
    async with without_mains(outage) as world:
        await until_cut(outage)
    assert_servers_went_last(world, without=hung)
    assert world.on_when_cut == [hung]


async def test_a_server_that_was_down_before_the_outage_costs_nothing() -> None:
    """Two of three are a quorum: none of them goes off before the snapshot is taken."""
    outage = rack_of()
    go_down(outage, "pi5-b")
    async with without_mains(outage) as world:
        await until_cut(outage)
    assert_servers_went_last(world, without="pi5-b")


@pytest.mark.parametrize("record", range(FIRST_POWEROFF, RECORDS + 1))
async def test_a_daemon_killed_at_any_record_goes_on_in_order(record: int) -> None:
    """No agent is forgotten, no server asked early, and nothing asked of an API that has lost its quorum."""
    outage = rack_of(journal=(journal := DyingNotes(record)))
    async with without_mains(outage) as world:
        assert await world.until(journal.dead.is_set, AN_HOUR_S)
        journal.buried.set()
    after = outage.next_run("boot")
    async with living(after):
        await until_cut(after)
    assert_servers_went_last(world)


async def test_the_records_of_an_outage_are_as_many_as_are_killed_at() -> None:
    """So that the test above leaves out none, from the first power-off on."""
    outage = rack_of()
    async with without_mains(outage) as world:
        await until_cut(outage)
    steps = [str(record.get("step")) for record in outage.journal.records]
    assert (1 + steps.index(f"poweroff {AGENTS[0]}"), len(steps)) == (FIRST_POWEROFF, RECORDS)
    assert world.on_when_cut == []


async def test_an_agent_is_not_forgotten_by_a_daemon_that_was_killed_after_a_server_was_shed() -> None:
    """What a shutdown does before a server goes off is not done because that server went off early."""
    outage = rack_of(shed=["pi5-a"])
    async with without_mains(outage) as world:
        assert await world.until(lambda: outage.conductor.confirmed_off == {"pi5-a"}, 55)
        assert await world.until(lambda: outage.conductor.phase is Phase.SHUTTING_DOWN, 60)
        assert await world.until(lambda: "cordon" in outage.conductor.progress, 5)
    after = outage.next_run("boot")
    async with living(after):
        await until_cut(after)
    assert_servers_went_last(world, without="pi5-a")
    assert world.rack.did().count("poweroff pi5-a") == 1


async def test_a_server_that_was_shed_with_a_hung_drain_does_not_hold_up_the_snapshot() -> None:
    """Its node is not drained again: its pods can't end any more, and the snapshot would wait for them."""
    outage = rack_of(shed=["pi5-a"], on_battery_s=150)
    for pod in outage.world.rack.cluster.on("pi5-a"):
        outage.world.rack.cluster.broken.add(pod.full_name)
    async with without_mains(outage) as world:
        assert await world.until(lambda: outage.conductor.confirmed_off == {"pi5-a"}, 140)
        assert outage.conductor.progress["drain pi5-a"].state is StepState.TIMED_OUT
        await until_cut(outage)
    assert outage.conductor.progress["drain pi5-a"].detail == "done before"
    assert_servers_went_last(world, without="pi5-a")


async def test_no_shedding_takes_a_server_that_the_quorum_needs() -> None:
    """One is missing since the last outage, so the other one stays; the agent of the group goes."""
    outage = rack_of(shed=["pi5-a", "pi3"])
    go_down(outage, "pi5-b")
    outage.conductor.missing.add("pi5-b")
    async with without_mains(outage) as world:
        assert await world.until(lambda: outage.conductor.confirmed_off == {"pi3"}, 55)
        assert not world.rack.hosts["pi5-a"].off
        assert "cordon pi5-a" not in world.rack.did()
        assert outage.names().count("shedding_started") == 1


@pytest.mark.parametrize(
    ("servers", "missing", "why"),
    [
        (["pi5-a"], "", "without pi5-a there is no quorum of 2 k3s servers (with the master), and so no API"),
        (SERVERS, "pi5-b", "without pi5-a there is no quorum of 3 k3s servers (with the master), with pi5-b away, and"),
        (SERVERS, "", "say that you mean it with --yes"),
        (SERVERS, "pi3", "say that you mean it with --yes"),
    ],
)
async def test_no_drill_takes_the_quorum(servers: Sequence[str], missing: str, why: str) -> None:
    """Nobody could uncordon the node of a server whose power-off has taken the API."""
    outage = rack_of(servers)
    outage.conductor.missing.update([missing] if missing else [])
    async with living(outage):
        await asyncio.sleep(5)
        with pytest.raises(ActError) as refused:
            await drill_acts(outage.supervisor, outage.conductor)["drill"]({"worker": "pi5-a"})
    assert why in str(refused.value)


async def booted(outage: Outage) -> Outage:
    """The run after an outage, in which no machine starts by itself."""
    for host in outage.world.rack.hosts.values():
        host.starts_with_power = False
    async with without_mains(outage) as world:
        await until_cut(outage)
        world.device.restore_mains()
        assert await world.until(lambda: world.device.outlets.on, AN_HOUR_S)
    world.rack.cluster.unheard.clear()
    return outage.next_run("next boot")


async def test_servers_are_woken_before_agents() -> None:
    """And the agents when the API answers; in the end everything is as it was."""
    after = await booted(rack_of())
    rack = after.world.rack
    async with living(after):
        assert await after.world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
    servers_up = [rack.first(f"on {name}") + rack.hosts[name].boot_s for name in SERVERS]
    assert max(rack.first(f"wake {name}") for name in SERVERS) < min(servers_up)
    assert min(servers_up) <= min(rack.first(f"wake {name}") for name in AGENTS)
    assert after.conductor.progress["wait-quorum"].detail == "the API answers"
    assert rack.cluster.cordoned() == set()
    assert not any(host.off for host in rack.hosts.values())
    assert set(rack.cluster.unheard) == {"nodes"}


async def test_a_server_that_stays_off_keeps_no_agent_waiting() -> None:
    """Two of three answer; the one that is missing is named in the end."""
    after = await booted(rack_of())
    rack = after.world.rack
    rack.hosts["pi5-b"].wakes = False
    began = asyncio.get_running_loop().time()
    async with living(after):
        assert await after.world.until(lambda: "recovery_finished" in after.names(), AN_HOUR_S)
    assert max(rack.first(f"wake {name}") for name in AGENTS) < began + 60
    assert rack.cluster.cordoned() == set()
    assert after.conductor.missing == {"pi5-b"}


async def test_agents_are_woken_in_the_end_though_there_is_no_quorum() -> None:
    """Nothing waits for ever; what needs the API says so."""
    after = await booted(rack_of())
    rack = after.world.rack
    for name in SERVERS:
        rack.hosts[name].wakes = False
    async with living(after):
        assert await after.world.until(lambda: not rack.hosts["pi3"].off, AN_HOUR_S)
        quorum = after.conductor.progress["wait-quorum"]
        assert (quorum.state, quorum.detail) == (StepState.TIMED_OUT, "etcdserver: no leader")
