"""Ready, or not ready, because."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_ledger import step
from upsd.domain.plan import Plan, PlanPurpose, StepProgress, StepState
from upsd.shutdown.ledger import How, Ledger, noted
from upsd.shutdown.verdict import NOT_ARMED, judge, standing

if TYPE_CHECKING:
    from upsd.domain.readiness import Readiness

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
STEPS = tuple(step(name) for name in "abcde")
PLAN = Plan(PlanPurpose.SHUTDOWN, STEPS)
PRINTS = {found.id: "1" for found in STEPS}
A_MONTH_S = 30 * 86400.0


def rehearsed(*failed: str, at: datetime = NOW - timedelta(days=2), without: str = "") -> Ledger:
    """Every step proven, but for some that failed and one that was not tried."""
    ledger = Ledger()
    for found in STEPS:
        if found.target != without:
            state = StepState.FAILED if found.target in failed else StepState.DONE
            ledger = noted(ledger, StepProgress(found, state, "no such key"), How.REHEARSED, at, "1")
    return ledger


def verdict(
    ledger: Ledger, *, spare_s: float | None = 60.0, armed: bool = True, troubles: tuple[str, ...] = ()
) -> Readiness:
    """What is judged now."""
    stands = standing(PLAN, ledger, PRINTS)
    return judge(stands, now=NOW, valid_for_s=A_MONTH_S, spare_s=spare_s, armed=armed, troubles=troubles)


def test_ready_is_armed_proven_and_carried_by_the_battery() -> None:
    """Nothing is left to say but how old the oldest proof is."""
    found = verdict(rehearsed())
    assert (found.ready, found.because, found.armed) == (True, (), True)
    assert (found.proven_steps, found.of, found.oldest_proof) == (5, 5, "2026-11-24")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (verdict(rehearsed(), armed=False), NOT_ARMED),
        (verdict(rehearsed(without="b")), "1 steps are not proven (poweroff b): run upsctl rehearse"),
        (verdict(Ledger()), "5 steps are not proven (poweroff a and 4 more): run upsctl rehearse"),
        (verdict(rehearsed("c")), "poweroff c failed when rehearsed on 2026-11-24: no such key"),
        (
            verdict(rehearsed(at=NOW - timedelta(days=31))),
            "the last proof of poweroff a and 4 more is more than 30 days old: run upsctl rehearse",
        ),
        (
            verdict(rehearsed(), spare_s=-65.0),
            (
                "the battery surely lasts 65 s less than the shutdown, its reserve and its margin need: let it charge,"
                " replace it, or take load off the UPS"
            ),
        ),
        (verdict(rehearsed(), troubles=("no UPS is plugged in",)), "no UPS is plugged in"),
    ],
)
def test_each_thing_that_is_missing_is_a_sentence_that_says_what_to_do(found: Readiness, reason: str) -> None:
    """And that alone keeps the rack from being ready."""
    assert (found.ready, found.because) == (False, (reason,))


def test_that_it_is_not_armed_comes_first() -> None:
    """Whatever else is wrong: without it nothing happens at all."""
    assert verdict(Ledger(), armed=False, spare_s=-1.0, troubles=("x",)).because[0] == NOT_ARMED


def test_the_list_stays_short_when_everything_fails() -> None:
    """Three by name, and how many more."""
    because = verdict(rehearsed("a", "b", "c", "d", "e")).because
    assert len(because) == 4
    assert because[-1] == "2 more steps failed: run upsctl rehearse, and mend what it names"


def test_a_battery_that_nobody_knows_is_not_taken_for_too_small() -> None:
    """Unknown is a value."""
    assert verdict(rehearsed(), spare_s=None).ready


def test_a_clock_that_stands_before_the_proof_does_not_make_it_old() -> None:
    """A machine without a battery for its clock boots in the past."""
    assert verdict(rehearsed(at=NOW + timedelta(days=400))).ready
