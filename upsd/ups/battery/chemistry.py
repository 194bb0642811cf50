"""The voltage of a lead-acid block: what it must be when this much has been drawn, at this current. Pure.

What counts for the voltage is how exhausted the plates are, not how much was drawn: the acid in their pores follows
the bulk only with a lag (diffusion, of which the two slowest terms matter here). The open-circuit voltage falls with
the exhaustion as the acid thins, about in proportion, and by Nernst's logarithm at the end; the resistance rises
meanwhile. One cell may hold less than the others: when it is exhausted their current reverses it, and its voltage is
lost.

Sources: resting voltages (12.85 V full, 11.8 V at the knee) and resistance (0.02 ohm at 7 Ah, three to four times that
when empty) are those of data sheets of small standby batteries, and so is the discharge table (90 s at 48 A to 20 h at
0.36 A, of 7.2 Ah; to 10.8 V, where makers give it for 1.80 V a cell, 73 % of that time at 17 A and 96 % at 0.36 A) that
the lags and the usable share are fitted to: within 6 %, but for 25 A, where they are 14 % long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S: Final = 3600.0
FULL_BLOCK_V: Final = 12.85
LOW_BLOCK_V: Final = 10.8
_QUICK_S: Final = 420.0
_QUICK_GAIN: Final = 1.4
_SLOW_S: Final = 4800.0
_SLOW_GAIN: Final = 0.47
_USABLE: Final = 0.9
_SLOPE_V: Final = 1.0
_KNEE_V: Final = 0.14
_RESISTANCE_OHM_AH: Final = 0.15
_GROWTH: Final = 3.35
_ONE_CELL: Final = 1 / 6
_CELL_V: Final = 2.0
_REVERSAL: Final = 0.05
_ALMOST_EMPTY: Final = 0.97
_EMPTIER_THAN_EMPTY: Final = 1.2
_TRIES: Final = 12
_EXACT: Final = 1e-4
_EXACT_V: Final = 1e-3

CAPACITY, RESISTANCE, FULL_V, SLOPE, KNEE, QUICK, SLOW, GROWTH, LOW_V, START = range(10)
TRAITS: Final = 10
"""In what batteries differ, as numbers that are 0 for a new one of the nominal capacity.

