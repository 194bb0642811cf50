"""Whole outages by the thousand, drawn from seeds: a user loses nothing that could have been saved."""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from hardware_sim.outages.command import judge_all
from hardware_sim.outages.scenario import draw
from tests.sim import mutants

if TYPE_CHECKING:
    from collections.abc import Callable

FIXED, FRESH, LONGEST_S = 2000, 500, 1200
ENOUGH_TO_CATCH_A_MUTANT = 300


@pytest.mark.timeout(LONGEST_S)
def test_no_outage_of_the_fixed_seeds_costs_anything() -> None:
    """Random loads, worn batteries, flickers, faults, second outages, killed daemons."""
    assert [verdict for verdict in judge_all(range(FIXED)) if verdict.violations] == []


@pytest.mark.timeout(LONGEST_S)
def test_no_outage_of_fresh_seeds_costs_anything() -> None:
    """Others each time; a failure names the seed: `python -m hardware_sim outages --story --seed N` tells it."""
    first = random.SystemRandom().randrange(FIXED, 2**32)
    assert [verdict for verdict in judge_all(range(first, first + FRESH)) if verdict.violations] == []


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize(
    "mutant",
    [
        mutants.without_the_backward_pass,
        mutants.without_fsync,
        mutants.without_the_ownership_mark,
        mutants.without_a_point_of_no_return,
        mutants.without_the_outlet_cycle,
        mutants.with_a_port_that_refuses_taken_for_off,
        mutants.without_memory,
    ],
)
def test_a_broken_daemon_is_caught(mutant: Callable[[], None]) -> None:
    """What the simulation could not see would be no proof."""
    verdicts = judge_all(range(ENOUGH_TO_CATCH_A_MUTANT), prepare=mutant)
    caught = (verdict for verdict in verdicts if verdict.violations)
    assert list(islice(caught, 1))


def test_a_seed_draws_the_same_scenario_everywhere() -> None:
    """Else a seed in a report would be worth nothing."""
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
