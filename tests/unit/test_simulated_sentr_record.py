"""The record of the simulated Sentry, from figures that are given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hardware_sim.ups.device import Counters
from hardware_sim.ups.profiles import SENTRY_60K, SentrSettings
from hardware_sim.ups.reports import Status
from hardware_sim.ups.sentr import PRESENT, Moment, record

SETTINGS = SentrSettings(first_activation="1999-04-25")
SAMPLE = Moment(
    number=1,
    at=datetime(1999, 4, 25, 13, 59, 7, tzinfo=UTC),
    status=Status(
        output_powered=True,
        input_frequency_hz=50.0,
        input_voltage_v=230.0,
        input_voltage_2_v=230.0,
        input_voltage_3_v=230.0,
        output_frequency_hz=50.0,
        output_voltage_v=230.0,
        output_voltage_2_v=229.0,
        output_voltage_3_v=228.0,
        load_percent=90.0,
        load_2_percent=90.0,
        load_3_percent=90.0,
        battery_voltage_v=431.0,
        charge_percent=99.0,
        temperature_c=28.0,
    ),
    codes=frozenset(),
    runtime_min=17.0,
    input_current_percent=(95.0, 94.0, 96.0),
    peak_load_percent=(144.0, 150.0, 141.0),
    battery_current_a=12.0,
    rectifier_temperature_c=41.0,
    inverter_temperature_c=43.0,
)


def word(written: bytes, place: int) -> int:
    """A word, low byte first."""
    return written[place] | written[place + 1] << 8


def write(moment: Moment, settings: SentrSettings = SETTINGS, counters: Counters | None = None) -> bytes:
    """The present record of this moment."""
    return record(PRESENT, moment, SENTRY_60K, settings, counters or Counters(), menu=0x1234)


def test_the_sample_of_the_protocol_notes_has_its_figures_where_it_must() -> None:
    """Notes 5.3: 60 kVA, version 1.94, 17 min, 99 %, inputs 100 %, 50.0 Hz, 431 V, 28 C, 230/229/228 V, 90 %."""
    sample = write(SAMPLE)
    assert [word(sample, place) for place in (2, 4, 6, 41, 43)] == [3600, 194, 17, 500, 431]
    assert (sample[:2], sample[8], sample[48]) == (bytes((192, 103)), 99, 28)
    assert (list(sample[35:38]), list(sample[59:62])) == ([100, 100, 100], [230, 229, 228])
    assert list(sample[62:65]) == [90, 90, 90]


def test_what_the_sample_does_not_have_is_written_too() -> None:
    """Menu, number, date in BCD, currents and their sign, temperatures, peaks by three, hours and counts."""
    sample = write(SAMPLE, counters=Counters(inverter_s=36_000.0, battery_s=7_300.0, blackouts=300, full_discharges=4))
    assert (word(sample, 9), sample[11], sample[12:18]) == (0x1234, 1, bytes.fromhex("07 59 13 25 04 99"))
    assert (list(sample[38:41]), word(sample, 45), sample[47]) == ([95, 94, 96], 12, 1)
    assert (list(sample[49:51]), list(sample[65:68])) == ([41, 43], [48, 50, 47])
    assert [word(sample, place) for place in (71, 83, 85, 87, 89)] == [431, 10, 2, 300, 4]


def test_the_sum_of_nut_and_that_of_the_document_differ_by_the_last_digit_of_a_date() -> None:
    """With byte 100 = "5" by 53, as in the notes; the record is otherwise the same."""
    nut, document = write(SAMPLE), write(SAMPLE, replace(SETTINGS, sums_byte_100=True))
    assert nut[:101] == document[:101]
    assert (nut[100], word(document, 101) - word(nut, 101)) == (53, 53)


def test_a_figure_that_does_not_fit_its_byte_is_cut() -> None:
    """Nothing runs over into the next byte, and what is not known is 0."""
    status = replace(SAMPLE.status, load_percent=300.0, output_voltage_2_v=-4.0, temperature_c=None)
    cut = write(replace(SAMPLE, status=status, number=258))
    assert (cut[62], cut[60], cut[48], cut[11], len(cut)) == (255, 0, 0, 2, 103)
