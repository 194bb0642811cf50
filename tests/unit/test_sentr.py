"""SENTR records and texts: every byte of the document's table comes out as what it says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.ups import sentr, sentr_alarms
from upsd.ups.errors import Fault, UpsError
from upsd.ups.sentr_dialect import identity_from, reading_from

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = {0: 192, 1: 103}
MODEL = {2: 0x10, 3: 0x0E, 4: 194}  # 60 kVA, three phases out, version 1.94
WORDS = (
    {6: 17, 8: 99}  # minutes, charge
    | {11: 5, 12: 0x59, 13: 0x30, 14: 0x23, 15: 0x31, 16: 0x12, 17: 0x96, 18: 7}  # event
    | {35: 100, 36: 99, 37: 101, 38: 50, 39: 51, 40: 52, 41: 0xF4, 42: 1}  # input
    | {43: 0xAF, 44: 1, 45: 25, 47: 0, 48: 28, 49: 31, 50: 32}  # battery 431 V, 2.5 A charging; temperatures
    | {51: 231, 53: 232, 55: 233, 57: 0xF5, 58: 1}  # bypass, 50.1 Hz
    | {59: 230, 60: 229, 61: 228, 62: 90, 63: 60, 64: 30, 65: 40, 66: 41, 67: 42, 68: 0xF4, 69: 1}  # output
    | {70: 229, 71: 0xB0, 72: 1, 73: 230, 74: 38, 76: 9, 77: 5, 78: 3, 79: 10, 80: 2, 82: 0x80}  # settings
    | {83: 0x10, 84: 0x27, 85: 12, 87: 34, 89: 2}  # hours and counts
    | {91: 49, 92: 57, 93: 57, 94: 55, 96: 48, 97: 55, 99: 49, 100: 52}  # 1997-07-14
)


def record(changes: Mapping[int, int] | None = None, *, summed: int = 101) -> bytes:
    """A record with a right sum over so many bytes."""
    body = bytearray(103)
    for place, value in {**HEAD, **MODEL, **WORDS, **(changes or {})}.items():
        body[place] = value
    body[101:103] = (sum(body[:summed]) & 0xFFFF).to_bytes(2, "little")
    return bytes(body)


def decoded(changes: Mapping[int, int] | None = None) -> sentr.SentrRecord:
    """The record, proven and decoded."""
    return sentr.decode_record(sentr.open_record(record(changes), 192))


def test_every_figure_comes_out_in_its_unit() -> None:
    """The table of pages 3 to 5."""
    assert decoded() == sentr.SentrRecord(
        apparent_power_va=60_000,
        output_phases=3,
        firmware="1.94",
        event=sentr.Event(5, "1996-12-31T23:30:59", 7),
        alarm_bytes=b"\x07" + bytes(16),
        runtime_min=17,
        charge_percent=99,
        input_voltage_v=(230, 227, 232),
        input_current_percent=(50, 51, 52),
        input_frequency_hz=50.0,
        bypass_voltage_v=(231, 232, 233),
        bypass_frequency_hz=50.1,
        output_voltage_v=(230, 229, 228),
        output_current_percent=(90, 60, 30),
        output_peak_percent=(120, 123, 126),
        output_frequency_hz=50.0,
        inverter_voltage_v=229,
        battery_voltage_v=431,
        battery_circuit_voltage_v=432,
        battery_current_a=2.5,
        discharging=False,
        temperature_c=28,
        rectifier_temperature_c=31,
        inverter_temperature_c=32,
        nominal_output_voltage_v=230,
        nominal_frequency_hz=50,
        battery_capacity_ah=38,
        battery_type=9,
        prealarm_min=5,
        auto_off_percent=3,
        bypass_voltage_range_percent=10,
        bypass_frequency_range_percent=2,
        counters=sentr.Counters(10_000, 12, 34, 2, "1997-07-14"),
    )


def test_a_machine_on_mains_says_so_in_everybodys_words() -> None:
    """Minutes hold only on battery, so there are none."""
    reading = reading_from(decoded(), at=3.0)
    assert (reading.at, reading.on_battery, reading.output_powered, reading.charging) == (3.0, False, True, True)
    assert (reading.runtime_s, reading.charge_percent, reading.load_percent) == (None, 99, 60)
    assert [phase.output_voltage_v for phase in reading.phases] == [230, 229, 228]
    identity = identity_from(decoded())
    assert (identity.model, identity.phases, identity.real_power_w) == ("Sentry 60 kVA", (3, 3), None)


@pytest.mark.parametrize(
    ("alarm", "flag"),
    [
        (sentr_alarms.MAINS_FAILED, "on_battery"),
        (sentr_alarms.BATTERY_LOW, "battery_low"),
        (sentr_alarms.MANUAL_BYPASS, "on_bypass"),
        (sentr_alarms.BYPASS_BY_OVERLOAD, "on_bypass"),
        (sentr_alarms.BYPASS_LINE_FAILED, "bypass_bad"),
        (sentr_alarms.OUTPUT_OVERLOAD, "overload"),
        (sentr_alarms.OVER_TEMPERATURE, "over_temperature"),
        (sentr_alarms.REMOTE_OFF_PENDING, "shutdown_active"),
        (sentr_alarms.INVERTER_LOCKED, "locked"),
        ((33, 2), "failure"),
    ],
)
def test_each_alarm_is_the_flag_that_it_means(alarm: tuple[int, int], flag: str) -> None:
    """One bit, one flag; without it the flag is not set."""
    byte, bit = alarm
    assert getattr(reading_from(decoded({byte: 1 << bit}), at=0.0), flag)
    assert not getattr(reading_from(decoded(), at=0.0), flag)


@pytest.mark.parametrize("alarm", sentr_alarms.IS_OFF)
def test_an_output_that_is_off_is_neither_powered_nor_on_bypass(alarm: tuple[int, int]) -> None:
    """Three bits say that it is off."""
    byte, bit = alarm
    reading = reading_from(decoded({byte: 1 << bit, 32: 1}), at=0.0)
    assert (reading.output_powered, reading.on_bypass) == (False, False)


def test_minutes_count_on_battery() -> None:
    """Seventeen of them, in seconds."""
    assert reading_from(decoded({31: 0x08, 47: 1}), at=0.0).runtime_s == 1020


def test_every_alarm_bit_has_its_words() -> None:
    """The table of pages 6 to 10; what is the matter stands apart from what parts say of themselves at all times."""
    everything = decoded(dict.fromkeys(range(19, 35), 0xFF)).alarm_bytes
    alarms, codes = sentr_alarms.alarms(everything), sentr_alarms.codes(everything)
    assert len(alarms) == len(set(alarms)) == 31
    assert len(codes) == len(set(codes)) == 89
    assert sentr_alarms.alarms(decoded({34: 0x10, 24: 0x80}).alarm_bytes) == ("remote system off command",)
    assert sentr_alarms.codes(decoded({34: 0x10, 24: 0x80}).alarm_bytes) == ("inverter commanded on",)
    assert sentr_alarms.alarms(decoded().alarm_bytes) == ()


@pytest.mark.parametrize(
    ("low_byte", "high_byte"), [((43, 0xAF), (44, 0x01)), ((43, 0x01), (44, 0xAF))], ids=["low first", "high first"]
)
def test_the_battery_voltage_is_read_in_either_order(low_byte: tuple[int, int], high_byte: tuple[int, int]) -> None:
    """The document has the high byte first, a real machine the low one; only one of them makes sense."""
    assert decoded(dict((low_byte, high_byte))).battery_voltage_v == 431


@pytest.mark.parametrize(("low", "high", "hertz"), [(0xF4, 1, 50.0), (50, 0, 50.0), (0x58, 2, 60.0)])
def test_a_frequency_is_read_in_hertz_or_tenths(low: int, high: int, hertz: float) -> None:
    """The document says Hz, real machines send tenths."""
    assert decoded({41: low, 42: high}).input_frequency_hz == hertz


def test_high_output_voltages_are_halved_on_the_wire() -> None:
    """A byte holds no 400 V; the highest bit of another byte says so."""
    assert decoded({59: 200, 79: 0x8A}).output_voltage_v[0] == 400
    assert decoded({79: 0x8A}).bypass_voltage_range_percent == 10


@pytest.mark.parametrize("summed", [101, 100], ids=["as documented", "as NUT knows it"])
def test_both_sums_are_right_until_it_is_known_which_one_is_used(summed: int) -> None:
    """Document and real machines differ in whether byte 100 counts."""
    whole = record(summed=summed)
    assert sentr.open_record(whole, 192) == whole
    assert sentr.summed_in(whole) == (summed,)
    with pytest.raises(UpsError):
        sentr.open_record(whole, 192, summed=(201 - summed,))


@given(st.integers(0, 102), st.integers(1, 255))
def test_a_damaged_record_is_refused(place: int, change: int) -> None:
    """No byte can change unnoticed."""
    damaged = bytearray(record())
    damaged[place] ^= change
    with pytest.raises(UpsError):
        sentr.open_record(bytes(damaged), 192, summed=(101,))


def test_a_record_of_another_kind_is_no_answer() -> None:
    """A past event is not the present."""
    with pytest.raises(UpsError) as caught:
        sentr.open_record(record({0: 224}), 192)
    assert caught.value.fault is Fault.WRONG_COMMAND


@pytest.mark.parametrize("ident", range(8))
def test_each_ident_asks_with_a_byte_of_its_own(ident: int) -> None:
    """Eight machines can share a line, and only one answers."""
    exchange = sentr.record_exchange(sentr.PREVIOUS_EVENT, ident)
    assert exchange.request == bytes((224 + ident,))
    answer = record({0: 224 + ident})
    assert exchange.proven(answer) == answer


@given(st.binary(max_size=30), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_record_is_found_behind_noise_and_in_any_split(noise: bytes, cuts: list[int]) -> None:
    """However the line cuts it; `missing` never says less than there is to come."""
    noise = noise.replace(b"\xc0", b"")
    sent, collector = noise + record(), sentr.record_exchange().collector()
    found, start, turn = None, 0, 0
    while found is None:
        assert collector.missing <= len(sent) - start
        piece = sent[start : start + cuts[turn % len(cuts)]]
        assert piece
        found = collector.feed(piece)
        start, turn = start + len(piece), turn + 1
    assert found == record()


@given(st.binary(max_size=400))
def test_garbage_is_an_error_and_never_a_record(garbage: bytes) -> None:
    """Whatever comes down the line, there is a record with a right sum, or none."""
    exchange = sentr.record_exchange()
    reply = exchange.collector().feed(garbage)
    if reply is not None:
        with contextlib.suppress(UpsError):
            assert sum(exchange.proven(reply)[:100]) & 0xFFFF <= int.from_bytes(reply[101:103], "little")


def test_the_display_is_two_rows() -> None:
    """Text message 9, page 3."""
    text = b"\r\n" + b"RIELLO SENTRY 60 kVA".ljust(41) + b"\r\n" + b"NORMAL OPERATION".ljust(39)
    text += b" a=0000-0000 1997-07-14/12:00:00 \r\n"
    whole = text.ljust(116)[:116] + b"\r\n"
    assert sentr.key_exchange(b"9").collector().feed(whole) == whole
    assert sentr.decode_display(whole) == ("RIELLO SENTRY 60 kVA", "NORMAL OPERATION")
