"""May the battery be tested now, and what did a test show? Pure.

A small Riello has one test: it lives on its battery for some seconds and says nothing of the outcome. So the outcome is
judged from what the readings show meanwhile.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.power import Reading

_MAINS_V: Final = 100
_FULL_ENOUGH_PERCENT: Final = 90
_BLOCK_V: Final = 12.0
# Under a rack's load a sound 12 V block stays well above these in its first seconds.
_WEAK_BLOCK_V: Final = 11.0
_WORN_OUT_BLOCK_V: Final = 10.5


class BatteryTestOutcome(enum.StrEnum):
    """How a battery test ended, in the words of NUT's `ups.test.result`."""

    PASSED = "Done and passed"
    WEAK = "Done and warning"
    FAILED = "Done and error"
    ABORTED = "Aborted"
    UNKNOWN = "No result"


@dataclass(frozen=True, slots=True)
class BatteryTestResult:
    """What a test showed; `lowest_voltage_v` is of the whole battery, `seconds` how long it was seen to last."""

    outcome: BatteryTestOutcome
    reason: str
    lowest_voltage_v: float | None
    seconds: float


def why_not_now(reading: Reading) -> str | None:
    """What speaks against a test, for a person; `None` if nothing does."""
    charge = reading.charge_percent
    reasons = (
        (reading.on_battery and not reading.test_in_progress, "the rack lives on its battery"),
        (reading.test_in_progress, "a test is in progress already"),
        (not reading.output_powered, "its outlets are off"),
        (reading.shutdown_active or reading.shutdown_imminent, "a switch-off of its outlets is scheduled"),
        (reading.overload, "it is overloaded"),
        (reading.on_bypass, "it runs on bypass"),
        (reading.failure or reading.locked, "it reports a failure"),
        (not _has_mains(reading), "its mains is not good enough to fall back on"),
        (
            charge is not None and charge < _FULL_ENOUGH_PERCENT,
            f"its battery is charged to {charge} % only; wait until it has {_FULL_ENOUGH_PERCENT} %",
        ),
    )
    return next((reason for speaks_against, reason in reasons if speaks_against), None)


def is_running(reading: Reading) -> bool:
    """Whether the battery is being tested: some units show it, of others it is seen that they leave good mains."""
    return reading.test_in_progress or (reading.on_battery and _has_mains(reading))


def judge(during: Sequence[Reading], after: Reading | None, nominal_v: float | None) -> BatteryTestResult:
    """What a test showed.

    Args:
        during: the readings that showed it running, in order.
        after: the first one that did not any more; `None` if its end was not seen.
        nominal_v: nominal voltage of the whole battery.
    """
    volts = [reading.battery_voltage_v for reading in during if reading.battery_voltage_v is not None]
    lowest_v = min(volts, default=None)
    seconds = round(during[-1].at - during[0].at, 1) if during else 0.0
    outcome, reason = _judgement(during, after, lowest_v, nominal_v or _BLOCK_V)
    return BatteryTestResult(outcome, reason, lowest_v, seconds)


def _judgement(
    during: Sequence[Reading], after: Reading | None, lowest_v: float | None, nominal_v: float
) -> tuple[BatteryTestOutcome, str]:
    if after is None:
        return (
            BatteryTestOutcome.UNKNOWN,
            "the UPS fell silent, or tests for too long: the end of the test was not seen",
        )
    if after.on_battery:
        return BatteryTestOutcome.ABORTED, "the mains went during the test"
    if after.replace_battery:
        return BatteryTestOutcome.FAILED, "the UPS asks for a new battery"
    if not during:
        return BatteryTestOutcome.UNKNOWN, "the UPS took the command and showed nothing of a test"
    if any(reading.battery_low for reading in during):
        return BatteryTestOutcome.FAILED, "the battery was low within seconds"
    block_v = None if lowest_v is None else lowest_v / max(1.0, nominal_v / _BLOCK_V)
    if block_v is not None and block_v < _WORN_OUT_BLOCK_V:
        return BatteryTestOutcome.FAILED, f"a 12 V block fell to {block_v:.1f} V: it is worn out"
    if block_v is not None and block_v < _WEAK_BLOCK_V:
        return BatteryTestOutcome.WEAK, f"a 12 V block fell to {block_v:.1f} V: it is weak"
    return BatteryTestOutcome.PASSED, "the battery held its voltage"


def _has_mains(reading: Reading) -> bool:
    return reading.input_voltage_v is None or reading.input_voltage_v >= _MAINS_V
