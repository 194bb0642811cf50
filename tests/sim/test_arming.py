"""A daemon that is not armed starts nothing by itself, says so loudly, and still finishes what has begun."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import AN_HOUR_S, WORKERS, Outage, living, rules
from upsd.domain.power import Severity
from upsd.shutdown.journal import Unfinished
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from upsd.domain.power import Event


def withheld(outage: Outage) -> list[Event]:
    """What it says in place of starting."""
    return [event for event in outage.events if event.name == "shutdown_withheld"]


async def test_unarmed_it_tells_every_minute_what_it_would_have_done_and_does_nothing() -> None:
    """Until the battery is empty, if nobody arms it."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=60.0), armed=False)
    async with living(outage):
        await asyncio.sleep(5.0)
        outage.world.device.cut_mains()
        await asyncio.sleep(60.0 + 185.0)
        told = withheld(outage)
        assert outage.world.rack.did() == []
        assert outage.supervisor.snapshot(asyncio.get_running_loop().time()).starts_in_s is None
    assert len(told) == 4
    assert {event.severity for event in told} == {Severity.CRITICAL}
    assert {event.fields["reason"] for event in told} == {"on-battery"}
    assert "shutdown_started" not in outage.names()
    assert [record["record"] for record in outage.journal.records] == ["supply"]


async def test_arming_in_the_middle_of_an_outage_starts_what_is_due() -> None:
    """The triggers were evaluated all the time."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=30.0), armed=False)
    async with living(outage):
        await asyncio.sleep(5.0)
        outage.world.device.cut_mains()
        await asyncio.sleep(60.0)
        assert withheld(outage)
        outage.armed = True
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []
    assert outage.names().count("shutdown_started") == 1


async def test_the_next_outage_is_told_at_once_again() -> None:
    """Two outages within a minute are two reasons to look."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=5.0), armed=False)
    async with living(outage):
        for count in (1, 2):
            await asyncio.sleep(5.0)
            outage.world.device.cut_mains()
            await asyncio.sleep(12.0)
            assert len(withheld(outage)) == count
            outage.world.device.restore_mains()


@pytest.mark.parametrize("armed", [False, True])
async def test_a_shutdown_that_has_begun_goes_on_whatever_the_arming_says(*, armed: bool) -> None:
    """Half a shutdown is worse than either."""
    began = Unfinished("outage-0", "on-battery", "boot", began=frozenset({"announce", "cordon"}))
    outage = Outage(MemoryWorld(workers=WORKERS), rules(), unfinished=began, lost_at=0.0, armed=armed)
    outage.world.device.cut_mains()
    async with living(outage):
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []
    assert "shutdown_resumed" in outage.names()
    assert withheld(outage) == []


async def test_disarming_does_not_stop_a_shutdown() -> None:
    """Nor does it start another one after an abort."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=10.0))
    async with living(outage):
        await asyncio.sleep(5.0)
        outage.world.device.cut_mains()
        assert await outage.world.until(lambda: outage.conductor.phase is Phase.SHUTTING_DOWN, 60.0)
        outage.armed = False
        assert await outage.world.until(lambda: outage.world.on_when_cut is not None, AN_HOUR_S)
    assert outage.world.on_when_cut == []


async def test_the_spare_time_of_the_battery_is_known_only_on_mains() -> None:
    """It says whether the shutdown would fit if the mains went now."""
    outage = Outage(MemoryWorld(workers=WORKERS), rules())
    assert outage.supervisor.spare_s(0.0) is None
    async with living(outage):
        await asyncio.sleep(5.0)
        spare_s = outage.supervisor.spare_s(asyncio.get_running_loop().time())
        assert spare_s is not None
        assert spare_s > 0
        outage.world.device.cut_mains()
        await asyncio.sleep(5.0)
        assert outage.supervisor.spare_s(asyncio.get_running_loop().time()) is None
