"""What the readings of a UPS mean, and what they must not be taken for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.power import Doubt, PowerState, Reading, Severity
from upsd.power import PowerRules, PowerView, mains_lost, observe, tick

if TYPE_CHECKING:
    from upsd.domain.power import Event

RULES = PowerRules(debounce_s=3.0, silence_s=4.0)


def reading(at: float = 0.0, **overrides: Any) -> Reading:
    """A good reading on mains, but for the overrides."""
    usual: dict[str, Any] = {
        "output_powered": True,
        "on_battery": False,
        "battery_low": False,
        "input_voltage_v": 230,
        "output_voltage_v": 230,
        "battery_voltage_v": 13.6,
    }
    return Reading(at=at, **(usual | overrides))


def lost(at: float = 0.0, **overrides: Any) -> Reading:
    """A reading on battery with the mains gone, but for the overrides."""
    usual: dict[str, Any] = {"on_battery": True, "input_voltage_v": 0, "battery_voltage_v": 12.4}
    return reading(at, **(usual | overrides))


@dataclass
class Watch:
    """Somebody who hears readings and silence, and keeps what follows."""

    view: PowerView = field(default_factory=lambda: PowerView(heard_at=0.0))
    events: list[Event] = field(default_factory=list)

    def hear(self, *readings: Reading) -> None:
        """Take readings in, with the second's tick after each."""
        for one in readings:
            self.view, events = observe(self.view, one, RULES)
            self.events += events
            self.pass_time(one.at)

    def pass_time(self, now: float) -> None:
        """Let time pass in silence."""
        self.view, events = tick(self.view, now, RULES)
        self.events += events

    def state(self) -> PowerState:
        """What feeds the rack."""
        return self.view.state

    def confirmed(self) -> bool:
        """Whether there is a confirmed outage."""
        return self.view.confirmed

    @property
    def names(self) -> list[str]:
        """What happened so far."""
        return [event.name for event in self.events]


@pytest.fixture
def watch() -> Watch:
    """Somebody who has heard two good readings."""
    made = Watch()
    made.hear(reading(0), reading(1))
    return made


@pytest.fixture
def outage(watch: Watch) -> Watch:
    """Somebody in a confirmed outage since second 2; the events begin after it."""
    watch.hear(*(lost(at) for at in range(2, 7)))
    assert watch.confirmed()
    watch.events.clear()
    return watch


def test_nothing_is_known_before_the_first_reading() -> None:
    """A daemon that just started claims nothing."""
    assert PowerView(heard_at=0.0).state is PowerState.UNKNOWN


def test_good_readings_are_mains_and_no_event(watch: Watch) -> None:
    """Normal days are quiet."""
    assert watch.state() is PowerState.ON_LINE
    assert watch.names == []


def test_mains_lost_is_reported_with_the_first_reading(watch: Watch) -> None:
    """People hear of it at once, though nothing is done yet."""
    watch.hear(lost(2))
    assert watch.names == ["mains_lost"]
    assert watch.state() is PowerState.ON_BATTERY
    assert not watch.confirmed()


def test_a_loss_that_lasts_is_an_outage(watch: Watch) -> None:
    """After the debounce it is confirmed, once, counted from the first reading."""
    watch.hear(*(lost(at) for at in range(2, 9)))
    assert watch.names == ["mains_lost", "outage_confirmed"]
    assert watch.events[-1].fields["on_battery_s"] == RULES.debounce_s
    assert watch.view.lost_at == 2


def test_a_flicker_is_reported_and_confirms_nothing(watch: Watch) -> None:
    """A loss shorter than the debounce touches nobody's workloads."""
    watch.hear(lost(2), lost(3), lost(4.9), reading(5.0), reading(6.0), reading(9.0))
    assert watch.names == ["mains_lost", "mains_back"]
    assert watch.events[-1].fields["flicker"] is True
    assert watch.events[-1].fields["on_battery_s"] == 3.0
    assert watch.view.lost_at is None


def test_flickers_do_not_add_up(watch: Watch) -> None:
    """Many short losses are not one long outage."""
    for start in range(2, 40, 4):
        watch.hear(lost(start), lost(start + 2), reading(start + 3))
    assert "outage_confirmed" not in watch.names


