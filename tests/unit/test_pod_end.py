"""What is asked next so that one pod ends in time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.rack import EvictionAnswer, Pod
from upsd.shutdown.pod_end import AGAIN_S, RETRY_S, Ending, Known, Limits, Reason, next_ending

POD = Pod("web", "a", "a", grace_s=30)
AMPLE = Limits(force_at=1000.0, delete_grace_s=5)
CORDONED = Limits(force_at=1000.0, delete_grace_s=5, patience_s=10.0)


def after(answer: EvictionAnswer, *, at: float = 0.0) -> Known:
    """What is known after this answer to an eviction."""
    known = Known()
    known.hear(answer, 30, own_s=30, now=at)
    return known


def test_a_pod_is_evicted_with_its_own_grace_if_there_is_time() -> None:
    """And then it is waited for."""
    assert next_ending(POD, Known(), AMPLE, 0.0) == Ending(30)
    assert next_ending(POD, after(EvictionAnswer.ACCEPTED), AMPLE, 500.0) is None
    assert next_ending(POD, after(EvictionAnswer.GONE), AMPLE, 500.0) is None


def test_a_pod_that_somebody_else_has_ended_is_only_waited_for() -> None:
    """Until there is no time left: then its grace is shortened too."""
    ending = Pod("web", "a", "a", terminating=True)
    assert next_ending(ending, Known(), AMPLE, 0.0) is None
    assert next_ending(ending, Known(), AMPLE, 1000.0) == Ending(5, Reason.OUT_OF_TIME)


def test_a_grace_that_is_longer_than_the_time_left_is_cut() -> None:
    """To end with what a pod still gets when force is needed, so that it needs no second word then."""
    slow, known = Pod("web", "a", "a", grace_s=3600), Known()
    assert next_ending(slow, known, AMPLE, 900.0) == Ending(105)
    known.hear(EvictionAnswer.ACCEPTED, 105, own_s=3600, now=900.0)
    assert known.cut_short
    assert next_ending(slow, known, AMPLE, 1000.0) is None


def test_a_budget_is_asked_again_for_as_long_as_there_is_patience() -> None:
    """Then the pod is deleted past it, with its own grace."""
    known = after(EvictionAnswer.BUDGET)
    assert next_ending(POD, known, CORDONED, RETRY_S - 0.1) is None
    assert next_ending(POD, known, CORDONED, RETRY_S) == Ending(30)
    known.hear(EvictionAnswer.BUDGET, 30, own_s=30, now=RETRY_S)
    assert next_ending(POD, known, CORDONED, 10.0) == Ending(30, Reason.BUDGET)


def test_a_budget_that_may_yield_is_respected_until_force() -> None:
    """Where another node takes pods, and then with the short grace."""
    known = after(EvictionAnswer.BUDGET)
    assert next_ending(POD, known, AMPLE, 900.0) == Ending(30)
    assert next_ending(POD, known, AMPLE, 1000.0) == Ending(5, Reason.BUDGET)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(EvictionAnswer.TWO_BUDGETS, Reason.TWO_BUDGETS), (EvictionAnswer.NAMESPACE, Reason.NAMESPACE)],
)
def test_what_waiting_does_not_mend_is_deleted_at_once(answer: EvictionAnswer, reason: Reason) -> None:
    """With its own grace."""
    assert next_ending(POD, after(answer), AMPLE, 0.0) == Ending(30, reason)


def test_what_another_change_overtook_is_asked_again_in_a_moment() -> None:
    """It says nothing about the pod."""
    known = after(EvictionAnswer.AGAIN)
    assert next_ending(POD, known, CORDONED, 0.0) is None
    assert next_ending(POD, known, CORDONED, AGAIN_S) == Ending(30)


@given(
    own_s=st.integers(0, 7200),
    delete_grace_s=st.integers(0, 60),
    force_at=st.floats(-100.0, 1000.0),
    now=st.floats(0.0, 1000.0),
    answers=st.lists(st.sampled_from(EvictionAnswer), max_size=5),
    terminating=st.booleans(),
)
def test_no_pod_is_ever_given_a_grace_of_nothing(
    own_s: int, delete_grace_s: int, force_at: float, now: float, answers: list[EvictionAnswer], *, terminating: bool
) -> None:
    """Nor more than its own, nor more than there is."""
    known, limits = Known(), Limits(force_at, delete_grace_s, 10.0)
    for answer in answers:
        known.hear(answer, own_s, own_s=own_s, now=0.0)
    pod = Pod("web", "a", "a", grace_s=own_s, terminating=terminating)
    ending = next_ending(pod, known, limits, now)
    if ending:
        assert 1 <= ending.grace_s <= max(1, own_s, delete_grace_s)
        assert ending.grace_s <= max(1.0, delete_grace_s, force_at + delete_grace_s - now)


@given(own_s=st.integers(0, 7200), now=st.floats(0.0, 999.0), answers=st.lists(st.sampled_from(EvictionAnswer)))
def test_whatever_was_heard_before_a_pod_is_over_in_time(own_s: int, now: float, answers: list[EvictionAnswer]) -> None:
    """When force begins, it has been given an end that is near enough, or is given one."""
    known, pod = Known(), Pod("web", "a", "a", grace_s=own_s)
    for answer in answers:
        known.hear(answer, own_s, own_s=own_s, now=now)
    ending = next_ending(pod, known, CORDONED, CORDONED.force_at)
    if ending:
        known.give(ending.grace_s, own_s=own_s, now=CORDONED.force_at)
    assert known.ends_by <= CORDONED.force_at + CORDONED.delete_grace_s < math.inf
