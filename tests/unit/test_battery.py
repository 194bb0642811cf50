"""How long the battery is said to last, what a discharge teaches, and what is kept of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.ups.battery import BatterySpec
from tests.discharges import READ_EVERY_S, Observer, readings, seconds_to_low, settings_say
from upsd.domain.power import HealthPoint, Reading
from upsd.ups.battery.belief import Belief
from upsd.ups.battery.chemistry import TRAITS, Block, Use
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.health import health_of
from upsd.ups.battery.history import BatteryHistory, decoded, encoded
from upsd.ups.battery.learning import Discharge, Point
from upsd.ups.battery.memory import Memory
from upsd.ups.battery.watch import full_runtime

NINE_AH = settings_say(9.0)
RACK_W = 76.0
NEW = BatterySpec(capacity_ah=9.0)
WORN = BatterySpec(capacity_ah=9.0, health=0.5)

loads = st.floats(0, 500)
batteries = st.builds(
    BatteryFacts,
    voltage_v=st.sampled_from([12.0, 24.0, 36.0, 240.0]),
    capacity_ah=st.floats(4, 100),
    health=st.floats(0.3, 1),
    inverter_efficiency=st.floats(0.5, 1),
    inverter_idle_w=st.floats(0, 50),
)


@given(batteries, loads, loads)
@settings(max_examples=50, deadline=None)
def test_more_load_never_lasts_longer(facts: BatteryFacts, one: float, other: float) -> None:
    """At one state of knowledge."""
    observer = Observer(facts)
    observer.charged(RACK_W)
    light, heavy = (observer.watch.runtime(observer.now, watts, facts, None) for watts in sorted((one, other)))
    assert heavy.low_s <= light.low_s * 1.001
    assert heavy.expected_s <= light.expected_s * 1.001


@given(batteries, loads, st.none() | st.floats(0, 65535))
@settings(max_examples=50, deadline=None)
def test_the_pessimist_never_promises_more(facts: BatteryFacts, watts: float, told_s: float | None) -> None:
    """Low, expected and high are in order whatever the UPS says, and are times."""
    got = Observer(facts).watch.runtime(0.0, watts, facts, told_s)
    assert 0 <= got.low_s <= got.expected_s <= got.high_s
    assert math.isfinite(got.high_s)


def test_the_figure_of_the_ups_wins_if_it_is_lower() -> None:
    """Both are shown, and the lower one decides."""
    got = Observer(NINE_AH).watch.runtime(0.0, RACK_W, NINE_AH, 60.0)
    assert (got.low_s, got.expected_s, got.source, got.ups_s) == (60, 60, "ups", 60)
    assert got.model_s == pytest.approx(full_runtime(NINE_AH, RACK_W).expected_s, rel=0.05)


def test_the_figure_of_the_ups_is_not_believed_if_it_is_higher() -> None:
    """A UPS that promises hours for an old battery lengthens nothing."""
    watch = Observer(NINE_AH).watch
    got, alone = (watch.runtime(0.0, RACK_W, NINE_AH, told_s) for told_s in (65535.0, None))
    assert (got.low_s, got.source, got.ups_s) == (alone.low_s, "model", 65535)


def test_silence_never_lengthens() -> None:
    """Without readings a second costs a second, down to nothing."""
    observer = Observer(NINE_AH)
    observer.charged(RACK_W)
    outage = readings(NEW, RACK_W, observer.now, seed=1)
    for reading, _ in zip(outage, range(60), strict=False):
        observer.watch.follow(reading.at, RACK_W, NINE_AH, reading, discharging=True)
        observer.now = reading.at
    said = [observer.watch.runtime(observer.now + silent_s, RACK_W, NINE_AH, None).low_s for silent_s in (0, 60, 1e6)]
    assert said[1] == pytest.approx(said[0] - 60)
    assert said[2] == 0


def test_machines_that_go_off_lengthen_what_is_left() -> None:
    """A plan gains time as the workers go off."""
    observer = Observer(NINE_AH)
    assert (
        observer.watch.runtime(0.0, 25.0, NINE_AH, None).low_s
        > 1.5 * observer.watch.runtime(0.0, 76.0, NINE_AH, None).low_s
    )


def test_an_outage_leaves_less_for_the_next_one() -> None:
    """What it took is not back after ten minutes of mains."""
    observer = Observer(NINE_AH)
    observer.charged(RACK_W)
    for reading, _ in zip(readings(NEW, RACK_W, observer.now, seed=1), range(200), strict=False):
        observer.watch.follow(reading.at, RACK_W, NINE_AH, reading, discharging=True)
        observer.now = reading.at
    calm = Reading(at=observer.now + 600, output_powered=True, on_battery=False, battery_low=False)
    for at in (observer.now + 1, observer.now + 600):
        observer.watch.follow(at, RACK_W, NINE_AH, calm, discharging=False)
    later = observer.watch.runtime(observer.now + 600, RACK_W, NINE_AH, None)
    observer.now += 600
    observer.charged(RACK_W)
    full = observer.watch.runtime(observer.now, RACK_W, NINE_AH, None)
    assert later.expected_s < full.expected_s - 300


def test_a_measured_low_voltage_is_taken_over() -> None:
    """A bench test that saw the flag at 11.4 V shortens what is expected."""
    known = BatteryFacts(12.0, 9.0, 0.7, 0.8, 10.0, low_v=11.4)
    assert full_runtime(known, RACK_W).expected_s < 0.85 * full_runtime(NINE_AH, RACK_W).expected_s


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 20), st.sampled_from([1.0, 0.6]))
def test_an_emptier_battery_has_a_lower_voltage(one: float, other: float, current_a: float, weakest: float) -> None:
    """So that the voltage says something at all."""
    block = Block.of((0.0,) * TRAITS, 9.0, weakest)
    fuller, emptier = sorted((one, other))
    assert block.voltage(emptier, current_a) <= block.voltage(fuller, current_a)


def test_the_gradient_is_that_of_the_voltage() -> None:
    """A small change of any trait changes the voltage as much as the gradient says."""
    use, nothing = Use(2.0, 0.5, 0.4), (0.0,) * TRAITS
    block = Block.of(nothing, 9.0, 0.8)
    for index, slope in enumerate(block.gradient(use, 8.0)):
        shifted = Block.of(tuple(1e-5 if other == index else 0.0 for other in range(TRAITS)), 9.0, 0.8)
        change = shifted.voltage(shifted.exhaustion(use), 8.0) - block.voltage(block.exhaustion(use), 8.0)
        assert change / 1e-5 == pytest.approx(slope, abs=1e-3)


@given(st.floats(-2, 2), st.floats(0.01, 1))
def test_what_was_measured_is_believed_more_and_more(surprise: float, deviation: float) -> None:
    """A measurement moves the mean toward it and makes it surer."""
    before = Belief.independent((0.0, 0.0), (1.0, 2.0))
    after = before.told((1.0, 0.0), surprise, deviation)
    assert abs(after.mean[0] - surprise) <= abs(surprise)
    assert after.variance((1.0, 0.0)) < before.variance((1.0, 0.0))
    assert after.variance((0.0, 1.0)) == pytest.approx(4.0)


def test_a_whole_discharge_tells_the_health() -> None:
    """A battery with half of its capacity is found to be one, by two discharges within 10 percent."""
    observer = Observer(NINE_AH)
    assert observer.watch.health().point is None
    for seed in (1, 2):
        observer.live_through(WORN, RACK_W, seed)
    point = observer.watch.health().point
    assert point is not None
    assert point.percent == pytest.approx(50, abs=10)
    assert point.known_by == "discharged until low"


def test_it_is_kept_before_the_power_is_gone() -> None:
    """Once a minute, and at the flag; the last has all of the discharge."""
    observer = Observer(NINE_AH)
    observer.live_through(WORN, RACK_W, 1)
    assert len(observer.kept) >= 10
    assert [len(history.discharges) for history in observer.kept] == [1] * len(observer.kept)
    assert [history.discharges[0].reached_low for history in observer.kept[-2:]] == [False, True]


def test_a_restarted_daemon_knows_what_was_learned() -> None:
    """By the file alone."""
    observer = Observer(NINE_AH)
    observer.live_through(NEW, RACK_W, 1)
    restarted = observer.restarted()
    restarted.charged(RACK_W)
    got = restarted.watch.runtime(restarted.now, RACK_W, NINE_AH, None)
    assert got.low_s > 2 * full_runtime(NINE_AH, RACK_W).low_s


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("learned", [False, True], ids=["first day", "learned"])
@pytest.mark.parametrize("spec", [NEW, WORN], ids=["new", "worn"])
def test_a_restart_in_an_outage_makes_the_battery_neither_better_nor_worse(
    spec: BatterySpec, share: float, *, learned: bool
) -> None:
    """It goes on with the same discharge, and does not learn from its first part as from an earlier one."""
    observer = Observer(NINE_AH)
    for watts in (50.0, 100.0) if learned else ():
        observer.live_through(spec, watts, seed=1)
    observer.charged(RACK_W)
    outage = readings(spec, RACK_W, observer.now, seed=7)
    killed_at = observer.now + share * seconds_to_low(spec, RACK_W)
    while observer.now < killed_at:
        observer.see(RACK_W, next(outage))
    later = observer.restarted()
    for reading in islice(outage, 4):
        observer.see(RACK_W, reading)
        later.see(RACK_W, reading)
    said, says = (each.watch.runtime(later.now, RACK_W, NINE_AH, None).low_s for each in (observer, later))
    assert says == pytest.approx(said, rel=0.25, abs=10.0)


def test_a_discharge_that_a_restart_has_broken_off_is_kept_as_one() -> None:
    """With its whole length, and with the flag at its end."""
    observer = Observer(NINE_AH)
    observer.charged(RACK_W)
    began_at, outage = observer.now, readings(WORN, RACK_W, observer.now, seed=1)
    for reading in islice(outage, 100):
        observer.see(RACK_W, reading)
    later = observer.restarted()
    for reading in outage:
        later.see(RACK_W, reading)
    (kept,) = later.watch.history.discharges
    assert kept.reached_low
    assert kept.seconds == pytest.approx(later.now - began_at, abs=READ_EVERY_S)
    assert kept.watts == pytest.approx(RACK_W, rel=0.02)
    later.charged(RACK_W)
    point = later.watch.health().point
    assert point is not None
    assert point.percent == pytest.approx(50, abs=10)


def test_a_new_battery_does_not_go_on_with_the_discharge_of_the_old_one() -> None:
    """An operator may say so right after a restart."""
    observer = Observer(NINE_AH)
    observer.charged(RACK_W)
    outage = readings(WORN, RACK_W, observer.now, seed=1)
    for reading in islice(outage, 100):
        observer.see(RACK_W, reading)
    later = observer.restarted()
    later.watch.replaced()
    put_in_at = later.now
    for reading in outage:
        later.see(RACK_W, reading)
    (kept,) = later.watch.history.discharges
    assert kept.seconds == pytest.approx(later.now - put_in_at, abs=2 * READ_EVERY_S)


def test_a_discharge_that_ended_while_nobody_looked_is_one_of_its_own() -> None:
    """The next one begins with what it has taught."""
    observer = Observer(NINE_AH)
    observer.charged(RACK_W)
    for reading in islice(readings(WORN, RACK_W, observer.now, seed=1), 100):
        observer.see(RACK_W, reading)
    later = observer.restarted()
    later.live_through(WORN, RACK_W, seed=2)
    assert [each.reached_low for each in later.watch.history.discharges] == [False, True]


def test_discharges_are_learned_from_one_at_a_time() -> None:
    """So that a daemon that starts with many of them does not stand still; and none is learned from twice."""
    observer = Observer(NINE_AH)
    for seed in (1, 2):
        observer.live_through(NEW, RACK_W, seed)
    discharges = observer.watch.history.discharges
    first = Memory.empty(NINE_AH).further(discharges)
    second = first.further(discharges)
    assert (first.complete(discharges), second.complete(discharges)) == (False, True)
    assert second.further(discharges) is second
    assert second.fits(NINE_AH, discharges)
    assert not second.fits(settings_say(7.0), discharges)
    assert not second.fits(NINE_AH, discharges[1:])


def test_the_charge_that_was_left_is_read_again() -> None:
    """With its date, through JSON."""
    observer = Observer(NINE_AH)
    observer.live_through(WORN, RACK_W, 1)
    kept = observer.kept[-1]
    assert kept.charge is not None
    assert kept.charge.discharging
    again = decoded(json.loads(json.dumps(encoded(kept)))).charge
    assert again is not None
    assert (again.at, again.discharging) == (kept.charge.at, True)
    assert again.use.drawn_ah == pytest.approx(kept.charge.use.drawn_ah, abs=1e-4)


def test_a_charge_without_a_time_zone_is_refused() -> None:
    """Nobody could say how old it is."""
    charge = {"at": "2026-11-23T19:00:00", "use_ah": [1, 0, 0], "unsure": 0, "discharging": False}
    with pytest.raises(ValueError, match="time zone"):
        decoded({"format": 1, "discharges": [], "health": [], "charge": charge})


def test_a_new_battery_is_noticed() -> None:
    """One that gives twice as much as what was learned: learning begins anew."""
    observer = Observer(NINE_AH)
    for seed in (1, 2):
        observer.live_through(WORN, RACK_W, seed)
    assert observer.events == []
    observer.live_through(NEW, RACK_W, 3)
    assert [event.name for event in observer.events] == ["battery_changed"]
    assert len(observer.watch.history.discharges) == 1


def test_the_same_battery_is_no_new_one() -> None:
    """At another load and in the cold neither."""
    observer = Observer(NINE_AH)
    for seed in (1, 2):
        observer.live_through(NEW, RACK_W, seed)
    observer.live_through(NEW, 40.0, 3)
    observer.live_through(BatterySpec(capacity_ah=9.0, temperature_c=10.0), RACK_W, 4)
    assert observer.events == []


def test_an_operator_says_that_there_is_a_new_battery() -> None:
    """What was learned is forgotten, on disk too."""
    observer = Observer(NINE_AH)
    observer.live_through(WORN, RACK_W, 1)
    observer.watch.replaced()
    assert replace(observer.kept[-1], charge=None) == BatteryHistory()
    assert [event.name for event in observer.events] == ["battery_changed"]


def points(*percents: tuple[str, float]) -> list[HealthPoint]:
    """Measured points of health."""
    return [HealthPoint(day, percent, "discharged until low") for day, percent in percents]


def test_the_battery_is_due_where_the_trend_leads() -> None:
    """It lost 10 percent in a year, and has 20 to go."""
    assert health_of(points(("2024-01-01", 90.0), ("2024-12-31", 80.0)), None).replace_by == "2026-12-31"


def test_nobody_says_when_it_is_due_while_nothing_is_known() -> None:
    """Neither with one point alone, nor by the age alone, nor if it does not fade."""
    assert health_of([], None).replace_by is None
    assert health_of([], date(2024, 1, 1)).replace_by is None
    assert health_of(points(("2024-01-01", 90.0)), None).replace_by is None
    assert health_of(points(("2024-01-01", 90.0), ("2025-01-01", 90.0)), None).replace_by is None


def test_no_battery_outlives_its_calendar_life() -> None:
    """Four and a half years after it was installed."""
    assert health_of(points(("2024-06-01", 100.0)), date(2024, 1, 1)).replace_by == "2028-07-02"


numbers = st.floats(0, 1000).map(lambda value: round(value, 1))
discharges = st.builds(
    Discharge,
    date=st.dates().map(date.isoformat),
    seconds=numbers,
    watts=numbers,
    unsure=numbers,
    reached_low=st.booleans(),
    points=st.lists(
        st.builds(
            Point, st.builds(Use, numbers, numbers, numbers), numbers.map(lambda value: value + 1), st.just(12.0)
        ),
        min_size=1,
        max_size=36,
    ).map(tuple),
)


@given(st.lists(discharges, max_size=3).map(tuple))
def test_what_is_written_is_read_again(kept: tuple[Discharge, ...]) -> None:
    """Through JSON."""
    history = BatteryHistory(kept, tuple(points(("2024-01-01", 90.0))))
    assert decoded(json.loads(json.dumps(encoded(history)))) == history


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        {"format": 2},
        {"format": 1},
        {"format": 1, "discharges": [{}], "health": []},
        {"format": 1, "discharges": 5},
    ],
)
def test_what_is_something_else_is_refused(found: object) -> None:
    """Foreign and damaged files."""
    with pytest.raises(ValueError, match="it is not"):
        decoded(found)


odd_readings = st.builds(
    Reading,
    at=st.just(0.0),
    output_powered=st.just(True),  # noqa: FBT003
    on_battery=st.booleans(),
    battery_low=st.booleans(),
    charged=st.booleans(),
    battery_voltage_v=st.none() | st.floats(0, 500),
)


@given(batteries, st.lists(st.tuples(odd_readings, st.floats(0, 5000), st.floats(-5, 3000)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_nothing_that_a_ups_says_breaks_the_model(
    facts: BatteryFacts, heard: list[tuple[Reading, float, float]]
) -> None:
    """Not the oddest voltages, loads and times: there is always a figure, and it is in order."""
    observer = Observer(facts)
    for reading, watts, passed_s in heard:
        observer.now += passed_s
        observer.watch.follow(observer.now, watts, facts, reading, discharging=reading.on_battery)
        got = observer.watch.runtime(observer.now, watts, facts, None)
        assert 0 <= got.low_s <= got.expected_s <= got.high_s < math.inf
