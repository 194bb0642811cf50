"""How long does the battery last? A first model, for a UPS that does not say. Pure, time is an argument.

A small sealed lead-acid battery gives less charge the faster it is drawn: Peukert's law,
t = H * (C / (I * H)) ** k with H = 20 h, C the capacity at that rate, and k of 1.1 (new) to 1.3 (worn). We know neither
its state nor k, so three batteries are followed at once, a pessimistic, an expected and an optimistic one; the spread
between them is the uncertainty. The voltage under load can only make the pessimistic one emptier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from upsd.domain.power import RuntimeEstimate

if TYPE_CHECKING:
    from upsd.domain.power import Reading

_RATED_HOURS: Final = 20.0
_BLOCK_V: Final = 12.0
_MEAN_LOADED_V: Final = 11.6 / _BLOCK_V
# Open-circuit voltage of a 12 V block, empty and full, and the resistance of a worn 7 Ah one with its wiring.
_EMPTY_V: Final = 11.4
_FULL_V: Final = 12.7
_RESISTANCE_OHM_AH: Final = 0.05 * 7
# Right after the switch to battery the voltage dips and recovers; it says nothing about the charge before this.
_SETTLED_S: Final = 60.0
_LONGEST_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class BatteryFacts:
    """What is known of the battery: whole string in V and Ah, share of the capacity still there, inverter losses.

    `after_low_s` is for how long it is trusted once the UPS has said that it is low.
    """

    voltage_v: float
    capacity_ah: float
    health: float
    inverter_efficiency: float
    inverter_idle_w: float
    after_low_s: float = 120.0


@dataclass(frozen=True, slots=True)
class _Assumption:
    health_factor: float
    peukert: float
    recharge_s: float
    start_depth: float
    """How empty it is taken to be when nothing says that it is charged."""


_PESSIMISTIC: Final = _Assumption(health_factor=0.8, peukert=1.3, recharge_s=12 * 3600, start_depth=0.3)
_EXPECTED: Final = _Assumption(health_factor=1.0, peukert=1.2, recharge_s=8 * 3600, start_depth=0.1)
_OPTIMISTIC: Final = _Assumption(health_factor=1.25, peukert=1.1, recharge_s=5 * 3600, start_depth=0.0)


@dataclass(frozen=True, slots=True)
class Charge:
    """How empty each of the three batteries is at loop time `at`: 0 is full, 1 is empty at the present rate."""

    at: float
    pessimistic: float = _PESSIMISTIC.start_depth
    expected: float = _EXPECTED.start_depth
    optimistic: float = _OPTIMISTIC.start_depth


def full_runtime_s(facts: BatteryFacts, watts: float) -> RuntimeEstimate:
    """Seconds from full to empty at this load."""
    return RuntimeEstimate(
        expected_s=_full_s(facts, _EXPECTED, watts),
        low_s=_full_s(facts, _PESSIMISTIC, watts),
        high_s=_full_s(facts, _OPTIMISTIC, watts),
        source="model",
    )


def discharge(charge: Charge, now: float, watts: float, facts: BatteryFacts) -> Charge:
    """The charge after the time since `charge.at` on battery at this load."""
    elapsed = max(0.0, now - charge.at)
    full = full_runtime_s(facts, watts)
    return Charge(
        at=now,
        pessimistic=min(1.0, charge.pessimistic + elapsed / full.low_s),
        expected=min(1.0, charge.expected + elapsed / full.expected_s),
        optimistic=min(1.0, charge.optimistic + elapsed / full.high_s),
    )


def recharge(charge: Charge, now: float, *, charged: bool) -> Charge:
    """The charge after the time since `charge.at` on mains; a UPS that says "charged" is believed."""
    if charged:
        return Charge(at=now, pessimistic=0.0, expected=0.0, optimistic=0.0)
    elapsed = max(0.0, now - charge.at)
    return Charge(
        at=now,
        pessimistic=max(0.0, charge.pessimistic - elapsed / _PESSIMISTIC.recharge_s),
        expected=max(0.0, charge.expected - elapsed / _EXPECTED.recharge_s),
        optimistic=max(0.0, charge.optimistic - elapsed / _OPTIMISTIC.recharge_s),
    )


def depth_by_voltage(facts: BatteryFacts, voltage_v: float, watts: float) -> float:
    """How empty the battery looks by its voltage under this load, 0 to 1."""
    blocks = max(1.0, facts.voltage_v / _BLOCK_V)
    current_a = _battery_w(facts, watts) / max(voltage_v, 1.0)
    open_circuit_v = voltage_v / blocks + current_a * _RESISTANCE_OHM_AH / facts.capacity_ah
    return min(1.0, max(0.0, (_FULL_V - open_circuit_v) / (_FULL_V - _EMPTY_V)))


def estimate(
    charge: Charge, watts: float, facts: BatteryFacts, *, reading: Reading | None, on_battery_s: float | None
) -> RuntimeEstimate:
    """How long the battery still lasts at this load.

    Args:
        charge: how empty it is now.
        watts: what hangs on the outlets.
        facts: what is known of it.
        reading: the newest reading, if it is fresh.
        on_battery_s: how long it has been discharging; `None` on mains.
    """
    full = full_runtime_s(facts, watts)
    worst_depth = charge.pessimistic
    if reading and reading.battery_voltage_v and on_battery_s is not None and on_battery_s > _SETTLED_S:
        worst_depth = max(worst_depth, depth_by_voltage(facts, reading.battery_voltage_v, watts))
    low_s = full.low_s * (1 - worst_depth)
    expected_s = max(low_s, full.expected_s * (1 - charge.expected))
    high_s = max(expected_s, full.high_s * (1 - charge.optimistic))
    told_s = None if reading is None else reading.runtime_s
    if told_s is not None and told_s < low_s:
        return RuntimeEstimate(expected_s=min(told_s, expected_s), low_s=told_s, high_s=high_s, source="ups")
    return RuntimeEstimate(expected_s=expected_s, low_s=low_s, high_s=high_s, source="model")


def _battery_w(facts: BatteryFacts, watts: float) -> float:
    return max(1.0, watts / facts.inverter_efficiency + facts.inverter_idle_w)


def _full_s(facts: BatteryFacts, assumption: _Assumption, watts: float) -> float:
    current_a = _battery_w(facts, watts) / (facts.voltage_v * _MEAN_LOADED_V)
    capacity_ah = facts.capacity_ah * min(1.0, facts.health * assumption.health_factor)
    hours = _RATED_HOURS * math.pow(capacity_ah / (current_a * _RATED_HOURS), assumption.peukert)
    return min(_LONGEST_S, hours * 3600)
