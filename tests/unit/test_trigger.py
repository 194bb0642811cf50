"""When the shutdown starts: late enough for a short outage, early enough for the battery."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.shutdown.trigger import Supply, Trigger, TriggerRules, evaluate, latest_start_in_s, starts_in_s

RULES = TriggerRules(auto=True, margin_s=60, reserve_s=120, on_battery_s=None, battery_low=True)
AMPLE = Supply(on_battery_s=10, battery_low=False, low_s=1200, need_s=300)


def test_the_latest_start_leaves_reserve_plan_and_margin() -> None:
    """What is left of the runtime when all that must be kept is taken off."""
    assert latest_start_in_s(AMPLE, RULES) == 1200 - 120 - 300 - 60


def test_a_short_outage_starts_nothing() -> None:
    """With time to spare nobody loses a workload."""
    assert evaluate(AMPLE, RULES, None) is None


def test_the_latest_safe_start_fires_when_it_is_seen_twice() -> None:
    """One bad estimate does not shut the rack down; two in a row do."""
    late = replace(AMPLE, low_s=480)
    first = evaluate(late, RULES, None)
    assert first == Trigger("latest-safe-start", fires=False)
    assert evaluate(late, RULES, first) == Trigger("latest-safe-start", fires=True)


def test_a_bad_estimate_between_good_ones_fires_nothing() -> None:
    """What was seen once is forgotten with the next good estimate."""
    late, previous = replace(AMPLE, low_s=0), None
    for supply in (late, AMPLE, late, AMPLE, late):
        previous = evaluate(supply, RULES, previous)
        assert previous is None or not previous.fires


def test_battery_low_fires_at_once() -> None:
    """The UPS's own flag is the last warning that there is."""
    low = replace(AMPLE, battery_low=True)
    assert evaluate(low, RULES, None) == Trigger("battery-low", fires=True)


def test_a_fixed_time_on_battery_starts_earlier() -> None:
    """Who wants the rack down after five minutes gets that, with power to spare."""
    rules = replace(RULES, on_battery_s=300)
    assert evaluate(replace(AMPLE, on_battery_s=299), rules, None) is None
    first = evaluate(replace(AMPLE, on_battery_s=300), rules, None)
    assert evaluate(replace(AMPLE, on_battery_s=301), rules, first) == Trigger("on-battery", fires=True)


@pytest.mark.parametrize("supply", [replace(AMPLE, low_s=0), replace(AMPLE, battery_low=True)])
def test_what_is_off_does_not_trigger(supply: Supply) -> None:
    """Each trigger can be switched off."""
    rules = replace(RULES, auto=False, battery_low=False)
    assert evaluate(supply, rules, evaluate(supply, rules, None)) is None


@given(
    st.builds(Supply, st.floats(0, 1e5), st.booleans(), st.floats(0, 1e5), st.floats(0, 1e4)),
    st.sampled_from([None, "latest-safe-start", "on-battery", "battery-low"]),
)
def test_auto_never_lets_the_latest_safe_start_pass(supply: Supply, seen: str | None) -> None:
    """Whatever went before: when it is late, a trigger is seen, and the next evaluation fires."""
    rules = replace(RULES, on_battery_s=600)
    first = evaluate(supply, rules, None if seen is None else Trigger(seen, fires=False))
    if latest_start_in_s(supply, rules) <= 0:
        assert first is not None
        second = evaluate(supply, rules, first)
        assert second is not None
        assert second.fires


def test_the_announced_start_is_that_of_the_trigger_that_comes_first() -> None:
    """People are told when the shutdown really starts."""
    fixed = replace(RULES, on_battery_s=300.0)
    assert starts_in_s(replace(AMPLE, on_battery_s=100.0), fixed) == 200.0
    assert starts_in_s(replace(AMPLE, on_battery_s=100.0), replace(fixed, on_battery_s=9000.0)) == latest_start_in_s(
        AMPLE, RULES
    )
    assert starts_in_s(AMPLE, replace(RULES, auto=False, on_battery_s=None)) is None
