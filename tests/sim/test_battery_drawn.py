"""How good is the battery model on batteries drawn at random, none of which its constants were tuned on?

What is asserted is what docs/battery.md says; it was measured on more of them: `python -m tests.bench.battery`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from hardware_sim.ups.battery import BatterySpec
from tests.discharges import Drawn, drawn

if TYPE_CHECKING:
    from tests.discharges import Answer

SEEDS = range(40_000, 40_012)
OPTIMISTIC = 1.05
WITHIN = 0.15
AT_THE_VERY_END_S = 2.0
READ_AND_STEP_S = 7.5
"""A reading's age and a step of the model: no answer is finer than this."""


@functools.cache
def answers(*, learned: bool) -> list[Answer]:
    """What was said of all of them."""
    return [answer for seed in SEEDS for answer in drawn(seed).answers(seed=seed, learned=learned)]


def too_far(answer: Answer) -> bool:
    """Whether what is expected is farther off than it may be."""
    return abs(answer.said.expected_s - answer.true_s) > WITHIN * answer.true_s + READ_AND_STEP_S


def test_on_the_first_day_nothing_is_counted_on_that_is_not_there() -> None:
    """Whatever the settings say of it."""
    found = answers(learned=False)
    assert [each for each in found if each.said.low_s > OPTIMISTIC * each.true_s + AT_THE_VERY_END_S] == []


def test_after_two_discharges_nothing_is_counted_on_that_is_not_there() -> None:
    """To the end."""
    found = answers(learned=True)
    assert [each for each in found if each.said.low_s > OPTIMISTIC * each.true_s + AT_THE_VERY_END_S] == []


def test_after_two_discharges_at_any_loads_nearly_all_answers_are_near() -> None:
    """Within 15 %; in the first half nearly all of them."""
    found = answers(learned=True)
    early = [each for each in found if each.tenth < 5]
    assert sum(map(too_far, found)) <= 0.05 * len(found)
    assert sum(map(too_far, early)) <= 0.02 * len(early)


def test_a_sound_battery_is_not_given_up_on_the_first_day() -> None:
    """A quarter of what it gives is counted on at first; in the middle, where a weak cell would show, a tenth."""
    sound = Drawn(BatterySpec(capacity_ah=7.0), label_ah=7.0, asked_w=76.0, learned_w=(76.0, 76.0))
    shares = [each.said.low_s / each.true_s for each in sound.answers(seed=1, learned=False)]
    assert min(shares[:4]) > 0.2
    assert min(shares[:8]) > 0.09
