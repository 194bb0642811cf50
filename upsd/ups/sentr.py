"""SENTR: the records and texts of Riello's older three-phase "Sentry" machines. Pure.

Source: "SENTRY HPS / HTS communication protocol" 1.00, pages 2 to 6; bytes are counted from 0 as in its tables. Where
it leaves doubts that no document settles, both readings are accepted if only one of them makes sense, and each place
says so. Nothing in a record stands for "not available", but the minutes hold only on battery.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

PRESENT, PREVIOUS_EVENT, PAST_EVENT = 192, 224, 204
RECORD_BYTES = 103
TEXT_BYTES = 118
SUMMED: tuple[int, ...] = (101, 100)
"""The document sums bytes 0 to 100; real machines are known (by NUT) to leave byte 100 out, a digit of a date."""
DISPLAY_KEY = b"9"
SHUTDOWN_KEYS = b"3747263"
"""Typed 0.6 to 1.8 s apart behind a record, they switch the outlets off after 600 s; only a person restores them."""
SHUTDOWN_DELAY_S = 600

_NOMINAL_INPUT_V = 230
_HIGHEST_BATTERY_V = 1000
_THREE_PHASES_FROM = 3000
_NINETIES = 90
_BEGINS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """What a record is of: the present, or an event of the machine's memory; `at` is its own clock's ISO date."""

    number: int
    at: str
    alarm_code: int


@dataclass(frozen=True, slots=True)
class Counters:
    """What the machine has been through since `first_activation`, an ISO date."""

    inverter_h: int
    battery_h: int
    blackouts: int
    full_discharges: int
    first_activation: str


@dataclass(frozen=True, slots=True)
class SentrRecord:
    """A checked record: figures by phase, and bytes 18 to 34, from which `sentr_alarms` has what is the matter."""

    apparent_power_va: int
    output_phases: int
    firmware: str
    event: Event
    alarm_bytes: bytes
    runtime_min: int
    charge_percent: int
    input_voltage_v: tuple[int, int, int]
    input_current_percent: tuple[int, int, int]
    input_frequency_hz: float
    bypass_voltage_v: tuple[int, int, int]
    bypass_frequency_hz: float
    output_voltage_v: tuple[int, int, int]
    output_current_percent: tuple[int, int, int]
    output_peak_percent: tuple[int, int, int]
    output_frequency_hz: float
    inverter_voltage_v: int
    battery_voltage_v: int
    battery_circuit_voltage_v: int
    battery_current_a: float
    discharging: bool
    temperature_c: int
    rectifier_temperature_c: int
    inverter_temperature_c: int
    nominal_output_voltage_v: int
    nominal_frequency_hz: int
    battery_capacity_ah: int
    battery_type: int
    prealarm_min: int
    auto_off_percent: int
    bypass_voltage_range_percent: int
    bypass_frequency_range_percent: int
    counters: Counters


def record_exchange(poll: int = PRESENT, ident: int = 0, summed: tuple[int, ...] = SUMMED) -> Exchange:
    """Ask the machine with this IDENT (0 to 7) for a record; `summed` is as of `open_record`."""
    asked = poll + ident
    collector = partial(ReplyCollector, bytes((asked, RECORD_BYTES)), RECORD_BYTES)
    return Exchange(bytes((asked,)), collector, partial(open_record, asked=asked, summed=summed), _BEGINS_WITHIN_S)


def key_exchange(key: bytes) -> Exchange:
    """Press a key of the panel; the display's text comes back. A record must have been asked for before."""
    return Exchange(key, partial(ReplyCollector, b"\r\n", TEXT_BYTES), bytes, _BEGINS_WITHIN_S)