@pytest.mark.parametrize(
    "nonsense",
    [
        lost(2),
        reading(2, output_powered=False),
        reading(2, input_voltage_v=52432, output_voltage_v=52432, battery_voltage_v=6553.5),
        reading(2, charge_percent=0),
        reading(2, battery_low=True),
        reading(2, load_percent=255, temperature_c=200, charge_percent=255, input_frequency_hz=655.3),
    ],
    ids=["on battery", "output off", "voltages", "charge 0", "battery low", "figures"],
)
def test_one_nonsense_sample_among_good_ones_triggers_nothing(watch: Watch, nonsense: Reading) -> None:
    """No single wrong sample confirms an outage, says that the output is off, or that the battery is low."""
    watch.hear(nonsense, *(reading(at) for at in range(3, 20)))
    assert not {"outage_confirmed", "output_off", "battery_low"} & set(watch.names)
    assert watch.state() is PowerState.ON_LINE


def test_time_alone_confirms_nothing_while_the_ups_talks(watch: Watch) -> None:
    """A confirmation needs a second reading that agrees, or silence."""
    watch.hear(lost(2))
    watch.pass_time(2 + RULES.silence_s)
    assert not watch.confirmed()


def test_a_doubted_figure_is_told_once() -> None:
    """Somebody can see that the UPS talks nonsense, and is not told twice a second."""
    watch, doubt = Watch(), Doubt("charge_percent", 20.0, "charge jumps")
    watch.hear(*(reading(at, doubts=(doubt,)) for at in range(5)), reading(5), reading(6, doubts=(doubt,)))
    assert watch.names == ["figure_doubted", "figure_doubted"]
    assert watch.events[0].fields == {"figure": "charge_percent", "said": 20.0, "rule": "charge jumps"}


def test_output_off_is_believed_at_the_second_reading(watch: Watch) -> None:
    """Two in a row are no glitch."""
    watch.hear(reading(2, output_powered=False))
    assert watch.state() is PowerState.ON_LINE
    watch.hear(reading(3, output_powered=False), reading(4, output_powered=False))
    assert watch.state() is PowerState.OUTPUT_OFF
    assert watch.names == ["output_off"]
    watch.hear(reading(5))
    assert watch.names == ["output_off", "output_on"]


def test_silence_is_unknown(watch: Watch) -> None:
    """A UPS that says nothing is neither off nor on battery."""
    for now in range(2, 300):
        watch.pass_time(now)
    assert watch.state() is PowerState.UNKNOWN
    assert watch.names == ["communication_lost"]
    assert watch.view.lost_at is None


def test_silence_is_noticed_within_seconds(watch: Watch) -> None:
    """The state is unknown as soon as the rules allow, and not before."""
    watch.pass_time(1 + RULES.silence_s)
    assert watch.state() is PowerState.ON_LINE
    watch.pass_time(1 + RULES.silence_s + 0.1)
    assert watch.state() is PowerState.UNKNOWN


def test_silence_between_two_off_readings_is_no_off(watch: Watch) -> None:
    """Readings before and after a silence are not in a row."""
    watch.hear(reading(2, output_powered=False))
    watch.pass_time(10)
    watch.hear(reading(11, output_powered=False))
    assert "output_off" not in watch.names


def test_communication_back_says_how_long_it_was_away(watch: Watch) -> None:
    """The first reading ends the silence."""
    watch.pass_time(10)
    watch.hear(reading(61))
    assert watch.names == ["communication_lost", "communication_back"]
    assert watch.events[-1].fields["silent_s"] == 60.0
    assert watch.state() is PowerState.ON_LINE


def test_an_outage_survives_silence(outage: Watch) -> None:
    """Communication lost on battery does not end the outage: the battery still runs down."""
    outage.pass_time(600)
    assert outage.state() is PowerState.UNKNOWN
    assert (outage.view.lost_at, outage.confirmed()) == (2, True)
    assert outage.names == ["communication_lost"]
    assert outage.events[0].severity is Severity.CRITICAL
    assert outage.events[0].fields["on_battery"] is True


