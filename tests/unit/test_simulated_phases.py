"""Units with one and three phases, on-line units, and what is the matter with a unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hardware_sim.ups import frames
from hardware_sim.ups.device import Conditions, NotPossibleError, UpsDevice
from hardware_sim.ups.frames import CheckMode
from hardware_sim.ups.profiles import (
    FLAGS_ONLY,
    FULL_REPORT,
    IPLUG_800,
    ON_LINE_1000,
    SENTRY_60K,
    THREE_TO_ONE_10K,
    THREE_TO_THREE_20K,
    Phases,
    Profile,
)
from hardware_sim.ups.responder import Responder

UNKNOWN_SUBCOMMAND = b"\x152"


def running(profile: Profile, load_w: float = 0.0) -> UpsDevice:
    """A UPS whose clock stands at 0."""
    device = UpsDevice(profile, load_w=lambda: load_w)
    device.advance(0.0)
    return device


def reply_to(device: UpsDevice, command: str, data: bytes = b"") -> bytes:
    """The reply frame to a request in sum mode."""
    body = bytes((0x20, frames.UPS_ADDRESS)) + command.encode() + frames.plain_digits(len(data), 2) + data
    frame = b"\x02" + body + frames.check_digits(body, CheckMode.SUM) + b"\x03"
    return Responder(device).answer(frame, 0.0)


def data_of(device: UpsDevice, command: str) -> bytes:
    """The data characters of the reply."""
    return reply_to(device, command)[7:-5]


def numbers(data: bytes, *places: tuple[int, int]) -> list[int | None]:
    """Numbers at places: first character, counted from 1 as in the document, and width."""
    return [frames.number_of(data[first - 1 : first - 1 + width]) for first, width in places]


def test_a_unit_says_what_it_is_built_of() -> None:
    """GI characters 45 to 56: phases, kind, stages, check, socket, benches, batteries, parallel role."""
    assert data_of(running(IPLUG_800), "GI")[44:] == b"111100110000"
    assert data_of(running(ON_LINE_1000), "GI")[44:] == b"140001130000"
    assert data_of(running(THREE_TO_ONE_10K), "GI")[44:] == b"330000100000"
    assert data_of(running(THREE_TO_THREE_20K), "GI")[44:] == b"430000202000"


def test_three_phases_in_and_out_report_different_figures() -> None:
    """Half loaded: 58 characters, in which no phase and no line looks like another."""
    data = data_of(running(THREE_TO_THREE_20K, 9000.0), "RS")
    assert len(data) == 58
    assert numbers(data, (9, 3), (37, 3), (40, 3)) == [230, 228, 232]
    assert numbers(data, (15, 3), (43, 3), (51, 3)) == [230, 229, 228]
    assert numbers(data, (18, 2), (46, 2), (54, 2)) == [50, 47, 53]
    assert numbers(data, (23, 3), (48, 3), (56, 3)) == [229, 231, 227]


def test_the_powers_of_the_phases_make_up_the_load() -> None:
    """RE: watts add up to the load, volt-amperes follow the name plate, and amperes (0.1 A) are VA by volt."""
    data = data_of(running(THREE_TO_THREE_20K, 9000.0), "RE")
    assert data[:16] == b"0" * 16
    assert numbers(data, (29, 5), (34, 5), (39, 5)) == [3000, 2820, 3180]
    assert numbers(data, (44, 5), (49, 5), (54, 5)) == [3333, 3133, 3533]
    assert numbers(data, (17, 4), (21, 4), (25, 4)) == [145, 137, 155]


def test_peaks_are_higher_than_what_is_effective() -> None:
    """RK: volts by the square root of two, amperes by the crest factor, and stages warmer than the cabinet."""
    data = data_of(running(THREE_TO_THREE_20K, 9000.0), "RK")
    assert numbers(data, (5, 3), (8, 3), (11, 3)) == [325, 322, 328]
    assert numbers(data, (26, 3), (29, 3), (32, 3)) == [325, 324, 322]
    assert numbers(data, (35, 4), (39, 4), (43, 4)) == [232, 219, 248]
    assert numbers(data, (47, 2), (49, 2), (51, 2), (53, 2), (57, 2)) == [36, 38, 40, 28, 25]


def test_three_phases_in_and_one_out_refuse_what_is_about_three_out() -> None:
    """42 characters, and neither RE nor RK."""
    device = running(THREE_TO_ONE_10K, 4500.0)
    data = data_of(device, "RS")
    assert len(data) == 42
    assert numbers(data, (9, 3), (18, 2), (37, 3), (40, 3)) == [230, 50, 228, 232]
    assert [reply_to(device, command)[3:5] for command in ("RE", "RK")] == [UNKNOWN_SUBCOMMAND] * 2


def test_one_phase_in_and_three_out_leave_the_inputs_that_are_not_there_unknown() -> None:
    """58 characters, of which 37 to 42 are `?`, and RK knows one input."""
    device = running(replace(THREE_TO_THREE_20K, phases=Phases.ONE_THREE))
    data = data_of(device, "RS")
    assert (len(data), data[36:42]) == (58, b"??????")
    assert numbers(data, (43, 3), (51, 3)) == [229, 228]
    assert data_of(device, "RK")[7:13] == b"??????"


def test_a_unit_may_give_away_no_figure_at_all() -> None:
    """GN and RS are flags and question marks, with and without mains."""
    device = running(FLAGS_ONLY)
    assert data_of(device, "GN") == b"?" * 22
    assert data_of(device, "RS") == b"80200" + b"?" * 31
    device.cut_mains()
    assert data_of(device, "RS") == b":0010" + b"?" * 31
    three = running(replace(FLAGS_ONLY, phases=Phases.THREE_THREE))
    assert data_of(three, "RE")[16:] == b"?" * 42
    assert data_of(three, "RK")[4:13] == b"?" * 9


def test_a_panel_test_is_done_where_it_is_known() -> None:
    """TP is acknowledged and counted; a unit without it refuses it as unknown."""
    device, without = running(IPLUG_800), running(replace(IPLUG_800, panel_test=False))
    assert [reply_to(device, "TP")[3:5] for _ in range(2)] == [b"TP", b"TP"]
    assert reply_to(without, "TP")[3:5] == UNKNOWN_SUBCOMMAND
    assert (device.panel_tests, without.panel_tests) == (2, 0)


def test_nominal_values_may_be_unknown() -> None:
    """GN is not obligatory."""
    assert reply_to(running(replace(IPLUG_800, nominal_values=False)), "GN")[3:5] == UNKNOWN_SUBCOMMAND


@pytest.mark.parametrize("volts", [180.0, 230.0, 265.0])
def test_an_on_line_unit_gives_the_same_voltage_whatever_comes_in(volts: float) -> None:
    """Nothing is boosted or bucked, and the bypass line shows the mains."""
    device = running(ON_LINE_1000)
    device.brown_out(volts)
    status = device.status()
    assert (status.output_voltage_v, status.boost, status.buck) == (230, False, False)
    assert status.bypass_voltage_v == pytest.approx(volts, rel=0.01)


def test_a_unit_without_stages_passes_poor_mains_on() -> None:
    """Low is low."""
    device = running(replace(FULL_REPORT, boost_stages=0, buck_stages=0))
    device.brown_out(190.0)
    assert device.status().output_voltage_v == pytest.approx(188.1)
    assert not device.status().boost


def test_on_bypass_the_output_is_that_of_the_bypass_line() -> None:
    """High mains comes through, and the flag says why; without mains the inverter takes over again."""
    device = running(ON_LINE_1000)
    device.conditions = Conditions(on_bypass=True)
    device.brown_out(250.0)
    status = device.status()
    assert (status.on_bypass, status.battery_working) == (True, False)
    assert status.output_voltage_v == status.bypass_voltage_v == pytest.approx(249.0)
    device.cut_mains()
    status = device.status()
    assert (status.on_bypass, status.battery_working, status.output_voltage_v) == (False, True, 230)


def test_a_battery_is_not_tested_on_bypass() -> None:
    """The inverter does not carry the load."""
    device = running(ON_LINE_1000)
    device.conditions = Conditions(on_bypass=True)
    with pytest.raises(NotPossibleError):
        device.test_battery()


def test_in_its_line_interactive_function_a_double_unit_passes_mains_on() -> None:
    """The output follows the mains, and the flag tells which of its two functions it has."""
    device = running(ON_LINE_1000)
    device.conditions = Conditions(line_interactive_function=True)
    device.brown_out(240.0)
    assert device.status().output_voltage_v == pytest.approx(237.6)
    assert data_of(device, "RS")[1:2] == b"4"


@pytest.mark.parametrize(
    ("conditions", "flags"),
    [
        ({}, b"80200"),
        ({"locked": True}, b"<0200"),
        ({"on_bypass": True}, b"88200"),
        ({"bypass_bad": True}, b"80:00"),
        ({"failure": True}, b"80208"),
        ({"over_temperature": True}, b"80202"),
    ],
)
def test_each_condition_has_its_flag(conditions: dict[str, Any], flags: bytes) -> None:
    """Set while it runs, and gone again."""
    device = running(ON_LINE_1000)
    device.conditions = Conditions(**conditions)
    assert data_of(device, "RS")[:5] == flags
    device.conditions = Conditions()
    assert data_of(device, "RS")[:5] == b"80200"


def test_a_hot_unit_is_hot() -> None:
    """The temperature goes with its alarm."""
    device = running(FULL_REPORT)
    device.conditions = Conditions(over_temperature=True)
    assert numbers(data_of(device, "RS"), (35, 2)) == [65]


def test_an_on_line_unit_without_mains_has_no_good_bypass() -> None:
    """Its bypass is the same mains; a line-interactive one has none."""
    for profile, bad in ((ON_LINE_1000, True), (FULL_REPORT, False)):
        device = running(profile)
        device.cut_mains()
        assert device.status().bypass_bad is bad


def test_a_machine_that_tests_itself_does_so_every_day_for_six_seconds() -> None:
    """24 h after the start, and again 24 h later; not without mains, and then not until the next day."""
    day_s = 86_400.0
    device = running(SENTRY_60K, 10_000.0)
    seen = []
    for at in (day_s - 1.0, day_s + 5.9, day_s + 6.1, 2 * day_s + 3.0):
        device.advance(at)
        seen.append((device.testing, device.on_battery))
    assert seen == [(False, False), (True, True), (False, False), (True, True)]
    device.advance(3 * day_s - 10.0)
    device.cut_mains()
    device.advance(3 * day_s + 3.0)
    assert (device.testing, device.on_battery) == (False, True)


def test_it_counts_what_it_has_been_through() -> None:
    """Time on the inverter, on battery, and how often; a test is no black-out."""
    device = running(replace(ON_LINE_1000, test_s=60.0), 400.0)
    device.test_battery()
    device.advance(100.0)
    device.cut_mains()
    device.advance(160.0)
    device.restore_mains()
    assert (device.counters.blackouts, device.counters.full_discharges) == (1, 0)
    assert device.counters.battery_s == pytest.approx(120.0)
    assert device.counters.inverter_s == pytest.approx(160.0)
    device.cut_mains()
    device.advance(10_000.0)
    assert (device.counters.blackouts, device.counters.full_discharges) == (2, 1)


def test_a_ups_has_one_of_four_speeds() -> None:
    """Another baud rate is a mistake of the test."""
    with pytest.raises(ValueError, match="not 19200"):
        replace(IPLUG_800, baud=19_200)