class ReplyCollector:
    """Gathers a reply of a known length that begins with known bytes; what comes before them is noise."""

    __slots__ = ("_begins", "_length", "_reply")

    def __init__(self, begins: bytes, length: int) -> None:
        self._begins = begins
        self._length = length
        self._reply = bytearray()

    @property
    def started(self) -> bool:
        """Whether it has begun."""
        return bool(self._reply)

    @property
    def missing(self) -> int:
        """How many bytes it lacks."""
        return self._length - len(self._reply)

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; the reply once it is whole. What follows it in `data` is stale and dropped."""
        self._reply += data
        while self._reply and not self._reply.startswith(self._begins[: len(self._reply)]):
            del self._reply[0]
        return bytes(self._reply[: self._length]) if len(self._reply) >= self._length else None


def open_record(record: bytes, asked: int, summed: tuple[int, ...] = SUMMED) -> bytes:
    """The record, proven to be whole and the answer to this poll byte.

    Args:
        record: the bytes.
        asked: the poll byte.
        summed: how many bytes the machine may have summed: once it is known which it does, only that.

    Raises:
        UpsError: it is not.
    """
    if len(record) != RECORD_BYTES or record[1] != RECORD_BYTES:
        raise UpsError(Fault.WRONG_LENGTH, f"{len(record)} bytes from the UPS are no SENTR record")
    if record[0] != asked:
        raise UpsError(Fault.WRONG_COMMAND, f"asked for record {asked}, got {record[0]}")
    if not summed_in(record, summed):
        raise UpsError(Fault.BAD_INTEGRITY, "the record was damaged on the line")
    return record


def summed_in(record: bytes, summed: tuple[int, ...] = SUMMED) -> tuple[int, ...]:
    """Over how many bytes its sum is right; both where the byte that makes the difference is 0."""
    return tuple(count for count in summed if sum(record[:count]) & 0xFFFF == _word(record, 101))


def decode_record(record: bytes) -> SentrRecord:
    """Decode a record that `open_record` has proven."""
    model = _word(record, 2)
    three_out = model >= _THREE_PHASES_FROM
    nominal_v = record[73] + (256 if record[73] < 100 else 0)
    # The bypass range (byte 79) is a percentage: its highest bit is free, and says that output volts are halved.
    output_scale = 2 if record[79] & 0x80 else 1
    discharging = record[47] == 1
    current_a = _either_way(record, 45)
    return SentrRecord(
        apparent_power_va=(model % _THREE_PHASES_FROM) * 100,
        output_phases=3 if three_out else 1,
        firmware=f"{_word(record, 4) / 100:.2f}",
        event=Event(record[11], _event_date(record), record[18]),
        alarm_bytes=record[18:35],
        runtime_min=_word(record, 6),
        charge_percent=record[8],
        input_voltage_v=_three(record, 35, lambda percent: percent * _NOMINAL_INPUT_V // 100),
        input_current_percent=_three(record, 38),
        input_frequency_hz=_frequency(record, 41),
        bypass_voltage_v=(_word(record, 51), _word(record, 53), _word(record, 55)),
        bypass_frequency_hz=_frequency(record, 57),
        output_voltage_v=_three(record, 59, lambda volts: volts * output_scale),
        output_current_percent=_three(record, 62),
        output_peak_percent=_three(record, 65, lambda third: third * 3),
        output_frequency_hz=_frequency(record, 68),
        inverter_voltage_v=record[70],
        battery_voltage_v=_either_way(record, 43),
        battery_circuit_voltage_v=_word(record, 71),
        battery_current_a=float(current_a) if discharging else current_a / 10,
        discharging=discharging,
        temperature_c=record[48],
        rectifier_temperature_c=record[49],
        inverter_temperature_c=record[50],
        nominal_output_voltage_v=nominal_v,
        nominal_frequency_hz=50 if record[82] & 0x80 else 60,
        battery_capacity_ah=_word(record, 74),
        battery_type=record[76],
        prealarm_min=record[77],
        auto_off_percent=record[78],
        bypass_voltage_range_percent=record[79] & 0x7F,
        bypass_frequency_range_percent=record[80],
        counters=Counters(
            _word(record, 83), _word(record, 85), _word(record, 87), _word(record, 89), _activation(record)
        ),
    )


def decode_display(text: bytes) -> tuple[str, str]:
    """The two rows of the panel's display in a text message 9 (page 3)."""
    return _printable(text[2:43]), _printable(text[45:84])


def _word(record: bytes, place: int) -> int:
    return record[place] | record[place + 1] << 8


def _either_way(record: bytes, place: int) -> int:
    """A battery word: the document has its high byte first, a dump of a real machine its low byte."""
    low_first = _word(record, place)
    return low_first if low_first <= _HIGHEST_BATTERY_V else record[place] << 8 | record[place + 1]


def _three(record: bytes, place: int, scale: Callable[[int], int] = int) -> tuple[int, int, int]:
    return scale(record[place]), scale(record[place + 1]), scale(record[place + 2])


def _frequency(record: bytes, place: int) -> float:
    """In Hz by the document, in 0.1 Hz by real machines (NUT); no mains has more than 100 Hz."""
    value = _word(record, place)
    return value / 10 if value > 100 else float(value)


def _event_date(record: bytes) -> str:
    seconds, minutes, hours, day, month, year = (_bcd(byte) for byte in record[12:18])
    century = 1900 if year >= _NINETIES else 2000
    return f"{century + year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}"


def _activation(record: bytes) -> str:
    return f"{_printable(record[91:95])}-{_printable(record[96:98])}-{_printable(record[99:101])}"


def _bcd(byte: int) -> int:
    return (byte >> 4) * 10 + (byte & 0x0F)


def _printable(field: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else " " for byte in field).strip()
