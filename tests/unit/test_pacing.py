"""How fast requests may follow each other and pass the bridge, learned from what came of those before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.power import Doubt, Reading
from upsd.ups.pacing import SAFE_PAUSE_S, SHORTEST_PAUSE_S, PiecePause, ReplyPace, may_be_changing

CALM = Reading(at=0.0, output_powered=True, on_battery=False, battery_low=False, input_voltage_v=230)


def after(pause: PiecePause, good: int) -> PiecePause:
    """The pause after so many good exchanges."""
    for _ in range(good):
        pause = pause.shorter()
    return pause


def test_the_pause_falls_to_just_above_what_the_line_needs_and_no_further() -> None:
    """A 7-byte piece takes 58 ms at 1200 baud."""
    assert after(PiecePause(), 100).seconds == SHORTEST_PAUSE_S > 7 * 10 / 1200


def test_a_lost_request_makes_it_longer_at_once_and_shorter_only_later() -> None:
    """What went wrong is not tried again a second later."""
    lost = after(PiecePause(), 100).longer()
    assert lost.seconds > SHORTEST_PAUSE_S
    assert after(lost, 100).seconds == lost.seconds
    assert after(lost, 1000).seconds == SHORTEST_PAUSE_S


def test_many_lost_requests_end_at_what_is_known_to_be_enough() -> None:
    """NUT's 200 ms."""
    pause = PiecePause()
    for _ in range(10):
        pause = pause.longer()
    assert pause.seconds == SAFE_PAUSE_S


def test_only_a_proof_makes_it_shorter_than_that_and_one_loss_refutes_it() -> None:
    """A bridge that was seen to hold a whole request gets it at once, until it loses one."""
    proven = after(PiecePause(shortest_s=0.0), 100)
    assert proven.seconds == 0.0
    assert after(proven.longer(), 1000).seconds == SHORTEST_PAUSE_S


@given(st.lists(st.booleans(), max_size=500))
def test_the_pause_stays_within_its_bounds(outcomes: list[bool]) -> None:
    """Whatever comes of the exchanges."""
    pause = PiecePause()
    for good in outcomes:
        pause = pause.shorter() if good else pause.longer()
        assert SHORTEST_PAUSE_S <= pause.seconds <= SAFE_PAUSE_S


def test_a_read_asks_for_as_many_reports_as_come_until_the_reply_is_due() -> None:
    """So the thread wakes a few times a reply, and never long after it."""
    pace = ReplyPace()
    for _ in range(20):
        pace.took(0.3, 30)
    assert pace.reports_until(due_at=0.25, now=0.0) == 25
    assert pace.reports_until(due_at=0.014, now=0.0) == 1
    assert pace.reports_until(due_at=0.0, now=5.0) == 1
    assert pace.reports_until(due_at=100.0, now=0.0) == 64


def test_one_late_report_hardly_changes_how_often_they_come() -> None:
    """Or the reads after it would end long before the reply, or long after."""
    pace = ReplyPace()
    for _ in range(20):
        pace.took(0.3, 30)
    pace.took(0.016, 1)
    assert pace.reports_until(due_at=0.25, now=0.0) == 25


@given(st.floats(-1.0, 5.0), st.floats(0.0001, 2.0), st.integers(1, 64))
def test_what_was_learned_never_leads_to_a_read_without_end(thinks_s: float, took_s: float, reports: int) -> None:
    """One odd exchange does not spoil the next."""
    pace = ReplyPace()
    pace.began(thinks_s)
    pace.took(took_s, reports)
    assert 0.0 <= pace.thinks_s <= 0.3
    assert 1 <= pace.reports_until(1.0, 0.0) <= 64


@pytest.mark.parametrize(
    "change",
    [
        {"on_battery": True},
        {"battery_low": True},
        {"output_powered": False},
        {"test_in_progress": True},
        {"shutdown_active": True},
        {"shutdown_imminent": True},
        {"boost": True},
        {"buck": True},
        {"overload": True},
        {"on_bypass": True},
        {"failure": True},
        {"input_voltage_v": 215},
        {"doubts": (Doubt("charge_percent", 20, "charge jumps"),)},
    ],
    ids=str,
)
def test_a_ups_in_trouble_is_asked_without_a_pause(change: dict[str, Any]) -> None:
    """The next reading may well say something else."""
    assert may_be_changing(CALM, replace(CALM, **change))


def test_a_ups_that_says_the_same_may_be_asked_as_slowly_as_configured() -> None:
    """A volt or two is nothing."""
    assert not may_be_changing(CALM, replace(CALM, at=1.0, input_voltage_v=233))


def test_the_first_reading_and_the_one_after_a_change_are_followed_at_once() -> None:
    """Mains back needs a second reading too."""
    assert may_be_changing(None, CALM)
    assert may_be_changing(replace(CALM, on_battery=True), CALM)
