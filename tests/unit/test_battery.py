"""How long the battery is said to last: never longer than it is safe to believe."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.power import Reading, RuntimeEstimate
from upsd.ups.battery import (
    BatteryFacts,
    Charge,
    depth_by_voltage,
    discharge,
    estimate,
    full_runtime_s,
    recharge,
)

IPLUG_800 = BatteryFacts(voltage_v=12, capacity_ah=9, health=0.7, inverter_efficiency=0.8, inverter_idle_w=10)
FULL = Charge(at=0.0, pessimistic=0.0, expected=0.0, optimistic=0.0)
RACK_W = 78.0

loads = st.floats(0, 5000)
seconds = st.floats(0, 100_000)
batteries = st.builds(
    BatteryFacts,
    voltage_v=st.sampled_from([12.0, 24.0, 36.0, 240.0]),
    capacity_ah=st.floats(1, 300),
    health=st.floats(0.1, 1),
    inverter_efficiency=st.floats(0.3, 1),
    inverter_idle_w=st.floats(0, 200),
)
depths = st.floats(0, 1)
charges = st.builds(Charge, at=st.just(0.0), pessimistic=depths, expected=depths, optimistic=depths)


def reading(*, battery_voltage_v: float | None = None, runtime_s: int | None = None) -> Reading:
    """A reading on battery with these figures."""
    return Reading(
        at=0.0,
        output_powered=True,
        on_battery=True,
        battery_low=False,
        battery_voltage_v=battery_voltage_v,
        runtime_s=runtime_s,
    )


def rest(charge: Charge, watts: float = RACK_W, facts: BatteryFacts = IPLUG_800) -> RuntimeEstimate:
    """The estimate by the model alone."""
    return estimate(charge, watts, facts, reading=None, on_battery_s=None)


def test_the_reference_rack_lasts_some_minutes() -> None:
    """A 9 Ah block at 78 W, in the range that the maker's tables give for such a unit."""
    full = full_runtime_s(IPLUG_800, RACK_W)
    assert 5 * 60 < full.low_s < full.expected_s < full.high_s < 60 * 60


@given(charges, loads, batteries, st.none() | st.floats(0.1, 400), st.none() | st.integers(0, 65535), seconds)
def test_the_pessimist_never_promises_more(
    charge: Charge, watts: float, facts: BatteryFacts, voltage_v: float | None, told_s: int | None, on_battery_s: float
) -> None:
    """Low, expected and high are in order whatever is known, and are times."""
    got = estimate(
        charge,
        watts,
        facts,
        reading=reading(battery_voltage_v=voltage_v, runtime_s=told_s),
        on_battery_s=on_battery_s,
    )
    assert 0 <= got.low_s <= got.expected_s <= got.high_s
    assert math.isfinite(got.high_s)


@given(charges, loads, loads, batteries)
def test_more_load_never_lasts_longer(charge: Charge, one: float, other: float, facts: BatteryFacts) -> None:
    """Each of the three figures falls with the load."""
    light, heavy = rest(charge, min(one, other), facts), rest(charge, max(one, other), facts)
    assert heavy.low_s <= light.low_s
    assert heavy.expected_s <= light.expected_s
    assert heavy.high_s <= light.high_s


@given(charges, loads, batteries, seconds, seconds)
def test_the_battery_only_empties_with_time(
    charge: Charge, watts: float, facts: BatteryFacts, one: float, other: float
) -> None:
    """Later on battery is never fuller."""
    sooner = discharge(charge, min(one, other), watts, facts)
    later = discharge(charge, max(one, other), watts, facts)
    assert rest(later, watts, facts).low_s <= rest(sooner, watts, facts).low_s
    assert later.expected >= sooner.expected
    assert later.optimistic >= sooner.optimistic


def test_a_second_on_battery_costs_a_second() -> None:
    """At a steady load the estimate counts down as the clock does."""
    later = discharge(FULL, 120.0, RACK_W, IPLUG_800)
    assert rest(later).low_s == pytest.approx(rest(FULL).low_s - 120)
    assert rest(later).expected_s == pytest.approx(rest(FULL).expected_s - 120)


def test_many_small_steps_are_one_long_one() -> None:
    """The rate at which the daemon polls does not change the battery."""
    charge = FULL
    for now in range(1, 301):
        charge = discharge(charge, float(now), RACK_W, IPLUG_800)
    assert rest(charge).low_s == pytest.approx(rest(discharge(FULL, 300.0, RACK_W, IPLUG_800)).low_s)


def test_machines_that_go_off_lengthen_what_is_left() -> None:
    """A plan gains time as the workers go off."""
    charge = discharge(FULL, 200.0, RACK_W, IPLUG_800)
    assert rest(charge, 25.0).low_s > 2 * rest(charge, RACK_W).low_s


def test_empty_is_empty() -> None:
    """An estimate does not fall below nothing."""
    assert rest(discharge(FULL, 1e6, RACK_W, IPLUG_800)) == RuntimeEstimate(0.0, 0.0, 0.0, "model")


