"""When the battery may be tested, and what a test showed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from upsd.domain.power import Reading
from upsd.ups.battery_test import BatteryTestOutcome, is_running, judge, why_not_now

CALM = Reading(
    at=0.0,
    output_powered=True,
    on_battery=False,
    battery_low=False,
    input_voltage_v=230,
    battery_voltage_v=13.5,
)


def running(at: float = 1.0, **changes: Any) -> Reading:
    """A reading during a test, as a unit that shows it gives it."""
    usual: dict[str, Any] = {"on_battery": True, "test_in_progress": True, "battery_voltage_v": 12.3}
    return replace(CALM, at=at, **(usual | changes))


def test_nothing_speaks_against_a_test_on_good_mains() -> None:
    """Nor does it when charge is not reported at all."""
    assert why_not_now(CALM) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"on_battery": True, "input_voltage_v": 0}, "the rack lives on its battery"),
        ({"on_battery": True, "test_in_progress": True}, "a test is in progress already"),
        ({"output_powered": False}, "its outlets are off"),
        ({"shutdown_active": True}, "a switch-off of its outlets is scheduled"),
        ({"shutdown_imminent": True}, "a switch-off of its outlets is scheduled"),
        ({"overload": True}, "it is overloaded"),
        ({"on_bypass": True}, "it runs on bypass"),
        ({"failure": True}, "it reports a failure"),
        ({"locked": True}, "it reports a failure"),
        ({"input_voltage_v": 80}, "its mains is not good enough to fall back on"),
        ({"charge_percent": 40}, "its battery is charged to 40 % only; wait until it has 90 %"),
    ],
    ids=str,
)
def test_an_unsafe_test_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    """Each of them by itself."""
    assert why_not_now(replace(CALM, **change)) == reason


def test_a_test_is_recognised_by_its_flag_or_by_good_mains_on_battery() -> None:
    """Some units don't show that they test; an outage is none."""
    assert is_running(running())
    assert is_running(running(test_in_progress=False))
    assert not is_running(running(test_in_progress=False, input_voltage_v=0))
    assert not is_running(CALM)


@pytest.mark.parametrize(
    ("during", "after", "nominal_v", "outcome"),
    [
        ([running(1), running(9)], CALM, 12, BatteryTestOutcome.PASSED),
        ([running(1), running(9, battery_voltage_v=10.9)], CALM, 12, BatteryTestOutcome.WEAK),
        ([running(1), running(9, battery_voltage_v=10.4)], CALM, 12, BatteryTestOutcome.FAILED),
        ([running(1, battery_voltage_v=21.8)], CALM, 24, BatteryTestOutcome.WEAK),
        ([running(1, battery_voltage_v=24.0)], CALM, 24, BatteryTestOutcome.PASSED),
        ([running(1, battery_low=True)], CALM, 12, BatteryTestOutcome.FAILED),
        ([running(1)], replace(CALM, replace_battery=True), 12, BatteryTestOutcome.FAILED),
        ([running(1)], replace(CALM, on_battery=True, input_voltage_v=0), 12, BatteryTestOutcome.ABORTED),
        ([], CALM, 12, BatteryTestOutcome.UNKNOWN),
        ([running(1)], None, 12, BatteryTestOutcome.UNKNOWN),
        ([running(1, battery_voltage_v=None)], CALM, 12, BatteryTestOutcome.PASSED),
    ],
)
def test_the_outcome_follows_from_what_was_seen(
    during: list[Reading], after: Reading | None, nominal_v: float, outcome: BatteryTestOutcome
) -> None:
    """The UPS itself says nothing of it."""
    assert judge(during, after, nominal_v).outcome is outcome


def test_a_ups_that_still_asks_for_a_new_battery_has_not_passed() -> None:
    """However well it held: who replaced it has to see the flag go."""
    worn = replace(CALM, replace_battery=True)
    assert judge([running()], worn, 12).outcome is BatteryTestOutcome.FAILED


def test_the_result_tells_the_lowest_voltage_and_the_time() -> None:
    """What a person compares with the last test."""
    result = judge([running(1.0), running(6.5, battery_voltage_v=11.9), running(10.4)], CALM, 12)
    assert (result.lowest_voltage_v, result.seconds) == (11.9, 9.4)
