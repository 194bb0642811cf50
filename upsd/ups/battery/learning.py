"""What does a discharge teach? Its voltages, and that its end was where the UPS said low. Pure.

The formula is not linear, so each suspicion is fitted in rounds, as the Kalman filter is iterated: each round is taken
about the outcome of the one before, and a step that leads to a worse fit is halved (Gauss and Newton, damped). How
likely the suspicion then is follows from how well it fits, not from the straight lines on the way (Laplace). A whole
discharge counts as no more than a dozen measurements, because what the formula can't follow is the same at neighbouring
points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from upsd.ups.battery.chemistry import CAPACITY, LOW_BLOCK_V, LOW_UNIT, LOW_V, Block, Use
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

    from upsd.ups.battery.belief import Belief
    from upsd.ups.battery.chemistry import Traits
    from upsd.ups.battery.facts import BatteryFacts

_FORMULA_V: Final = 0.03
_MEASUREMENTS: Final = 12
_PARTS: Final = (*(index / 13 for index in range(11)), 0.82, 0.87, 0.91, 0.945, 0.975, 1.0)
"""Where a discharge is cut into pieces, each of which is kept as one point; shorter ones where the voltage bends."""
_ROUNDS: Final = 6
_SETTLED: Final = 0.1
_HALVED: Final = 5
_BELIEVED: Final = 0.4
"""How far a fit tells a weak cell from a small battery: what the formula can't follow favours one of them by chance."""
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
        """Means of neighbouring points, closer together at the end, where the voltage tells most; the last is kept."""
        if len(self.points) <= len(_PARTS):
            return self.points
        before, last = self.points[:-1], self.points[-1:]
        bounds = sorted({round(len(before) * part) for part in _PARTS})
        pieces = [before[left:right] for left, right in pairwise(bounds)]
        return (*(_mean(piece) for piece in pieces), *last)


def _mean(points: Sequence[Point]) -> Point:
    """The middle of some points; what was drawn until then grows about evenly."""
    count = len(points)
    drawn_ah, quick_ah, slow_ah, current_a, block_v = (
        sum(values) / count
        for values in zip(
            *((p.use.drawn_ah, p.use.quick_ah, p.use.slow_ah, p.current_a, p.block_v) for p in points), strict=True
        )
    )
    return Point(Use(drawn_ah, quick_ah, slow_ah), current_a, block_v)


def learned(opinion: Opinion, discharge: Discharge, facts: BatteryFacts) -> Opinion:
    """What is thought of the battery after a discharge, as of the next one."""
    return kept_of(explained(opinion, discharge, facts), discharge, facts)


# A discharge is fitted when it ends, to see whether the battery is another one, and again when it is learned from.
@lru_cache(maxsize=8)
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
    fit = _Fit(each, discharge, facts)
    about = fit.first_guess()
    cost = fit.cost(about)
    fitted, surer = fit.about(about)
    for _ in range(_ROUNDS):
        goal = tuple(
            max(mean - _FARTHEST * spread, min(mean + _FARTHEST * spread, value))
            for value, mean, spread in zip(fitted.mean, each.belief.mean, UNTRIED, strict=True)
        )
        # A whole step may lead too far where the voltage breaks down.
        for _ in range(_HALVED):
            new_cost = fit.cost(goal)
            if new_cost <= cost:
                break
            goal = tuple((value + origin) / 2 for value, origin in zip(goal, about, strict=True))
        else:
            break
        gained, about, cost = cost - new_cost, goal, new_cost
        fitted, surer = fit.about(about)
        if gained < _SETTLED:
            break
    likelihood = each.evidence - 0.5 * _BELIEVED * (cost + surer)
    belief = replace(fitted, mean=about)
    return replace(each, evidence=max(each.evidence + 20 * IMPLAUSIBLE, likelihood), belief=belief)


class _Fit:
    """One suspicion and one discharge: how well traits explain it, and which would do so better."""

    def __init__(self, each: Suspicion, discharge: Discharge, facts: BatteryFacts) -> None:
        self._each = each
        self._discharge = discharge
        self._facts = facts
        self._points = discharge.looked_at()
        self._deviation_v = _FORMULA_V * max(1.0, math.sqrt(len(self._points) / _MEASUREMENTS))
        self._precision = each.belief.precision()

    def first_guess(self) -> Traits:
        """The battery whose plates were as empty as they must have been when the UPS said low."""
        mean = self._each.belief.mean
        if not self._discharge.reached_low:
            return mean
        block, last = self._each.block(self._facts), self._discharge.points[-1]
        when_low = max(_HARDLY, block.exhaustion_when_low(last.current_a))
        larger = math.log(max(_HARDLY, block.exhaustion(last.use)) / when_low)
        return tuple(value + (larger if index == CAPACITY else 0.0) for index, value in enumerate(mean))

    def cost(self, traits: Traits) -> float:
        """By how many deviations they miss what was seen and what was believed, as a sum of squares."""
        block = self._block(traits)
        off = [value - mean for value, mean in zip(traits, self._each.belief.mean, strict=True)]
        total = sum(
            value * sum(part * other for part, other in zip(row, off, strict=True))
            for value, row in zip(off, self._precision, strict=True)
        )
        total += sum((self._missed_v(block, point) / self._deviation_v) ** 2 for point in self._points)
        if self._discharge.reached_low:
            last = self._points[-1]
            total += ((block.low_v - block.voltage(block.exhaustion(last.use), last.current_a)) / _END_V) ** 2
            total += ((last.block_v - block.low_v) / _LOW_READING_V) ** 2
        return total

    def about(self, about: Traits) -> tuple[Belief, float]:
        """The belief after the discharge, its formula taken as straight about some traits.

        And how much surer it became (twice the logarithm of the volume), which counts against a suspicion that fits
        anything.
        """
        block, belief, surer = self._block(about), self._each.belief, 0.0
        for point in self._points:
            gradient = block.gradient(point.use, point.current_a)
            surprise_v = self._missed_v(block, point) - _ahead(gradient, belief.mean, about)
            belief, variance = belief.weighed(gradient, surprise_v, self._deviation_v)
            surer += math.log1p(max(0.0, variance) / self._deviation_v**2)
        if self._discharge.reached_low:
            last = self._points[-1]
            above = tuple(
                value - low for value, low in zip(block.gradient(last.use, last.current_a), LOW_UNIT, strict=True)
            )
            offset_v = block.low_v - block.voltage(block.exhaustion(last.use), last.current_a)
            belief, variance = belief.weighed(above, offset_v - _ahead(above, belief.mean, about), _END_V)
            surer += math.log1p(max(0.0, variance) / _END_V**2)
            missed_v = last.block_v - LOW_BLOCK_V - belief.mean[LOW_V]
            belief, variance = belief.weighed(LOW_UNIT, missed_v, _LOW_READING_V)
            surer += math.log1p(max(0.0, variance) / _LOW_READING_V**2)
        return belief, surer

    def _block(self, traits: Traits) -> Block:
        return Block.of(traits, self._facts.capacity_ah, self._each.weakest)

    def _missed_v(self, block: Block, point: Point) -> float:
        exhaustion = block.exhaustion(point.use)
        return point.block_v - block.voltage(exhaustion, point.current_a) - misfit_v(self._each.misfit, exhaustion)


def _ahead(gradient: Traits, mean: Traits, about: Traits) -> float:
    """What the belief already says beyond the point that the formula was taken about."""
    return sum(slope * (value - origin) for slope, value, origin in zip(gradient, mean, about, strict=True))
