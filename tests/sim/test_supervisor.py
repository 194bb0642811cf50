"""What the supervisor makes of readings that can't be trusted."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from hardware_sim.memory_world import MemoryWorld
from tests.identities import IPLUG
from tests.sim.outages import Outage, rules
from upsd.domain.power import OutputLoad, Reading
from upsd.shutdown.phase import Phase
from upsd.shutdown.records import Unfinished, replay, replay_lost_at


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


async def test_no_shutdown_starts_on_a_reading_that_says_that_the_mains_is_back(outage: Outage) -> None:
    """It takes two of them to end an outage, and only one more on battery to go on with it."""
    outage.supervisor.hear(on_battery(15.0, runtime_s=0))
    outage.supervisor.hear(on_battery(16.0, runtime_s=0))
    outage.supervisor.hear(replace(on_battery(17.0, runtime_s=0), on_battery=False, input_voltage_v=230))
    assert "shutdown_started" not in outage.names()
    outage.supervisor.hear(on_battery(18.0, runtime_s=0))
    assert "shutdown_started" in outage.names()
    await outage.conductor.close()


async def test_unknown_supply_shows_no_old_reading(outage: Outage) -> None:
    """A figure that is not known any more is not shown as if it were."""
    outage.supervisor.tick(20.0)
    snapshot = outage.supervisor.snapshot(20.0)
    assert snapshot.power == "unknown"
    assert snapshot.reading is None
    assert snapshot.on_battery_s == pytest.approx(10.0)


async def test_the_load_is_what_the_ups_says_of_it_and_only_while_it_is_heard(outage: Outage) -> None:
    """Whether a machine is off hangs on it: a UPS that reports none delivers an unknown load, and not none."""
    assert outage.supervisor.output_load() is None
    outage.supervisor.identity = IPLUG
    outage.supervisor.hear(on_battery(15.0))
    assert outage.supervisor.output_load() is None
    for percent, watts in ((10, 48.0), (0, 0.0)):
        outage.supervisor.hear(replace(on_battery(16.0), load_percent=percent))
        assert outage.supervisor.output_load() == OutputLoad(16.0, watts, 4.8)
    outage.supervisor.tick(60.0)
    assert outage.supervisor.output_load() is None


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
            Reading(
                at=float(at),
                output_powered=True,
                on_battery=False,
                battery_low=False,
                charged=True,
                input_voltage_v=230,
            )
        )
    async with asyncio.timeout(1000):
        while outage.conductor.phase is not Phase.IDLE:  # noqa: ASYNC110  # its time jumps
            await asyncio.sleep(1)
    assert "shutdown_resumed" not in outage.names()
    assert not any(what.startswith("poweroff") for what in outage.world.rack.did())


def _unfinished(*more: dict[str, object]) -> Unfinished:
    records = [
        {"record": "outage", "outage": "o1", "reason": "latest-safe-start", "boot_id": "boot"},
        {"record": "step", "step": "cordon", "state": "running", "commits": False},
        *more,
    ]
    found = replay(json.dumps(record) for record in records)
    assert found
    return found


async def test_a_shutdown_goes_on_in_the_dark_if_the_mains_was_away_when_the_ups_was_last_heard() -> None:
    """A cable that fell out and a daemon that was killed, both in one outage, must not cost the rack its data."""
    outage = Outage(MemoryWorld(), rules(), unfinished=_unfinished(), lost_at=-60.0)
    outage.supervisor.tick(29.0)
    assert outage.conductor.phase is Phase.IDLE
    outage.supervisor.tick(31.0)
    assert outage.names()[-1] == "shutdown_resumed"
    await outage.conductor.close()


async def test_a_shutdown_in_the_dark_has_no_more_battery_than_one_that_is_seen() -> None:
    """Its deadlines come from what the battery must have given since the mains went, and the UPS may come back."""
    dark = Outage(MemoryWorld(), rules(), unfinished=_unfinished(), lost_at=-60.0)
    dark.supervisor.tick(31.0)
    seen = Outage(MemoryWorld(), rules(), unfinished=_unfinished(), lost_at=-60.0)
    for at in range(28, 32):
        seen.supervisor.hear(on_battery(float(at)))
    assert dark.supervisor.battery_end_at(31.0) == pytest.approx(seen.supervisor.battery_end_at(31.0), abs=30)
    for at in range(32, 40):
        for outage in (dark, seen):
            outage.supervisor.hear(on_battery(float(at)))
    assert dark.supervisor.snapshot(40.0).on_battery_s == 100.0
    assert dark.supervisor.battery_end_at(40.0) == pytest.approx(seen.supervisor.battery_end_at(40.0), abs=30)
    for outage in (dark, seen):
        await outage.conductor.close()


async def test_one_reading_on_mains_ends_no_outage_in_the_dark() -> None:
    """Nor does the next run of the daemon take it for ended."""
    outage = Outage(MemoryWorld(), rules(), unfinished=_unfinished(), lost_at=-60.0)
    outage.supervisor.tick(31.0)
    outage.supervisor.hear(replace(on_battery(32.0), on_battery=False, input_voltage_v=230))
    await asyncio.sleep(0.1)
    assert "mains_back" not in outage.names()
    assert "supply" not in [record["record"] for record in outage.journal.records]
    outage.supervisor.hear(replace(on_battery(33.0), on_battery=False, input_voltage_v=230))
    await asyncio.sleep(0.1)
    assert "mains_back" in outage.names()
    assert "supply" in [record["record"] for record in outage.journal.records]
    await outage.conductor.close()


async def test_an_outage_that_is_confirmed_in_silence_lives_through_a_restart() -> None:
    """Of a UPS that was never heard again after the loss: the next run goes on, instead of waiting for ever."""
    outage = Outage(MemoryWorld(), rules(on_battery_s=10.0))
    outage.supervisor.hear(replace(on_battery(0.0), on_battery=False, input_voltage_v=230))
    outage.supervisor.hear(on_battery(1.0))
    for at in range(2, 20):
        outage.supervisor.tick(float(at))
    assert "shutdown_started" in outage.names()
    await asyncio.sleep(1)
    await outage.conductor.close()
    after = outage.next_run("boot")
    now = asyncio.get_running_loop().time()
    after.supervisor.tick(now + 31.0)
    assert "shutdown_resumed" in after.names()
    await after.conductor.close()


@pytest.mark.parametrize(
    ("lost_at", "more"), [(None, ()), (-60.0, ({"record": "undoing", "outage": "o1"},))], ids=["on mains", "undone"]
)
async def test_nothing_goes_on_in_the_dark_that_the_mains_had_ended(
    lost_at: float | None, more: tuple[dict[str, object], ...]
) -> None:
    """What an earlier run knew of the mains counts as long as nobody says otherwise."""
    outage = Outage(MemoryWorld(), rules(), unfinished=_unfinished(*more), lost_at=lost_at)
    outage.supervisor.tick(1000.0)
    assert outage.conductor.phase is Phase.IDLE
    assert "shutdown_resumed" not in outage.names()


async def test_nothing_goes_on_in_the_dark_once_the_ups_has_said_that_there_is_mains() -> None:
    """Once is enough for that, though not for more."""
    outage = Outage(MemoryWorld(), rules(), unfinished=_unfinished(), lost_at=-60.0)
    outage.supervisor.hear(replace(on_battery(1.0), on_battery=False, input_voltage_v=230))
    outage.supervisor.tick(1000.0)
    assert "shutdown_resumed" not in outage.names()


async def test_workers_that_were_to_go_off_early_are_left_on_in_the_dark() -> None:
    """Shedding saves nobody's data, and a drill even less."""
    unfinished = Unfinished("o1", "drill", "boot", shed=frozenset({"pi3"}), only_shed=True)
    outage = Outage(MemoryWorld(), rules(), unfinished=unfinished, lost_at=-60.0)
    outage.supervisor.tick(1000.0)
    assert outage.conductor.phase is Phase.IDLE