def test_a_ups_that_falls_silent_right_after_the_loss_has_an_outage(watch: Watch) -> None:
    """Nobody takes the loss back, so it counts after the debounce."""
    watch.hear(lost(2))
    for now in (3, 4, 5, 6):
        watch.pass_time(now)
    assert not watch.confirmed()
    watch.pass_time(2 + RULES.silence_s + 0.1)
    assert watch.confirmed()
    assert watch.names == ["mains_lost", "communication_lost", "outage_confirmed"]


def test_an_outage_that_was_confirmed_in_silence_is_not_confirmed_again(watch: Watch) -> None:
    """A trigger counts it once."""
    watch.hear(lost(2))
    watch.pass_time(10)
    watch.hear(lost(11), lost(12), lost(13))
    assert watch.names.count("outage_confirmed") == 1


def test_a_confirmed_outage_ends_with_the_second_reading_on_mains(outage: Watch) -> None:
    """One wrong reading in the middle of a shutdown must not call it off."""
    outage.hear(reading(7))
    assert outage.state() is PowerState.ON_BATTERY
    assert outage.names == []
    outage.hear(reading(8))
    assert outage.names == ["mains_back"]
    assert outage.events[0].fields == {"on_battery_s": 6.0, "flicker": False}
    assert (outage.confirmed(), outage.view.low) == (False, False)


def test_one_reading_on_mains_after_silence_does_not_end_an_outage(outage: Watch) -> None:
    """Readings before a silence are no witnesses after it."""
    outage.hear(reading(7))
    outage.pass_time(30)
    outage.hear(reading(31))
    assert outage.confirmed()
    outage.hear(reading(32))
    assert not outage.confirmed()


def test_alternating_nonsense_does_not_end_an_outage(outage: Watch) -> None:
    """Mains in every second reading is not mains."""
    for at in range(7, 27, 2):
        outage.hear(reading(at), lost(at + 1))
    assert outage.confirmed()
    assert outage.names == []


def test_battery_low_counts_only_in_a_confirmed_outage(watch: Watch) -> None:
    """Before the debounce the flag waits; with the confirmation it counts."""
    watch.hear(lost(2, battery_low=True), lost(4, battery_low=True))
    assert watch.names == ["mains_lost"]
    watch.hear(lost(5, battery_low=True))
    assert watch.view.low
    assert watch.names == ["mains_lost", "outage_confirmed", "battery_low"]


def test_a_supply_that_chatters_is_an_outage_once_the_battery_is_low(watch: Watch) -> None:
    """None of its flickers lasts as long as the debounce, and they have drained the battery all the same."""
    for start in range(2, 12, 4):
        watch.hear(lost(start, battery_low=True), lost(start + 2, battery_low=True), reading(start + 3))
    assert watch.names[-2:] == ["outage_confirmed", "battery_low"]
    watch.events.clear()
    watch.hear(*(reading(at) for at in (14, 15)))
    assert watch.state() is PowerState.ON_BATTERY, "the mains has not stayed yet"
    watch.hear(reading(16))
    assert watch.names == ["mains_back"]


def test_flickers_far_from_each_other_are_none_though_the_battery_says_low_in_each(watch: Watch) -> None:
    """A voltage that sags at the transfer raises the flag for a moment, on an old battery each time."""
    for start in range(2, 80, 10):
        watch.hear(lost(start, battery_low=True), lost(start + 2, battery_low=True))
        watch.hear(*(reading(start + more) for more in range(3, 9)))
    assert "outage_confirmed" not in watch.names


def test_mains_that_stays_does_so_also_where_readings_are_rare(watch: Watch) -> None:
    """One of them was enough to say that it is there."""
    watch.hear(lost(2, battery_low=True), reading(3), lost(10, battery_low=True), lost(11, battery_low=True))
    assert "outage_confirmed" not in watch.names


def test_battery_low_is_reported_once(outage: Watch) -> None:
    """A flag that comes and goes is one event."""
    outage.hear(lost(7, battery_low=True), lost(8), lost(9, battery_low=True))
    assert outage.names == ["battery_low"]


def test_battery_low_on_mains_triggers_nothing(watch: Watch) -> None:
    """An empty battery that charges is no outage."""
    watch.hear(*(reading(at, battery_low=True) for at in range(2, 30)))
    assert not watch.view.low
    assert watch.names == []


