"""A battery that is discharged on purpose: refused where it is unwise, and ended with the rack still safe."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import Any

import pytest

from hardware_sim.memory_world import MemoryWorld
from hardware_sim.ups.battery import BatterySpec
from tests.discharges import Observer
from tests.sim.outages import WORKERS, Outage, living, rules, virtually
from tests.sim.test_short_outages import LOAD_W, learned
from upsd.ctl.calibrate import plug_goes_back, supervise
from upsd.domain.power import Reading
from upsd.shutdown.budget import critical_path_s
from upsd.status import state_document
from upsd.ups import calibration
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.history import BatteryHistory

LIMITS = {"safe_v": 11.4, "plug_back_before_start_s": 60.0}
PLUG_S = 20.0
"""How long a person needs to put it back."""
CHARGED = Reading(at=0.0, output_powered=True, on_battery=False, battery_low=False, charged=True, input_voltage_v=230)


@pytest.mark.parametrize(
    ("reading", "starts_in_s", "reason"),
    [
        (replace(CHARGED, on_battery=True, input_voltage_v=0), 600.0, "lives on its battery"),
        (replace(CHARGED, test_in_progress=True), 600.0, "a test is in progress"),
        (replace(CHARGED, charged=False), 600.0, "does not say that its battery is charged"),
        (replace(CHARGED, shutdown_active=True), 600.0, "a switch-off of its outlets is scheduled"),
        (CHARGED, 100.0, "a shutdown would start after 100 s"),
        (CHARGED, None, "set shutdown.auto"),
    ],
)
def test_it_is_refused_where_it_is_unwise(reading: Reading, starts_in_s: float | None, reason: str) -> None:
    """And the reason is told."""
    assert reason in str(calibration.why_not_now(reading, starts_in_s))


def test_a_charged_battery_that_carries_the_plan_may_be_calibrated() -> None:
    """Down to a voltage that is that of the whole string."""
    assert calibration.why_not_now(CHARGED, 600.0) is None
    assert calibration.limits(24.0).safe_v == pytest.approx(2 * calibration.limits(None).safe_v)


@functools.cache
def calibrated(*, puts_back: bool = True, known: BatteryHistory | None = None) -> tuple[Outage, list[dict[str, Any]]]:
    """A whole calibration of a battery of 9 Ah: the daemon, and the states that it showed every second."""
    shown: list[dict[str, Any]] = []
    found: list[Outage] = []
    virtually(_calibrate(found, shown, puts_back=puts_back, known=known or BatteryHistory()))
    return found[0], shown


async def _calibrate(
    found: list[Outage], shown: list[dict[str, Any]], *, puts_back: bool, known: BatteryHistory
) -> None:
    world = MemoryWorld(workers=WORKERS, battery=BatterySpec(capacity_ah=9.0))
    found.append(daemon := Outage(world, rules(), known=known))
    async with living(daemon):
        await asyncio.sleep(10.0)
        world.device.cut_mains()
        back_in_s = PLUG_S
        while world.on_when_cut is None and (shown[-1:] == [] or shown[-1]["power"] != "on_line" or back_in_s > 0):
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            at = f"2025-11-23T00:{int(now) // 60 % 60:02}:{int(now) % 60:02}Z"
            shown.append(state_document(daemon.supervisor.snapshot(now), at=at, now=now))
            if back_in_s < PLUG_S or (shown[-1]["power"] == "on_battery" and plug_goes_back(shown[-1], LIMITS)):
                back_in_s -= 1.0
            if puts_back and back_in_s <= 0:
                world.device.restore_mains()


def test_the_plug_goes_back_in_time() -> None:
    """No shutdown has begun, the UPS did not say low, and the plan with its reserve and margin still fits."""
    daemon, shown = calibrated()
    assert "shutdown_started" not in daemon.names()
    assert "battery_low" not in daemon.names()
    last = [state for state in shown if state["power"] == "on_battery"][-1]
    assert last["runtime"]["low_s"] > critical_path_s(daemon.conductor.plan) + daemon.trigger.reserve_s
    assert last["on_battery_s"] > 120


def test_it_teaches() -> None:
    """What is counted on afterwards is more than on the first day, and is kept for the next run of the daemon."""
    daemon, _ = calibrated()
    assert len(daemon.kept[-1].discharges) == 1
    fresh, taught = (_full_low_s(known) for known in (BatteryHistory(), daemon.kept[-1]))
    assert taught > 1.2 * fresh


def _full_low_s(known: BatteryHistory) -> float:
    """What is counted on of a full battery by who knows this of it."""
    observer = Observer(BatteryFacts(12.0, 7.0, 0.7, 0.8, 10.0), known)
    observer.charged(LOAD_W)
    return observer.watch.runtime(observer.now, LOAD_W, observer.facts, None).low_s


def test_the_operator_is_told_how_it_goes_and_when_to_act() -> None:
    """Voltage and times meanwhile, loudly at the end, and that it is over."""
    _, shown = calibrated()
    told: list[str] = []
    assert supervise(shown, LIMITS, told.append) is not None
    assert "on battery" in told[0]
    assert " V;" in told[0]
    assert told[-1] == "Mains is back."
    loud = [text for text in told if text.startswith("\aPUT THE PLUG BACK NOW")]
    assert len(loud) >= PLUG_S - 2
    assert told.index(loud[0]) < len(told) - len(loud)


def test_a_plug_that_is_not_put_back_is_an_outage() -> None:
    """The rack is shut down in order, and whoever supervises is told."""
    daemon, shown = calibrated(puts_back=False)
    assert "shutdown_started" in daemon.names()
    assert daemon.world.on_when_cut == []
    told: list[str] = []
    assert supervise(shown, LIMITS, told.append) is None
    assert "The shutdown has started" in told[-1]


def test_a_plug_that_is_never_pulled_ends_it() -> None:
    """Nobody waits for ever."""
    _, shown = calibrated()
    calm = [{**shown[-1], "at": f"2025-11-23T00:{minute:02}:00Z"} for minute in range(10)]
    told: list[str] = []
    assert supervise(calm, LIMITS, told.append) is None
    assert told == ["The plug was not pulled: nothing was done."]


def test_a_battery_that_was_learned_is_used_further() -> None:
    """What is surely there needs no pessimism."""
    _, first_day = calibrated()
    _, known = calibrated(known=learned())
    assert known[-1]["at"] > first_day[-1]["at"]