They are logarithms of a factor, but `FULL_V` and `LOW_V` are volts on top, and `START` is how exhausted it was when the
discharge began.
"""
Traits = tuple[float, ...]
LOW_UNIT: Final[Traits] = tuple(1.0 if index == LOW_V else 0.0 for index in range(TRAITS))


@dataclass(frozen=True, slots=True)
class Use:
    """What a discharge has done: charge drawn, and by how much the acid in the plates lags, in two terms (all Ah)."""

    drawn_ah: float = 0.0
    quick_ah: float = 0.0
    slow_ah: float = 0.0

    def after(self, seconds: float, current_a: float) -> Use:
        """The same after some time at this current; without one, the lag levels out."""
        quick, slow = math.exp(-seconds / _QUICK_S), math.exp(-seconds / _SLOW_S)
        return Use(
            self.drawn_ah + current_a * seconds / HOUR_S,
            self.quick_ah * quick + current_a * (_QUICK_S / HOUR_S) * _QUICK_GAIN * (1.0 - quick),
            self.slow_ah * slow + current_a * (_SLOW_S / HOUR_S) * _SLOW_GAIN * (1.0 - slow),
        )

    def refilled(self, seconds: float, charge_a: float) -> Use:
        """The same after some time on the charger."""
        rested = self.after(seconds, 0.0)
        return Use(max(0.0, self.drawn_ah - charge_a * seconds / HOUR_S), rested.quick_ah, rested.slow_ah)


@dataclass(frozen=True, slots=True)
class Block:
    """One supposed 12 V block in ordinary units; `weakest` is what its weakest cell holds, as a share of the others."""

    capacity_ah: float
    resistance_ohm: float
    full_v: float
    slope_v: float
    knee_v: float
    quick: float
    slow: float
    growth: float
    low_v: float
    start: float
    weakest: float

    @classmethod
    def of(cls, traits: Traits, nominal_ah: float, weakest: float) -> Block:
        """The block with these traits."""
        share = math.exp(traits[CAPACITY])
        return cls(
            capacity_ah=_USABLE * nominal_ah * share,
            resistance_ohm=_RESISTANCE_OHM_AH / nominal_ah / share * math.exp(traits[RESISTANCE]),
            full_v=FULL_BLOCK_V + traits[FULL_V],
            slope_v=_SLOPE_V * math.exp(traits[SLOPE]),
            knee_v=_KNEE_V * math.exp(traits[KNEE]),
            quick=math.exp(traits[QUICK]),
            slow=math.exp(traits[SLOW]),
            growth=_GROWTH * math.exp(traits[GROWTH]),
            low_v=LOW_BLOCK_V + traits[LOW_V],
            start=traits[START],
            weakest=weakest,
        )

    def exhaustion(self, use: Use) -> float:
        """How exhausted the plates are, from 0 to 1, and above if they should be empty already."""
        lag_ah = self.quick * use.quick_ah + self.slow * use.slow_ah
        return self.start + (use.drawn_ah + lag_ah) / self.capacity_ah

    def voltage(self, exhaustion: float, current_a: float) -> float:
        """Voltage under load."""
        mean, logarithm = self._mean(exhaustion), self._logarithm(exhaustion)
        lost_v = _reversed_v(exhaustion / self.weakest) if self.weakest < 1 else 0.0
        open_circuit_v = self.full_v - self.slope_v * mean + self.knee_v * logarithm - lost_v
        return open_circuit_v - current_a * self.resistance_ohm * (1.0 + self.growth * mean)

    def gradient(self, use: Use, current_a: float) -> Traits:
        """By how much the voltage changes with each of the traits."""
        exhaustion, step = self.exhaustion(use), 1e-4
        rise_v = self.voltage(exhaustion + step, current_a) - self.voltage(exhaustion - step, current_a)
        slope = rise_v / (2 * step)
        mean, ohmic_v = self._mean(exhaustion), current_a * self.resistance_ohm
        return (
            ohmic_v * (1.0 + self.growth * mean) - slope * (exhaustion - self.start),
            -ohmic_v * (1.0 + self.growth * mean),
            1.0,
            -self.slope_v * mean,
            self.knee_v * self._logarithm(exhaustion),
            slope * self.quick * use.quick_ah / self.capacity_ah,
            slope * self.slow * use.slow_ah / self.capacity_ah,
            -ohmic_v * self.growth * mean,
            0.0,
            slope,
        )

    def seconds_until_low(self, use: Use, power_w: float) -> float:
        """How long this power can be drawn until the voltage falls to where the UPS says that it is low."""
        end, now = self.exhaustion_when_low(power_w / self.low_v), self.exhaustion(use)
        if now >= end:
            return 0.0
        now_v = max(self.low_v, self.voltage(max(0.0, now), power_w / self.full_v))
        current_a = 2.0 * power_w / (now_v + self.low_v)
        # The lag that is there may level out meanwhile, and add to what can be drawn.
        left_ah = (end - now) * self.capacity_ah + self.quick * use.quick_ah + self.slow * use.slow_ah
        longest_s = left_ah / current_a * HOUR_S
        # As `exhaustion(use.after(seconds, current_a))`, with all that does not change taken out.
        slope = current_a / HOUR_S / self.capacity_ah
        quick = self.quick * use.quick_ah / self.capacity_ah
        slow = self.slow * use.slow_ah / self.capacity_ah
        quick_steady = self.quick * slope * _QUICK_S * _QUICK_GAIN
        slow_steady = self.slow * slope * _SLOW_S * _SLOW_GAIN
        left = end - self.start - use.drawn_ah / self.capacity_ah - quick_steady - slow_steady
        quick_gap, slow_gap = quick_steady - quick, slow_steady - slow

        def unused(seconds: float) -> float:
            settled = quick_gap * math.exp(-seconds / _QUICK_S) + slow_gap * math.exp(-seconds / _SLOW_S)
            return left - slope * seconds + settled

        return _crossing(unused, 0.0, longest_s, _EXACT)

    def exhaustion_when_low(self, current_a: float) -> float:
        """How exhausted it is at this current when the UPS says that it is low."""
        return _exhaustion_when_low(self, current_a)

    def _mean(self, exhaustion: float) -> float:
        return (1 - _ONE_CELL) * exhaustion + _ONE_CELL * min(exhaustion / self.weakest, 1.1)

    def _logarithm(self, exhaustion: float) -> float:
        if self.weakest == 1.0:
            return _log_left(exhaustion)
        return (1 - _ONE_CELL) * _log_left(exhaustion) + _ONE_CELL * _log_left(exhaustion / self.weakest)


# It is asked for with the same figures several times in a row, by whoever looks at a battery from another side.
@lru_cache(maxsize=16)
def _exhaustion_when_low(block: Block, current_a: float) -> float:
    def above_v(exhaustion: float) -> float:
        return block.voltage(exhaustion, current_a) - block.low_v

    # The curve breaks where the weakest cell is as good as empty: each side alone is found sooner.
    knee = _ALMOST_EMPTY * block.weakest
    if above_v(knee) < 0.0:
        return _crossing(above_v, 0.0, knee, _EXACT_V)
    return _crossing(above_v, knee, _EMPTIER_THAN_EMPTY, _EXACT_V)


def _crossing(function: Callable[[float], float], low: float, high: float, exact: float) -> float:
    """Where a function that falls from above 0 comes so close to it, between two places at the farthest (Illinois)."""
    above, below = function(low), function(high)
    if above <= 0.0:
        return low
    if below >= 0.0:
        return high
    middle, moved = low, 0.0
    for _ in range(_TRIES):
        middle = (low * below - high * above) / (below - above)
        value = function(middle)
        if abs(value) < exact:
            break
        if value > 0.0:
            low, above, below = middle, value, below / 2 if moved > 0.0 else below
        else:
            high, below, above = middle, value, above / 2 if moved < 0.0 else above
        moved = value
    return middle


def _log_left(exhaustion: float) -> float:
    """Logarithm of what is left; straight on where nothing is, so that a wrong supposition can be seen and mended."""
    if exhaustion < _ALMOST_EMPTY:
        return math.log(1.0 - exhaustion)
    return math.log(1.0 - _ALMOST_EMPTY) - (exhaustion - _ALMOST_EMPTY) / (1.0 - _ALMOST_EMPTY)


def _reversed_v(exhaustion: float) -> float:
    return _CELL_V / (1.0 + math.exp(min(50.0, (1.0 - exhaustion) / _REVERSAL)))
