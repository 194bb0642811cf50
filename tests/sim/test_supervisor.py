"""What the supervisor makes of readings that can't be trusted."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import Outage, rules
from upsd.domain.power import Reading
from upsd.shutdown.conductor import Phase
from upsd.shutdown.journal import replay


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
    outage.supervisor.hear(replace(on_battery(9.0), on_battery=False, input_voltage_v=230))
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


async def test_silence_does_not_make_the_battery_fuller(outage: Outage) -> None:
    """What was known of it before the cable fell out still counts."""
    for at in range(100, 103):
        outage.supervisor.hear(replace(on_battery(float(at)), battery_voltage_v=12.3))
    before = outage.supervisor.battery_end_at(102.0)
    outage.supervisor.tick(120.0)
    assert outage.supervisor.view.silent
    assert outage.supervisor.battery_end_at(120.0) <= before
    await outage.conductor.close()


async def test_a_low_battery_shortens_the_deadlines(outage: Outage) -> None:
    """A model that still believes in many minutes is not asked any more."""
    for at in range(15, 18):
        outage.supervisor.hear(replace(on_battery(float(at), runtime_s=3600), battery_low=True))
    assert outage.supervisor.battery_end_at(17.0) <= 15.0 + 120.0
    assert "shutdown_started" in outage.names()
    await outage.conductor.close()


@pytest.mark.parametrize(("committed", "began"), [(False, "uncordon"), (True, "poweroff pi4-a")])
async def test_a_daemon_that_starts_on_mains_powers_nothing_off_that_was_being_undone(
    committed: bool,  # noqa: FBT001
    began: str,
) -> None:
    """A recovery that was interrupted by a restart is a recovery, not a reason to shut the rack down."""
    records = [
        {"record": "outage", "outage": "o1", "reason": "on-battery", "boot_id": "boot"},
        {"record": "step", "step": began, "state": "running", "commits": committed},
        {"record": "undoing", "outage": "o1"},
    ]
    outage = Outage(MemoryWorld(), rules(), unfinished=replay(json.dumps(record) for record in records))
    for at in range(5):
        outage.supervisor.hear(
            Reading(at=float(at), output_powered=True, on_battery=False, battery_low=False, input_voltage_v=230)
        )
    async with asyncio.timeout(1000):
        while outage.conductor.phase is not Phase.IDLE:  # noqa: ASYNC110  # its time jumps
            await asyncio.sleep(1)
    assert "shutdown_resumed" not in outage.names()
    assert not any(what.startswith("poweroff") for what in outage.world.rack.did())


async def test_a_battery_found_discharging_is_not_taken_for_full() -> None:
    """After a restart in an outage nobody knows how long it has been discharging."""
    seen, found = Outage(MemoryWorld(), rules()), Outage(MemoryWorld(), rules())
    seen.supervisor.hear(replace(on_battery(0.0), on_battery=False, input_voltage_v=230))
    for outage in (seen, found):
        for at in range(1, 4):
            outage.supervisor.hear(replace(on_battery(float(at)), battery_voltage_v=12.3))
    assert found.supervisor.battery_end_at(3.0) < seen.supervisor.battery_end_at(3.0)
    await found.conductor.close()
