"""What does a discharge teach? Its voltages, and that its end was where the UPS said low. Pure.

The formula is not linear, so each suspicion is fitted in rounds, as the Kalman filter is iterated: each round is taken
about the outcome of the one before. A whole discharge counts as no more than a dozen measurements, because what the
formula can't follow is the same at neighbouring points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from upsd.ups.battery.chemistry import CAPACITY, LOW_BLOCK_V, LOW_V, TRAITS, Block, Use
from upsd.ups.battery.opinion import (
    IMPLAUSIBLE,
    UNTRIED,
    Misfit,
    Opinion,
    Suspicion,
    levelled,
    misfit_v,
    starting,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.ups.battery.chemistry import Traits
    from upsd.ups.battery.facts import BatteryFacts

_FORMULA_V: Final = 0.04
_MEASUREMENTS: Final = 12
_LOOKED_AT: Final = 14
_ROUNDS: Final = 6
_SETTLED: Final = 0.02
_FARTHEST: Final = 4.0
_END_V: Final = 0.02
_LOW_READING_V: Final = 0.1
_OTHER_DAY: Final = (0.03, 0.03, 0.02, 0.02, 0.03, 0.03, 0.03, 0.03, 0.04, 0.0)
"""By how much the same battery may be another one next time: warmer, under another load."""
_DOUBT_DAYS: Final = 500.0
"""How long a suspicion that was dropped stays so: batteries age."""
_CONTRADICTION: Final = 4.0
_BETTER: Final = math.log(1.25)
_HARDLY: Final = 0.01
_FEW: Final = 1.0
_LEARNED_FROM: Final = 0.3
"""A discharge tells of the capacity once it has gone so far."""
_LOW_UNIT: Final = tuple(1.0 if index == LOW_V else 0.0 for index in range(TRAITS))


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of a discharge: what it had done by then, the current, and the voltage of a block."""

    use: Use
    current_a: float
    block_v: float


@dataclass(frozen=True, slots=True)
class Discharge:
    """One outage or battery test: date, length, mean load, whether the UPS said low at its end, how it went.

    `unsure` is which share of the charge may have been missing at its beginning.
    """

    date: str
    seconds: float
    watts: float
    unsure: float
    reached_low: bool
    points: tuple[Point, ...]

    def looked_at(self) -> tuple[Point, ...]:
        """Evenly spread points, the last one among them."""
        last = len(self.points) - 1
        count = min(_LOOKED_AT, len(self.points))
        return tuple(self.points[round(last * index / max(1, count - 1))] for index in range(count))


def learned(opinion: Opinion, discharge: Discharge, facts: BatteryFacts) -> Opinion:
    """What is thought of the battery after a discharge, as of the next one."""
    return kept_of(explained(opinion, discharge, facts), discharge, facts)


def explained(opinion: Opinion, discharge: Discharge, facts: BatteryFacts) -> Opinion:
    """The same opinion, fitted to a discharge."""
    return tuple(_fitted(each, discharge, facts) for each in starting(opinion, discharge.unsure))


def kept_of(fitted: Opinion, discharge: Discharge, facts: BatteryFacts) -> Opinion:
    """What of a fit holds for the next discharge."""
    return tuple(
        replace(each, belief=each.belief.vaguer(_OTHER_DAY), misfit=_misfit(each, discharge, facts))
        for each in levelled(fitted)
    )


def _misfit(each: Suspicion, discharge: Discharge, facts: BatteryFacts) -> Misfit:
    """What the formula could not follow this time, on top of what it could not before."""
    block, steps = each.block(facts), len(each.misfit) - 1
    sums, weights = [0.0] * (steps + 1), [_FEW] * (steps + 1)
    for point in discharge.points:
        exhaustion = block.exhaustion(point.use)
        left_v = point.block_v - block.voltage(exhaustion, point.current_a) - misfit_v(each.misfit, exhaustion)
        place = max(0.0, min(1.0, exhaustion)) * steps
        left = min(int(place), steps - 1)
        for index, weight in ((left, left + 1 - place), (left + 1, place - left)):
            sums[index] += weight * left_v
            weights[index] += weight
    return tuple(old + total / weight for old, total, weight in zip(each.misfit, sums, weights, strict=True))


def aged(opinion: Opinion, days: float) -> Opinion:
    """The same, some days later: what was ruled out may have come true since."""
    share = math.exp(-max(0.0, days) / _DOUBT_DAYS)
    return tuple(replace(each, evidence=each.evidence * share) for each in opinion)


def looks_better(before: Opinion, fitted: Opinion) -> bool:
    """Whether the known battery had to be made a better one to explain a discharge, so that it may be another one."""
    gained = _share(max(fitted, key=_likelihood)) - _share(max(before, key=_likelihood))
    return gained > _BETTER / 2


