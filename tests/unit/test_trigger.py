"""When the shutdown starts: late enough for a short outage, early enough for the battery."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.shutdown.trigger import Supply, Trigger, TriggerRules, evaluate, holding, latest_start_in_s, starts_in_s

RULES = TriggerRules(auto=True, margin_s=60, reserve_s=120)
AMPLE = Supply(on_battery_s=10, low_s=1200, need_s=300)
NONE = Trigger()
EACH: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "latest-safe-start": ({}, {"low_s": 480}),
    "on-battery": ({"on_battery_s": 300}, {"on_battery_s": 300}),
    "charge": ({"charge_percent": 30}, {"charge_percent": 30}),
    "runtime": ({"runtime_s": 600}, {"low_s": 600}),
    "communication-lost": ({"silence_s": 30}, {"silent_s": 30}),
    "shutdown-imminent": ({}, {"shutdown_imminent": True}),
    "battery-low": ({}, {"battery_low": True}),
}
"""Each trigger: the rule that switches it on, and a supply at which it holds."""

supplies = st.builds(
    Supply,
    on_battery_s=st.floats(0, 1e5),
    low_s=st.floats(0, 1e5),
    need_s=st.floats(0, 1e4),
    silent_s=st.just(0.0) | st.floats(0, 1e4),
    charge_percent=st.none() | st.integers(0, 100),
    battery_low=st.booleans(),
    shutdown_imminent=st.booleans(),
)


def test_the_latest_start_leaves_reserve_plan_and_margin() -> None:
    """What is left of the runtime when all that must be kept is taken off."""
    assert latest_start_in_s(AMPLE, RULES) == 1200 - 120 - 300 - 60


def test_a_short_outage_starts_nothing() -> None:
    """With time to spare nobody loses a workload, whatever else is switched on."""
    rules = replace(RULES, **{name: value for switched, _ in EACH.values() for name, value in switched.items()})
    assert evaluate(replace(AMPLE, charge_percent=80), rules, NONE) == NONE


@pytest.mark.parametrize(("reason", "switched", "seen"), [(name, *each) for name, each in EACH.items()], ids=EACH)
def test_each_trigger_fires_when_it_holds_twice(reason: str, switched: dict[str, Any], seen: dict[str, Any]) -> None:
    """One bad reading or estimate does not shut the rack down; two in a row do, and the event names why."""
    rules, supply = replace(RULES, **switched), replace(AMPLE, **seen)
    first = evaluate(supply, rules, NONE)
    assert first == Trigger((reason,), reason if reason == "battery-low" else None)
    assert evaluate(supply, rules, first).reason == reason


def test_a_bad_estimate_between_good_ones_fires_nothing() -> None:
    """What was seen once is forgotten with the next good estimate."""
    late, previous = replace(AMPLE, low_s=0), NONE
    for supply in (late, AMPLE, late, AMPLE, late):
        previous = evaluate(supply, RULES, previous)
        assert previous.reason is None


def test_two_different_warnings_in_a_row_are_no_confirmation() -> None:
    """Each was seen only once."""
    rules = replace(RULES, charge_percent=30)
    first = evaluate(replace(AMPLE, charge_percent=20), rules, NONE)
    assert evaluate(replace(AMPLE, charge_percent=80, shutdown_imminent=True), rules, first).reason is None


def test_a_warning_beside_one_that_was_confirmed_holds_nothing_up() -> None:
    """It fires by the one that was seen twice."""
    rules = replace(RULES, on_battery_s=300)
    late = replace(AMPLE, low_s=480)
    first = evaluate(late, rules, NONE)
    assert evaluate(replace(late, on_battery_s=300), rules, first).reason == "latest-safe-start"


@pytest.mark.parametrize(("reason", "seen"), [(name, each[1]) for name, each in EACH.items()], ids=EACH)
def test_what_is_off_does_not_trigger(reason: str, seen: dict[str, Any]) -> None:
    """Each trigger can be switched off."""
    rules = replace(RULES, auto=False, battery_low=False, shutdown_imminent=False)
    assert reason not in holding(replace(AMPLE, **seen), rules)
    assert holding(replace(AMPLE, **seen), rules) == ()


def test_a_ups_that_is_heard_has_not_lost_communication() -> None:
    """However short a silence would count."""
    assert holding(AMPLE, replace(RULES, silence_s=0.0)) == ()


@given(supplies, supplies)
def test_auto_never_lets_the_latest_safe_start_pass(before: Supply, supply: Supply) -> None:
    """Whatever went before: when it is late, the second evaluation fires at the latest."""
    rules = replace(RULES, on_battery_s=600, charge_percent=30, runtime_s=600, silence_s=30)
    first = evaluate(supply, rules, evaluate(before, rules, NONE))
    if latest_start_in_s(supply, rules) <= 0:
        assert evaluate(supply, rules, first).reason is not None


@given(supplies)
def test_what_is_announced_as_now_holds_now(supply: Supply) -> None:
    """People are told that it starts just when a trigger that can be reckoned holds."""
    rules = replace(RULES, on_battery_s=600, runtime_s=600, silence_s=30)
    reckoned = {"latest-safe-start", "on-battery", "runtime", "communication-lost"}
    assert (starts_in_s(supply, rules) == 0) == bool(reckoned.intersection(holding(supply, rules)))


def test_the_announced_start_is_that_of_the_trigger_that_comes_first() -> None:
    """People are told when the shutdown really starts."""
    fixed = replace(RULES, on_battery_s=300.0)
    waited = replace(AMPLE, on_battery_s=100.0)
    assert starts_in_s(waited, fixed) == 200.0
    assert starts_in_s(waited, replace(fixed, on_battery_s=9000.0)) == latest_start_in_s(AMPLE, RULES)
    assert starts_in_s(waited, replace(fixed, runtime_s=1100.0)) == 100.0
    assert starts_in_s(replace(waited, silent_s=5.0), replace(fixed, silence_s=30.0)) == 25.0
    assert starts_in_s(AMPLE, replace(RULES, auto=False)) is None
