"""Which battery is it? Several suspicions, and what each believes of the traits. Pure.

A weak cell hardly shows until it breaks down, so it can't be told from a sound battery by the voltage, and one normal
distribution can't hold both. Each suspicion therefore has a weakest cell of its own and learns by itself. What may be
counted on is what the worst plausible one gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from upsd.ups.battery.belief import Belief
from upsd.ups.battery.chemistry import CAPACITY, FULL_V, LOW_BLOCK_V, LOW_UNIT, LOW_V, START, TRAITS, Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.ups.battery.chemistry import Traits, Use
    from upsd.ups.battery.facts import BatteryFacts

_SUSPECTED: Final = {1.0: 0.8, 0.8: 0.1, 0.62: 0.1}
"""Weakest cells, and how likely each is at first."""
UNTRIED: Final = (0.3, 0.3, 0.06, 0.12, 0.65, 0.25, 0.25, 0.3, 0.1, 0.01)
"""How much batteries differ in each of the traits (standard deviations), settings that are wrong included."""
_BLAME: Final = 0.5
_MEASURED_LOW_V: Final = 0.03
_FORMULA_V: Final = 0.04
_READING_V: Final = 0.05
_A_READING_V: Final = 0.065
_A_MEASUREMENT: Final = 0.15
"""Neighbouring voltages share the error of the formula: they count as one measurement for each such part of the
capacity that was drawn meanwhile."""
_FARTHEST: Final = 4.0
_SHORT_V: Final = 0.08
_SHORT_MEMORY: Final = 0.93
_TEMPER: Final = 0.15
IMPLAUSIBLE: Final = -12.0
_PLAUSIBLE: Final = math.log(0.003)
_DEVIATIONS: Final = 1.3
_HALVINGS: Final = 12
_UNLIKELY: Final = 0.032
"""How likely it may be that the battery does not last as long as is counted on, if the model is right."""
_SURE_SHARE: Final = 0.95
"""Of the figure only this may be counted on: the formula may be wrong at a load that taught nothing."""

_LOAD_TELLS: Final = 0.023
"""How much more or less of the capacity (logarithm) than was learned a load may leave, beside what the traits say: the
formula follows makers' tables to 6 %. Tried on batteries that are not those of docs/battery.md."""

_LASTS_BELOW_LOW_V: Final = 0.3
"""How far a block may surely fall after the UPS has said low and before it cuts off, which no maker documents."""