def contradicts(before: Opinion, fitted: Opinion, fresh: Opinion) -> bool:
    """Whether a better battery that nothing is known of explains a discharge better than the one that was learned.

    Args:
        before: what was thought of the known one.
        fitted: that, fitted to the discharge.
        fresh: what is thought of an unknown battery, fitted to it.
    """
    known, other = max(fitted, key=_likelihood), max(fresh, key=_likelihood)
    gained = _share(other) - _share(max(before, key=_likelihood))
    return other.likelihood - known.likelihood > _CONTRADICTION and gained > _BETTER


def tells_capacity(discharge: Discharge, opinion: Opinion, facts: BatteryFacts) -> bool:
    """Whether it went on for long enough to say what the battery holds."""
    if discharge.reached_low:
        return True
    likeliest = max(opinion, key=lambda each: each.evidence).block(facts)
    return bool(discharge.points) and likeliest.exhaustion(discharge.points[-1].use) > _LEARNED_FROM


def capacity_share(opinion: Opinion) -> float:
    """What the battery gives until its weakest cell is empty, as a share of what a new one gives."""
    return math.exp(_share(max(opinion, key=lambda each: each.evidence)))


def _likelihood(each: Suspicion) -> float:
    return each.likelihood


def _share(each: Suspicion) -> float:
    return each.belief.mean[CAPACITY] + math.log(each.weakest)


def _fitted(each: Suspicion, discharge: Discharge, facts: BatteryFacts) -> Suspicion:
    points = discharge.looked_at()
    deviation_v = _FORMULA_V * max(1.0, math.sqrt(len(points) / _MEASUREMENTS))
    about = _first_guess(each, discharge, facts)
    fitted = each
    for _ in range(_ROUNDS):
        fitted = _round(each, about, points, discharge, deviation_v, facts)
        before, about = (
            about,
            tuple(
                max(mean - _FARTHEST * spread, min(mean + _FARTHEST * spread, value))
                for value, mean, spread in zip(fitted.belief.mean, each.belief.mean, UNTRIED, strict=True)
            ),
        )
        if max(abs(value - old) for value, old in zip(about, before, strict=True)) < _SETTLED:
            break
    return fitted


def _first_guess(each: Suspicion, discharge: Discharge, facts: BatteryFacts) -> Traits:
    """The battery whose plates were as empty as they must have been when the UPS said low."""
    if not discharge.reached_low:
        return each.belief.mean
    block, last = each.block(facts), discharge.points[-1]
    when_low = max(_HARDLY, block.exhaustion_when_low(last.current_a))
    larger = math.log(max(_HARDLY, block.exhaustion(last.use)) / when_low)
    return tuple(value + (larger if index == CAPACITY else 0.0) for index, value in enumerate(each.belief.mean))


def _round(
    each: Suspicion,
    about: Traits,
    points: Sequence[Point],
    discharge: Discharge,
    deviation_v: float,
    facts: BatteryFacts,
) -> Suspicion:
    block = Block.of(about, facts.capacity_ah, each.weakest)
    belief, likelihood = each.belief, each.evidence
    for point in points:
        gradient = block.gradient(point.use, point.current_a)
        exhaustion = block.exhaustion(point.use)
        offset_v = point.block_v - block.voltage(exhaustion, point.current_a) - misfit_v(each.misfit, exhaustion)
        surprise_v = offset_v - _ahead(gradient, belief.mean, about)
        variance = max(0.0, belief.variance(gradient)) + deviation_v**2
        likelihood -= 0.5 * (math.log(variance / deviation_v**2) + surprise_v**2 / variance)
        belief = belief.told(gradient, surprise_v, deviation_v)
    if discharge.reached_low and points:
        last = points[-1]
        above = tuple(
            value - low for value, low in zip(block.gradient(last.use, last.current_a), _LOW_UNIT, strict=True)
        )
        offset_v = block.low_v - block.voltage(block.exhaustion(last.use), last.current_a)
        belief = belief.told(above, offset_v - _ahead(above, belief.mean, about), _END_V)
        belief = belief.told(_LOW_UNIT, last.block_v - LOW_BLOCK_V - belief.mean[LOW_V], _LOW_READING_V)
    return replace(each, evidence=max(each.evidence + 20 * IMPLAUSIBLE, likelihood), belief=belief)


def _ahead(gradient: Traits, mean: Traits, about: Traits) -> float:
    """What the belief already says beyond the point that the formula was taken about."""
    return sum(slope * (value - origin) for slope, value, origin in zip(gradient, mean, about, strict=True))