def test_a_battery_test_is_no_outage(watch: Watch) -> None:
    """On battery with the mains there and a test in progress is what a test looks like."""
    watch.hear(*(reading(at, on_battery=True, test_in_progress=True) for at in range(2, 20)), reading(20))
    assert watch.names == ["battery_test_started", "battery_test_ended"]
    assert watch.state() is PowerState.ON_LINE


def test_the_mains_can_go_during_a_battery_test(watch: Watch) -> None:
    """An input without voltage is an outage, test or not."""
    watch.hear(*(reading(at, on_battery=True, test_in_progress=True) for at in range(2, 5)))
    watch.hear(*(lost(at, test_in_progress=True) for at in range(5, 10)))
    assert watch.names == ["battery_test_started", "mains_lost", "outage_confirmed"]


def test_a_test_with_an_unknown_input_voltage_is_no_outage() -> None:
    """An unknown figure is not a voltage of zero."""
    assert not mains_lost(reading(on_battery=True, test_in_progress=True, input_voltage_v=None))
    assert mains_lost(reading(on_battery=True, input_voltage_v=None))


readings = st.builds(
    reading,
    on_battery=st.booleans(),
    output_powered=st.booleans(),
    battery_low=st.booleans(),
    test_in_progress=st.booleans(),
    input_voltage_v=st.sampled_from([None, 0, 230, 52432]),
    charge_percent=st.sampled_from([None, 0, 50, 255]),
)


@given(st.lists(st.tuples(st.sampled_from([0.3, 1.0, 5.0, 60.0]), st.none() | readings), max_size=30))
def test_no_story_of_the_supply_contradicts_itself(story: list[tuple[float, Reading | None]]) -> None:
    """Losses and returns alternate, nothing is confirmed or low without a loss, and silence is unknown."""
    now, watch = 0.0, Watch()
    for pause, heard in story:
        now += pause
        if heard is None:
            watch.pass_time(now)
        else:
            watch.hear(Reading(**{name: getattr(heard, name) for name in Reading.__slots__} | {"at": now}))
        view = watch.view
        assert (view.confirmed or view.low) <= (view.lost_at is not None)
        assert view.low <= view.confirmed
        assert (view.silent or view.reading is None) == (view.state is PowerState.UNKNOWN)
    turns = [name for name in watch.names if name in {"mains_lost", "mains_back"}]
    assert turns == ["mains_lost", "mains_back"] * (len(turns) // 2) + ["mains_lost"] * (len(turns) % 2)


def test_a_test_flag_does_not_end_an_outage(watch: Watch) -> None:
    """In a brown-out that was confirmed, a UPS that says "test" while it stays on battery is still in it."""
    watch.hear(*(lost(at, input_voltage_v=120) for at in range(6)))
    assert watch.view.confirmed
    watch.hear(*(lost(at, input_voltage_v=120, test_in_progress=True) for at in range(6, 10)))
    assert watch.view.confirmed
    assert "mains_back" not in watch.names


@pytest.mark.parametrize(("ends_at", "events"), [(30, []), (5, ["mains_lost", "outage_confirmed"])])
def test_a_battery_test_of_ours_is_no_outage_though_the_ups_does_not_show_it(
    watch: Watch, ends_at: int, events: list[str]
) -> None:
    """We know that we have begun it; longer than it lasts it is no excuse."""
    watch.view = replace(watch.view, test_until=float(ends_at))
    watch.hear(*(reading(at, on_battery=True) for at in range(2, 15)))
    assert watch.names == events


def test_mains_that_goes_during_a_test_of_ours_is_an_outage(watch: Watch) -> None:
    """The input voltage says so."""
    watch.view = replace(watch.view, test_until=30.0)
    watch.hear(*(reading(at, on_battery=True) for at in range(2, 5)), *(lost(at) for at in range(5, 10)))
    assert watch.names == ["mains_lost", "outage_confirmed"]
    assert watch.view.lost_at == 5


def test_silence_says_why_if_that_is_known(watch: Watch) -> None:
    """A person reads it in the event."""
    watch.view, (lost_event,) = tick(watch.view, 10.0, RULES, "the UPS was unplugged")
    assert lost_event.name == "communication_lost"
    assert lost_event.fields["reason"] == "the UPS was unplugged"
