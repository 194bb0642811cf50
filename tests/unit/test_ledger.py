"""When was a step last proven? What counts, what is void, and what survives on disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind, StepProgress, StepState
from upsd.shutdown.ledger import Entry, How, Ledger, Mark, due_at, from_document, noted, to_document

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
A_WEEK_S = 7 * 86400.0


def step(target: str) -> Step:
    """A power-off."""
    return Step(
        id=f"poweroff {target}",
        kind=StepKind.POWEROFF,
        target=target,
        needs=(),
        expected_s=6,
        minimum_s=6,
        limit_s=30,
    )


A, B = step("a"), step("b")
PLAN = Plan(PlanPurpose.SHUTDOWN, (A, B))
PRINTS = {A.id: "1", B.id: "2"}


def ended(ledger: Ledger, of: Step, state: StepState, at: datetime = NOW, *, how: How = How.REHEARSED) -> Ledger:
    """The ledger after the step has ended so."""
    progress = StepProgress(of, state, "reason", started_at=10.0, ended_at=12.5)
    return noted(ledger, progress, how, at, PRINTS[of.id])


@pytest.mark.parametrize("state", [StepState.DONE, StepState.FORCED])
def test_a_step_that_went_well_is_proven_as_it_was(state: StepState) -> None:
    """With its date and how long it took; a change of its settings makes that void."""
    entry = ended(Ledger(), A, state).of(A.id)
    assert entry.proven("1") == Mark(how=How.REHEARSED, at=NOW, fingerprint="1", seconds=2.5, detail="reason")
    assert entry.proven("another host") is None


@pytest.mark.parametrize("state", [StepState.FAILED, StepState.TIMED_OUT])
def test_a_failure_voids_the_proof_before_it_and_is_mended_by_the_next(state: StepState) -> None:
    """The last word counts, and both are kept."""
    ledger = ended(ended(Ledger(), A, StepState.DONE), A, state, NOW + timedelta(days=1))
    assert ledger.of(A.id).proven("1") is None
    failure = ledger.of(A.id).failed("1")
    assert failure
    assert failure.detail == "reason"
    mended = ended(ledger, A, StepState.DONE, NOW + timedelta(days=2)).of(A.id)
    assert mended.proven("1")
    assert mended.failed("1") is None
    assert mended.failure == failure


def test_a_failure_of_what_the_step_was_before_does_not_count() -> None:
    """The host has another address now: nobody knows whether it would fail there."""
    entry = ended(Ledger(), A, StepState.FAILED).of(A.id)
    assert entry.failed("1")
    assert entry.failed("another host") is None


@pytest.mark.parametrize("state", [StepState.LEFT_OUT, StepState.CANCELLED, StepState.PENDING, StepState.RUNNING])
def test_a_step_that_did_not_run_to_its_end_shows_nothing(state: StepState) -> None:
    """Neither a proof nor a failure."""
    before = ended(Ledger(), A, StepState.DONE)
    assert ended(before, A, state, NOW + timedelta(days=1)) == before


def test_the_first_rehearsal_is_for_a_person_to_begin() -> None:
    """Also if an outage has proven something already."""
    assert due_at(Ledger(), PLAN, PRINTS, A_WEEK_S) is None
    assert due_at(ended(Ledger(), A, StepState.DONE, how=How.OUTAGE), PLAN, PRINTS, A_WEEK_S) is None


def test_the_next_rehearsal_is_counted_from_the_last_one() -> None:
    """A step that failed was rehearsed too."""
    ledger = ended(ended(Ledger(), A, StepState.DONE), B, StepState.FAILED, NOW + timedelta(seconds=5))
    assert due_at(ledger, PLAN, PRINTS, A_WEEK_S) == NOW + timedelta(days=7)


def test_a_step_that_nobody_has_tried_as_it_is_now_is_due_at_once() -> None:
    """A rehearsal that was called off, a new machine, or one with another address."""
    half = ended(Ledger(), A, StepState.DONE)
    due = due_at(half, PLAN, PRINTS, A_WEEK_S)
    assert due
    assert due < NOW
    whole = ended(half, B, StepState.DONE)
    changed = due_at(whole, PLAN, {**PRINTS, B.id: "moved"}, A_WEEK_S)
    assert changed
    assert changed < NOW


marks = st.builds(
    Mark,
    how=st.sampled_from(How),
    at=st.datetimes(timezones=st.just(UTC)),
    fingerprint=st.text(max_size=12),
    seconds=st.none() | st.floats(0, 1e6),
    detail=st.text(),
)


@given(st.dictionaries(st.text(), st.builds(Entry, st.none() | marks, st.none() | marks)))
def test_a_ledger_survives_being_written(entries: dict[str, Entry]) -> None:
    """What is read back is what was known."""
    assert from_document(to_document(Ledger(entries))) == Ledger(entries)


def only_mark(**changed: object) -> object:
    """A ledger of one proof, with something in it that is wrong."""
    mark = {"how": "outage", "at": "2026-11-26T12:00:00+00:00", "fingerprint": "1", "seconds": 1, "detail": ""}
    return {"steps": {"a": {"proof": {**mark, **changed}}}}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"steps": []},
        {"steps": {"a": None}},
        {"steps": {"a": {"proof": {"how": "outage"}}}},
        only_mark(how="guessed"),
        only_mark(at="soon"),
        only_mark(at="2026-11-26"),
        only_mark(seconds="long"),
    ],
)
def test_what_is_no_ledger_is_refused(document: object) -> None:
    """Nothing counts as proven by a file that makes no sense."""
    assert from_document(only_mark()).entries
    with pytest.raises(ValueError, match=r"no ledger|no sense|not a valid|Invalid isoformat"):
        from_document(document)