async def test_a_plan_that_takes_longer_than_it_did_has_to_start_earlier(outage: Outage) -> None:
    """What was learned of its steps counts from the moment at which it is known."""
    before = outage.supervisor.would_start_in_s(12.0)
    slower = [replace(step, expected_s=step.expected_s + 10.0) for step in outage.conductor.plan.steps]
    outage.conductor.plan = replace(outage.conductor.plan, steps=tuple(slower))
    after = outage.supervisor.would_start_in_s(12.0)
    assert before is not None
    assert after is not None
    assert after < before - 10.0


async def test_a_battery_found_discharging_is_not_taken_for_full() -> None:
    """After a restart in an outage nobody knows how long it has been discharging."""
    seen, found = Outage(MemoryWorld(), rules()), Outage(MemoryWorld(), rules())
    seen.supervisor.hear(replace(on_battery(0.0), on_battery=False, input_voltage_v=230))
    for outage in (seen, found):
        for at in range(1, 4):
            outage.supervisor.hear(replace(on_battery(float(at)), battery_voltage_v=12.6))
    assert found.supervisor.battery_end_at(3.0) < seen.supervisor.battery_end_at(3.0)
    await found.conductor.close()


@pytest.mark.parametrize(
    ("switched", "said", "reason"),
    [
        ({"charge_percent": 30}, {"charge_percent": 25}, "charge"),
        ({"auto": False, "runtime_s": 100.0}, {"runtime_s": 50}, "runtime"),
        ({}, {"shutdown_imminent": True}, "shutdown-imminent"),
    ],
)
async def test_what_the_ups_says_twice_starts_the_shutdown(
    switched: dict[str, Any], said: dict[str, Any], reason: str
) -> None:
    """And names why; once is not enough."""
    outage = Outage(MemoryWorld(), replace(rules(), **switched))
    outage.supervisor.hear(replace(on_battery(0.0), on_battery=False, input_voltage_v=230))
    for start in range(5):
        outage.supervisor.hear(on_battery(float(start), runtime_s=3600))
    outage.supervisor.hear(replace(on_battery(5.0, runtime_s=3600), **said))
    outage.supervisor.hear(on_battery(6.0, runtime_s=3600))
    assert outage.conductor.phase is Phase.IDLE
    for at in (7.0, 8.0, 9.0):
        outage.supervisor.hear(replace(on_battery(at, runtime_s=3600), **said))
    assert outage.conductor.reason == reason
    await outage.conductor.close()


