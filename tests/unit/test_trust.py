"""Which figures of a reading are believed at once, which only when they are said twice, and which never."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.power import Reading
from upsd.ups import trust
from upsd.ups.trust import IMPOSSIBLE_ABOVE, RULES, Trust, sift


def reading(at: float = 0.0, **changes: Any) -> Reading:
    """A good reading on mains, but for the changes."""
    usual: dict[str, Any] = {
        "output_powered": True,
        "on_battery": False,
        "battery_low": False,
        "input_voltage_v": 230,
        "input_frequency_hz": 50.0,
        "output_voltage_v": 230,
        "output_frequency_hz": 50.0,
        "battery_voltage_v": 13.6,
        "charge_percent": 100,
        "runtime_s": 1200,
        "temperature_c": 25,
        "load_percent": 20,
    }
    return Reading(at=at, **(usual | changes))


def discharging(at: float = 0.0, **changes: Any) -> Reading:
    """A good reading on battery, but for the changes."""
    usual: dict[str, Any] = {
        "on_battery": True,
        "input_voltage_v": 0,
        "input_frequency_hz": 0.0,
        "battery_voltage_v": 12.2,
    }
    return reading(at, **(usual | changes))


def sifted(*said: Reading) -> list[Reading]:
    """What is believed of readings that follow each other by half a second."""
    known, believed = Trust(), []
    for number, one in enumerate(said):
        known, now = sift(known, replace(one, at=number / 2))
        believed.append(now)
    return believed


def doubted(one: Reading) -> dict[str, str]:
    """The figures of a reading that are held back, and by which rule."""
    return {doubt.figure: doubt.rule for doubt in one.doubts}


ODD = {
    "charge jumps": (reading(), {"charge_percent": 20}),
    "comes from nowhere": (reading(charge_percent=None), {"charge_percent": 0}),
    "runtime grows on battery": (discharging(), {"runtime_s": 3600}),
    "runtime collapses": (discharging(), {"runtime_s": 60}),
    "battery voltage jumps": (discharging(), {"battery_voltage_v": 9.1}),
    "temperature jumps": (reading(), {"temperature_c": 60}),
    "load jumps": (reading(), {"load_percent": 99}),
    "unsteady input": (reading(), {"input_frequency_hz": 0.0}),
    "unsteady output": (reading(), {"output_frequency_hz": 0.0}),
    "dead output": (reading(), {"output_voltage_v": 0, "output_frequency_hz": 0.0}),
    "mains without voltage": (reading(), {"input_voltage_v": 0, "input_frequency_hz": 0.0}),
}
CASES = pytest.mark.parametrize(("rule", "usual", "odd"), [(rule, *case) for rule, case in ODD.items()], ids=ODD)


def test_there_is_a_case_for_every_rule() -> None:
    """And a rule for every case."""
    assert set(ODD) == {rule.__name__.replace("_", " ") for rule in RULES}


@CASES
def test_an_odd_figure_is_held_back_once(rule: str, usual: Reading, odd: dict[str, Any]) -> None:
    """The older figure stands, somebody can see why, and the next good reading is believed as ever."""
    _, held, good = sifted(usual, replace(usual, **odd), usual)
    figures = [figure for figure, broken in doubted(held).items() if broken == rule]
    assert figures
    assert all(getattr(held, figure) == getattr(usual, figure) for figure in figures)
    assert good == usual


@CASES
def test_a_figure_that_is_said_twice_is_believed(rule: str, usual: Reading, odd: dict[str, Any]) -> None:
    """Odd things do happen."""
    changed = replace(usual, **odd)
    _, held, believed, still = sifted(usual, changed, changed, changed)
    assert rule in doubted(held).values()
    assert believed == changed
    assert still == changed


@CASES
def test_no_flag_is_ever_held_back(rule: str, usual: Reading, odd: dict[str, Any]) -> None:
    """Mains lost and battery low count with the very reading that says so, however odd its figures."""
    del rule
    _, held = sifted(usual, replace(usual, **odd, on_battery=True, battery_low=True))
    assert (held.on_battery, held.battery_low) == (True, True)


@CASES
def test_a_rule_has_nothing_to_say_of_what_is_not_reported(rule: str, usual: Reading, odd: dict[str, Any]) -> None:
    """An iPlug reports neither charge nor time nor load."""
    del rule
    unknown: dict[str, Any] = dict.fromkeys(IMPOSSIBLE_ABOVE) | {"runtime_s": None}
    before, after = sifted(replace(usual, **unknown), replace(usual, **(unknown | dict.fromkeys(odd))))
    assert (before.doubts, after.doubts) == ((), ())


def test_the_charge_that_falls_to_20_and_is_back_is_never_shown() -> None:
    """100, 20, 100 in three polls."""
    assert [one.charge_percent for one in sifted(reading(), reading(charge_percent=20), reading())] == [100, 100, 100]


def test_a_figure_that_never_says_the_same_twice_becomes_unknown() -> None:
    """The older one does not stand for ever."""
    noise = [reading(charge_percent=charge) for charge in (20, 70, 35, 80, 10)]
    shown = [one.charge_percent for one in sifted(reading(), *noise)]
    assert shown == [100, 100, 100, 100, None, None]


def test_only_the_odd_one_of_two_figures_is_held() -> None:
    """Frequency 0 with voltage 230: the voltage is as it was."""
    _, held = sifted(reading(), reading(input_frequency_hz=0.0))
    assert doubted(held) == {"input_frequency_hz": "unsteady input"}
    assert (held.input_voltage_v, held.input_frequency_hz) == (230, 50.0)


def test_an_odd_first_reading_has_nothing_to_stand_for_it() -> None:
    """Then the figure is unknown until it is said again."""
    first, second = sifted(reading(input_frequency_hz=0.0), reading(input_frequency_hz=0.0))
    assert (first.input_frequency_hz, first.input_voltage_v) == (None, None)
    assert (second.input_frequency_hz, second.input_voltage_v) == (0.0, 230)


@pytest.mark.parametrize("figure", IMPOSSIBLE_ABOVE)
def test_an_impossible_figure_is_unknown_however_often_it_is_said(figure: str) -> None:
    """255 % is not believed the second time either."""
    said = reading(**{figure: IMPOSSIBLE_ABOVE[figure] + 1})
    for believed in sifted(said, said, said):
        assert getattr(believed, figure) is None
        assert doubted(believed)[figure] == "impossible"


@pytest.mark.parametrize("figure", IMPOSSIBLE_ABOVE)
def test_the_largest_possible_figure_is_possible(figure: str) -> None:
    """A limit is not beyond itself."""
    assert getattr(sifted(reading(**{figure: IMPOSSIBLE_ABOVE[figure]}))[0], figure) is not None


def test_a_loss_of_mains_is_believed_with_all_its_figures() -> None:
    """Voltage and frequency go, the battery sags: nothing about it is odd."""
    on_mains, lost = sifted(reading(), discharging())
    assert (on_mains.doubts, lost.doubts) == ((), ())


def test_after_a_long_silence_everything_is_believed_at_once() -> None:
    """What was known an hour ago says nothing about now."""
    known, _ = sift(Trust(), reading(0.0))
    _, later = sift(known, reading(3600.0, charge_percent=20, temperature_c=60, battery_voltage_v=11.0))
    assert later.doubts == ()


def test_low_mains_stays_believed() -> None:
    """95 V at 50 Hz looks half dead; once it is believed it stays so."""
    weak = reading(input_voltage_v=95)
    _, held, *others = sifted(reading(), weak, weak, weak, weak)
    assert held.input_voltage_v == 230
    assert [one.input_voltage_v for one in others] == [95, 95, 95]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 7000), st.booleans()), max_size=30))
def test_what_is_shown_was_said_lately_or_is_unknown(said: list[tuple[int, int, bool]]) -> None:
    """Nothing invents a number, whatever the UPS says."""
    readings = [reading(charge_percent=c, runtime_s=r, on_battery=b) for c, r, b in said]
    believed = sifted(*readings)
    for number, one in enumerate(believed):
        lately = readings[max(0, number - 3) : number + 1]
        assert one.charge_percent in {None, *(before.charge_percent for before in lately)}
        assert one.runtime_s in {None, *(before.runtime_s for before in lately)}
        assert one.on_battery == readings[number].on_battery


def test_every_rule_is_explained() -> None:
    """A person who reads its name in a warning finds out what it means."""
    assert all((rule.__doc__ or "").endswith(".") for rule in RULES)
    assert trust.RULES is RULES
