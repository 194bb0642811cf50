"""What the supervisor makes of readings that can't be trusted."""

from __future__ import annotations

import asyncio

import pytest

from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import Outage, rules
from upsd.domain.power import Reading


def on_battery(at: float, runtime_s: int | None = None) -> Reading:
    """A UPS on battery that says how long it lasts."""
    return Reading(
        at=at, output_powered=True, on_battery=True, battery_low=False, input_voltage_v=0, runtime_s=runtime_s
    )


@pytest.fixture
async def outage() -> Outage:
    """An outage that is confirmed, of a UPS that reports plenty of runtime."""
    outage = Outage(MemoryWorld(), rules())
    await asyncio.sleep(10)
    for at in range(5):
        outage.supervisor.hear(on_battery(10.0 + at, runtime_s=3600))
    assert outage.names() == ["mains_lost", "outage_confirmed"]
    return outage


async def test_one_reading_with_no_runtime_left_changes_nothing(outage: Outage) -> None:
    """Neither the shutdown starts, nor do the deadlines of a running one collapse."""
    before = outage.supervisor.battery_end_at(14.0)
    outage.supervisor.hear(on_battery(15.0, runtime_s=0))
    assert outage.supervisor.battery_end_at(15.0) == pytest.approx(before, abs=5)
    outage.supervisor.hear(on_battery(16.0, runtime_s=3600))
    assert "shutdown_started" not in outage.names()


async def test_two_readings_with_no_runtime_left_start_the_shutdown(outage: Outage) -> None:
    """What the UPS says twice is believed."""
    for at in (15.0, 16.0, 17.0):
        outage.supervisor.hear(on_battery(at, runtime_s=0))
    assert outage.supervisor.battery_end_at(17.0) < 17.0
    assert "shutdown_started" in outage.names()
    await outage.conductor.close()


async def test_unknown_supply_shows_no_old_reading(outage: Outage) -> None:
    """A figure that is not known any more is not shown as if it were."""
    outage.supervisor.tick(20.0)
    snapshot = outage.supervisor.snapshot(20.0)
    assert snapshot.power == "unknown"
    assert snapshot.reading is None
    assert snapshot.on_battery_s == pytest.approx(10.0)