async def test_a_ups_that_falls_silent_on_battery_starts_the_shutdown_if_that_is_wanted() -> None:
    """But not while it is heard now and then."""
    outage = Outage(MemoryWorld(), replace(rules(auto=False), silence_s=30.0))
    for start in range(5):
        outage.supervisor.hear(on_battery(float(start)))
    for at in range(5, 30):
        outage.supervisor.tick(float(at))
    outage.supervisor.hear(on_battery(30.0))
    for at in range(31, 60):
        outage.supervisor.tick(float(at))
    assert outage.conductor.phase is Phase.IDLE
    outage.supervisor.tick(60.0)
    outage.supervisor.tick(61.0)
    assert outage.conductor.reason == "communication-lost"
    await outage.conductor.close()


async def test_a_silent_ups_on_mains_starts_nothing() -> None:
    """A cable that was pulled out is no outage."""
    outage = Outage(MemoryWorld(), replace(rules(), silence_s=30.0))
    outage.supervisor.hear(replace(on_battery(0.0), on_battery=False, input_voltage_v=230))
    for at in range(1, 1000):
        outage.supervisor.tick(float(at))
    assert outage.conductor.phase is Phase.IDLE


def noted(outage: Outage) -> float | None:
    """What the journal says of the supply to the next run of the daemon."""
    return replay_lost_at([json.dumps(record) for record in outage.journal.records], "boot")


async def test_a_restart_in_an_outage_resets_no_clock() -> None:
    """The time on battery counts from the mains loss that an earlier run saw, and so does what was discharged."""
    triggers = rules(on_battery_s=300.0, auto=False)
    before = Outage(MemoryWorld(), triggers)
    for at in range(10):
        before.supervisor.hear(on_battery(float(at)))
    await asyncio.sleep(200)
    assert noted(before) == 0.0
    after, fresh = Outage(MemoryWorld(), triggers, lost_at=noted(before)), Outage(MemoryWorld(), triggers)
    for at in range(200, 210):
        after.supervisor.hear(on_battery(float(at)))
        fresh.supervisor.hear(on_battery(float(at)))
    assert after.supervisor.snapshot(209.0).on_battery_s == 209.0
    assert after.supervisor.runtime(209.0).low_s < fresh.supervisor.runtime(209.0).low_s - 100
    for at in range(300, 303):
        after.supervisor.hear(on_battery(float(at)))
    assert after.conductor.reason == "on-battery"
    await after.conductor.close()


async def test_an_outage_that_ended_meanwhile_is_over() -> None:
    """Also for the run after that."""
    after = Outage(MemoryWorld(), rules(on_battery_s=300.0), lost_at=0.0)
    after.supervisor.hear(replace(on_battery(1000.0), on_battery=False, input_voltage_v=230))
    for at in range(1001, 1010):
        after.supervisor.hear(on_battery(float(at)))
    assert after.conductor.phase is Phase.IDLE
    assert after.supervisor.snapshot(1009.0).on_battery_s == 8.0
    await asyncio.sleep(0)
    assert noted(after) == 1001.0


async def test_a_daemon_that_hears_nothing_after_a_restart_starts_nothing() -> None:
    """The mains may have come back long ago."""
    after = Outage(MemoryWorld(), rules(on_battery_s=300.0), lost_at=0.0)
    for at in range(1000, 1100):
        after.supervisor.tick(float(at))
    assert after.conductor.phase is Phase.IDLE


async def test_mains_back_is_written_down() -> None:
    """Whoever starts again then starts with a new clock."""
    outage = Outage(MemoryWorld(), rules())
    for at in range(10):
        outage.supervisor.hear(on_battery(float(at)))
    for at in range(10, 13):
        outage.supervisor.hear(replace(on_battery(float(at)), on_battery=False, input_voltage_v=230))
    await outage.conductor.close()
    assert [record["lost_at"] for record in outage.journal.records if record["record"] == "supply"] == [0.0, None]
    assert noted(outage) is None


@pytest.mark.parametrize(
    "line", ['{"record": "supply", "lost_at": "x", "boot_id": "boot"}', '{"record": "supply"', "[]"]
)
def test_a_torn_note_is_no_outage(line: str) -> None:
    """Nothing is made up of it."""
    assert replay_lost_at([line], "boot") is None


def test_what_another_boot_noted_does_not_count() -> None:
    """Its clock was another one."""
    line = json.dumps({"record": "supply", "lost_at": 5.0, "boot_id": "earlier"})
    assert replay_lost_at([line], "boot") is None
