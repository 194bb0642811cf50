"""When a group of workers goes off early."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from upsd.shutdown.shedding import Shedding, ShedGroup, evaluate
from upsd.shutdown.trigger import Supply

EARLY = ShedGroup(name="early", workers=("pi3",), on_battery_s=120)
LATE = ShedGroup(name="late", workers=("pi4-a", "pi4-b"), runtime_s=900)
GROUPS = (EARLY, LATE)
AMPLE = Supply(on_battery_s=10, low_s=1800, need_s=200)
NONE = Shedding()


def due(supply: Supply, previous: Shedding, gone: tuple[str, ...] = ()) -> list[str]:
    """The names of the groups that go."""
    return [group.name for group in evaluate(GROUPS, supply, previous, gone).due]


def test_a_short_outage_sheds_nobody() -> None:
    """With time to spare nothing goes."""
    assert evaluate(GROUPS, AMPLE, NONE, ()) == NONE


def test_each_group_goes_for_its_own_reason_when_that_held_twice() -> None:
    """One bad estimate powers nothing off."""
    for supply, name in (
        (replace(AMPLE, on_battery_s=120), "early"),
        (replace(AMPLE, low_s=900), "late"),
    ):
        first = evaluate(GROUPS, supply, NONE, ())
        assert first == Shedding(frozenset({name}))
        assert due(supply, first) == [name]
        assert due(AMPLE, first) == []


def test_a_group_that_is_gone_does_not_go_again() -> None:
    """Unless one of its workers is still there."""
    late = replace(AMPLE, low_s=900)
    first = evaluate(GROUPS, late, NONE, ())
    assert due(late, first, ("pi4-a", "pi4-b", "pi3")) == []
    assert due(late, first, ("pi4-a",)) == ["late"]


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.sets(st.sampled_from(["early", "late"])))
def test_nobody_goes_who_did_not_hold_now_and_before(on_battery_s: float, low_s: float, held: set[str]) -> None:
    """Whatever the supply."""
    supply = Supply(on_battery_s=on_battery_s, low_s=low_s, need_s=1)
    found = evaluate(GROUPS, supply, Shedding(frozenset(held)), ())
    assert {group.name for group in found.due} == found.held & held