Misfit = tuple[float, ...]
NO_MISFIT: Final[Misfit] = (0.0,) * 17


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A battery with such a weakest cell.

    How likely it is by all that was seen, and what the last minutes add to that (logarithms). `misfit` is what an
    earlier discharge showed that the formula can't follow, in V at even steps of exhaustion.
    """

    weakest: float
    evidence: float
    recent: float
    belief: Belief
    misfit: Misfit = NO_MISFIT

    @property
    def taught(self) -> bool:
        """Whether a discharge has shown by how much the formula is wrong."""
        return self.misfit != NO_MISFIT

    @property
    def likelihood(self) -> float:
        """How likely it is just now."""
        return self.evidence + self.recent

    def block(self, facts: BatteryFacts) -> Block:
        """The likeliest battery of the kind."""
        return Block.of(self.belief.mean, facts.capacity_ah, self.weakest)


Opinion = tuple[Suspicion, ...]


def misfit_v(misfit: Misfit, exhaustion: float) -> float:
    """By how much the voltage is above the formula's there."""
    place = max(0.0, min(1.0, exhaustion)) * (len(misfit) - 1)
    left = min(int(place), len(misfit) - 2)
    return misfit[left] + (misfit[left + 1] - misfit[left]) * (place - left)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Three batteries of one suspicion: one that is worse than believed, the likeliest, and a better one."""

    weight: float
    worse: Block
    likeliest: Block
    better: Block


def untried(facts: BatteryFacts) -> Opinion:
    """What may be thought of a battery that has shown nothing yet."""
    deviations = list(UNTRIED)
    low_v = 0.0
    if facts.low_v is not None:
        low_v, deviations[LOW_V] = facts.low_v / facts.blocks - LOW_BLOCK_V, _MEASURED_LOW_V
    return tuple(
        Suspicion(weakest, math.log(prior), 0.0, _belief(weakest, facts.health, low_v, deviations))
        for weakest, prior in _SUSPECTED.items()
    )


def _belief(weakest: float, health: float, low_v: float, deviations: Sequence[float]) -> Belief:
    """Where a weak cell is to blame for some of the wear, the others are less worn."""
    mean = [0.0] * TRAITS
    mean[CAPACITY], mean[LOW_V] = math.log(health) - _BLAME * math.log(weakest), low_v
    return Belief.independent(mean, deviations)


def starting(opinion: Opinion, unsure: float) -> Opinion:
    """The same at the beginning of a discharge; `unsure` is which share of the charge may be missing."""
    deviation = math.hypot(UNTRIED[START], unsure)
    return tuple(replace(each, recent=0.0, belief=each.belief.with_number(START, 0.0, deviation)) for each in opinion)


def told(
    opinion: Opinion,
    use: Use,
    current_a: float,
    block_v: float,
    share: float,
    facts: BatteryFacts,
    *,
    first: bool = False,
) -> Opinion:
    """After a voltage under load; `share` of the capacity was drawn since the one before.

    On the first day the formula may be wrong for the whole discharge, so that more readings hardly make it surer. Once
    a discharge has shown by how much it is wrong, what is left of that wanders, and a fresh reading shows where it is.
    """
    drift_v = _FORMULA_V * math.sqrt(2.0 * share / _A_MEASUREMENT)
    formula_v = _FORMULA_V * math.sqrt(_A_MEASUREMENT / max(share, 1e-6))
    found = []
    for each in opinion:
        if each.taught:
            suspicion, deviation = replace(each, belief=each.belief.drifted(FULL_V, drift_v)), _READING_V
        else:
            suspicion, deviation = each, max(_READING_V, formula_v)
        if first:
            deviation = math.hypot(_A_READING_V, _FORMULA_V)
        found.append(_told(suspicion, use, current_a, block_v, deviation, facts))
    return levelled(tuple(found))


def levelled(opinion: Opinion) -> Opinion:
    """The same with the likeliest at 0, and none so unlikely that it could never come back."""
    top = max(each.evidence for each in opinion)
    return tuple(replace(each, evidence=max(IMPLAUSIBLE, each.evidence - top)) for each in opinion)


def doubted(opinion: Opinion) -> Opinion:
    """The same, where all that it gives may be a little less than was learned: no reading before the end says so."""
    return tuple(
        replace(each, belief=each.belief.drifted(CAPACITY, _LOAD_TELLS)) if each.taught else each for each in opinion
    )


def outlooks(opinion: Opinion, use: Use, power_w: float, facts: BatteryFacts) -> tuple[Outlook, ...]:
    """What may come of each suspicion that is plausible."""
    return tuple(_outlook(each, use, power_w, facts) for each in _plausible(opinion))


def runtime_s(found: tuple[Outlook, ...], use: Use, power_w: float) -> tuple[float, float, float]:
    """Seconds until the UPS says low: what may be counted on, what is expected, what is possible."""
    times = [
        _Times(
            outlook.weight,
            outlook.worse.seconds_until_low(use, power_w),
            outlook.likeliest.seconds_until_low(use, power_w),
        )
        for outlook in found
    ]
    # What nearly all that may be gives; but none is worse than the worst that is plausible.
    low_s = _SURE_SHARE * max(_surely_s(times), min(each.worse_s for each in times))
    expected_s = max(low_s, max(times).likeliest_s)
    better = max(found, key=lambda outlook: outlook.weight).better
    return low_s, expected_s, max(expected_s, better.seconds_until_low(use, power_w))


def after_low_s(opinion: Opinion, use: Use, power_w: float, facts: BatteryFacts) -> float:
    """Seconds that may be counted on from the moment at which the UPS says low."""
    blocks = (each.block(facts) for each in _plausible(opinion))
    return min(facts.after_low_s, *(_falls_on_s(block, use, power_w) for block in blocks))


class _Times(NamedTuple):
    """How long the worse and the likeliest battery of one outlook last, in seconds."""

    weight: float
    worse_s: float
    likeliest_s: float


def _plausible(opinion: Opinion) -> list[Suspicion]:
    total = math.log(sum(math.exp(each.likelihood) for each in opinion))
    return [each for each in opinion if each.likelihood - total > _PLAUSIBLE]


def _falls_on_s(block: Block, use: Use, power_w: float) -> float:
    now_v = block.voltage(block.exhaustion(use), power_w / block.low_v)
    return replace(block, low_v=now_v - _LASTS_BELOW_LOW_V).seconds_until_low(use, power_w)


def _surely_s(times: Sequence[_Times]) -> float:
    """What all the suspicions together make as good as sure, each taken for a normal distribution."""
    total = sum(each.weight for each in times)
    short, long = 0.0, max(each.likeliest_s for each in times)
    for _ in range(_HALVINGS):
        middle = (short + long) / 2
        if sum(each.weight / total * _shorter(each, middle) for each in times) < _UNLIKELY:
            short = middle
        else:
            long = middle
    return short


def _shorter(each: _Times, seconds: float) -> float:
    """How likely it is that it does not last so long."""
    deviation_s = max(1.0, (each.likeliest_s - each.worse_s) / _DEVIATIONS)
    return 0.5 * math.erfc((each.likeliest_s - seconds) / deviation_s / math.sqrt(2.0))


def _told(
    each: Suspicion, use: Use, current_a: float, block_v: float, deviation: float, facts: BatteryFacts
) -> Suspicion:
    block = each.block(facts)
    gradient = block.gradient(use, current_a)
    exhaustion = block.exhaustion(use)
    surprise_v = block_v - block.voltage(exhaustion, current_a) - misfit_v(each.misfit, exhaustion)
    variance = max(0.0, each.belief.variance(gradient)) + deviation**2
    farthest_v = _FARTHEST * math.sqrt(variance)
    bounded_v = max(-farthest_v, min(farthest_v, surprise_v))
    evidence = each.evidence - 0.5 * (math.log(variance / deviation**2) + bounded_v**2 / variance)
    # A short memory besides: a cell that breaks down shows within a minute.
    recent = each.recent * _SHORT_MEMORY - 2.0 * _TEMPER * math.log1p((surprise_v / _SHORT_V) ** 2 / 4.0)
    return replace(each, evidence=evidence, recent=recent, belief=each.belief.told(gradient, bounded_v, deviation))


def _outlook(each: Suspicion, use: Use, power_w: float, facts: BatteryFacts) -> Outlook:
    """The worse and the better battery are the likeliest of those that last so much shorter or longer."""
    block = each.block(facts)
    there = _sooner(block, use, power_w)

    def of(direction: Traits, deviations: float) -> Block:
        return Block.of(each.belief.toward(direction, deviations), facts.capacity_ah, each.weakest)

    # Where it goes is another way for a battery that is much worse.
    worse = of(_sooner(of(there, _DEVIATIONS), use, power_w), _DEVIATIONS)
    return Outlook(math.exp(each.likelihood), worse, block, of(there, -_DEVIATIONS))


def _sooner(block: Block, use: Use, power_w: float) -> Traits:
    """How much sooner it is low with more of each trait (by how much less volts it has when it will be low)."""
    current_a = power_w / block.low_v
    end = use.after(block.seconds_until_low(use, power_w), current_a)
    return tuple([low - rise for low, rise in zip(LOW_UNIT, block.gradient(end, current_a), strict=True)])