def test_time_that_runs_backwards_changes_nothing() -> None:
    """A late reading does not charge the battery on battery, nor empty it on mains."""
    half = Charge(at=100.0, pessimistic=0.5, expected=0.5, optimistic=0.5)
    assert discharge(half, 50.0, RACK_W, IPLUG_800).expected == 0.5
    assert recharge(half, 50.0, charged=False).expected == 0.5


@pytest.mark.parametrize("watts", [0.0, 1e-9, 5000.0])
def test_every_load_has_an_estimate(watts: float) -> None:
    """No load, hardly any and far too much are figures like any other."""
    lossless = BatteryFacts(voltage_v=12, capacity_ah=9, health=1, inverter_efficiency=1, inverter_idle_w=0)
    assert 0 < full_runtime_s(lossless, watts).low_s <= 24 * 3600


def test_the_figure_of_the_ups_wins_if_it_is_lower() -> None:
    """What the UPS says of itself is believed when it is bad news."""
    got = estimate(FULL, RACK_W, IPLUG_800, reading=reading(runtime_s=60), on_battery_s=10.0)
    assert (got.low_s, got.expected_s, got.source) == (60, 60, "ups")
    assert got.high_s == rest(FULL).high_s


def test_the_figure_of_the_ups_is_not_believed_if_it_is_higher() -> None:
    """A UPS that promises hours for an old battery lengthens nothing."""
    got = estimate(FULL, RACK_W, IPLUG_800, reading=reading(runtime_s=65535), on_battery_s=10.0)
    assert got == rest(FULL)


@given(charges, loads, batteries, st.floats(0, 400), st.none() | seconds)
def test_the_voltage_only_worsens(
    charge: Charge, watts: float, facts: BatteryFacts, voltage_v: float, on_battery_s: float | None
) -> None:
    """However high the voltage, nobody counts on more than the model gives."""
    got = estimate(charge, watts, facts, reading=reading(battery_voltage_v=voltage_v), on_battery_s=on_battery_s)
    assert got.low_s <= rest(charge, watts, facts).low_s


def test_a_low_voltage_under_load_shortens_the_pessimistic_figure() -> None:
    """A worn battery shows itself by its voltage, and only the figure that a plan counts on follows."""
    told = reading(battery_voltage_v=10.9)
    got = estimate(FULL, RACK_W, IPLUG_800, reading=told, on_battery_s=120.0)
    assert got.low_s < 0.5 * rest(FULL).low_s
    assert got.expected_s == rest(FULL).expected_s


@pytest.mark.parametrize("on_battery_s", [None, 0.0, 59.0])
def test_the_dip_right_after_the_switch_says_nothing(on_battery_s: float | None) -> None:
    """The voltage counts once it has settled, and not on mains."""
    told = reading(battery_voltage_v=10.5)
    assert estimate(FULL, RACK_W, IPLUG_800, reading=told, on_battery_s=on_battery_s) == rest(FULL)


@given(batteries, st.floats(0.8, 1.2), st.floats(0.8, 1.2), st.floats(0, 1))
def test_a_lower_voltage_is_an_emptier_battery(facts: BatteryFacts, one: float, other: float, share: float) -> None:
    """At the same load, within the voltages and the hourly rate that a battery is made for."""
    watts = share * facts.voltage_v * facts.capacity_ah * facts.inverter_efficiency
    low_v, high_v = sorted((one * facts.voltage_v, other * facts.voltage_v))
    assert 0 <= depth_by_voltage(facts, high_v, watts) <= depth_by_voltage(facts, low_v, watts) <= 1


def test_charged_is_full() -> None:
    """A UPS that says "charged" is believed."""
    assert recharge(Charge(at=0.0), 5.0, charged=True) == Charge(at=5.0, pessimistic=0, expected=0, optimistic=0)


@given(charges, seconds)
def test_charging_only_fills(charge: Charge, elapsed_s: float) -> None:
    """Time on mains never empties the battery, and never fills it past full."""
    later = recharge(charge, elapsed_s, charged=False)
    assert 0 <= later.pessimistic <= charge.pessimistic
    assert 0 <= later.expected <= charge.expected
    assert 0 <= later.optimistic <= charge.optimistic


def test_a_battery_of_which_nothing_is_known_is_not_taken_for_full() -> None:
    """After a start without a word from the UPS a plan counts on less than a full battery."""
    assert rest(Charge(at=0.0)).low_s < 0.8 * rest(FULL).low_s


def test_two_outages_in_a_row_leave_less_for_the_second() -> None:
    """What an outage took is not back after a minute of mains."""
    after_first = discharge(FULL, 300.0, RACK_W, IPLUG_800)
    after_mains = recharge(after_first, 360.0, charged=False)
    assert rest(after_first).low_s < rest(after_mains).low_s < rest(FULL).low_s - 250
