"""SENTR from the machine's side: its 103-byte record and the two texts of its display. Pure.

Source: "SENTRY HPS / HTS communication protocol" 1.00 (October 1996), pages 2 to 5. Words go low byte first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hardware_sim.ups import sentr_codes

if TYPE_CHECKING:
    from datetime import datetime

    from hardware_sim.ups.device import Counters
    from hardware_sim.ups.profiles import Profile, SentrSettings
    from hardware_sim.ups.reports import Status, Three
    from hardware_sim.ups.sentr_codes import Code

PRESENT: Final = 192
PREVIOUS_EVENT: Final = 224
PAST_EVENT: Final = 204
RECORD_BYTES: Final = 103

_THREE_PHASES: Final = 3000
_NOMINAL_INPUT_V: Final = 230.0
_HOUR_S: Final = 3600.0
_ROW: Final = 40

_GOOD_POWER_FACTOR: Final = 0x08
"""The bit of the battery type (byte 76) by which NUT takes a machine's power factor for 0.9 instead of 0.8."""
_PREALARM_MIN: Final = 5
_AUTO_OFF_PERCENT: Final = 0
_BYPASS_RANGE_PERCENT: Final = 15
_FREQUENCY_RANGE_PERCENT: Final = 2
_MODEM: Final = 0
_TIMER_24_H: Final = 120
_FIFTY_HZ: Final = 0x80
"""Byte 82; its bit 0 stays clear: the machine speaks only when spoken to (ECHO 0)."""
_LANGUAGE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the machine measured at one time: now, or when something happened. Battery current out is positive."""

    number: int
    at: datetime
    status: Status
    codes: frozenset[Code]
    runtime_min: float
    input_current_percent: Three
    peak_load_percent: Three
    battery_current_a: float
    rectifier_temperature_c: float
    inverter_temperature_c: float


def record(poll: int, moment: Moment, profile: Profile, sentr: SentrSettings, counters: Counters, menu: int) -> bytes:
    """The answer to the poll byte (IDENT added); `menu` is the code of the panel's menu."""
    status = moment.status
    body = b"".join(
        (
            bytes((poll, RECORD_BYTES)),
            _word(_model(profile)),
            _word(sentr.version),
            _word(moment.runtime_min),
            _byte(status.charge_percent),
            _word(menu),
            bytes((moment.number % 256,)),
            _date(moment.at),
            bytes((sentr_codes.alarm_code(moment.codes),)),
            sentr_codes.code_bytes(moment.codes),
            _measured(moment, sentr),
            _set(profile),
            _elapsed(counters),
            _activation(sentr),
        )
    )
    summed = body if sentr.sums_byte_100 else body[:-1]
    return body + _word(sum(summed))


def text_nine(moment: Moment, profile: Profile) -> bytes:
    """TEXT MESSAGE 9, of 118 bytes.

    The document gives the upper row 41 places, the lower one 39 and the code "a" 10, and means 40, 40 and 11: here
    the upper row ends in a blank, the lower one loses its last character, and the code takes the next place.
    """
    tail = f" {sentr_codes.alarm_text(moment.codes)}{moment.at:%Y-%m-%d/%H:%M:%S} \r\n"
    return _rows(moment, profile) + tail.encode("ascii")


def text_colon(moment: Moment, profile: Profile) -> bytes:
    """TEXT MESSAGE :, of 87 bytes: the rows, the lamps and the language."""
    return _rows(moment, profile) + bytes((_in_and_out(moment), _bypass_and_battery(moment), _LANGUAGE))


def _model(profile: Profile) -> int:
    return (_THREE_PHASES if profile.phases.outputs == 3 else 0) + round(profile.apparent_power_va / 100)


def _measured(moment: Moment, sentr: SentrSettings) -> bytes:
    """Bytes 35 to 72."""
    status = moment.status
    inputs = (status.input_voltage_v, status.input_voltage_2_v, status.input_voltage_3_v)
    outputs = (status.output_voltage_v, status.output_voltage_2_v, status.output_voltage_3_v)
    bypasses = (status.bypass_voltage_v, status.bypass_voltage_2_v, status.bypass_voltage_3_v)
    loads = (status.load_percent, status.load_2_percent, status.load_3_percent)
    battery_v = status.battery_voltage_v or 0.0
    charging = moment.battery_current_a <= 0.0
    current = -10.0 * moment.battery_current_a if charging else moment.battery_current_a
    return b"".join(
        (
            *(_byte(100.0 * (volts or 0.0) / _NOMINAL_INPUT_V) for volts in inputs),
            *map(_byte, moment.input_current_percent),
            _tenths(status.input_frequency_hz),
            _battery_word(battery_v, sentr),
            _battery_word(current, sentr),
            bytes((not charging,)),
            _byte(status.temperature_c),
            _byte(moment.rectifier_temperature_c),
            _byte(moment.inverter_temperature_c),
            *map(_word, bypasses),
            _tenths(status.bypass_frequency_hz),
            *map(_byte, outputs),
            *map(_byte, loads),
            *(_byte((peak or 0.0) / 3) for peak in moment.peak_load_percent),
            _tenths(status.output_frequency_hz),
            _byte(0.0 if status.on_bypass else status.output_voltage_v),
            _word(battery_v),
        )
    )


def _set(profile: Profile) -> bytes:
    """Bytes 73 to 82: what was set when the machine was installed."""
    good = profile.real_power_w / profile.apparent_power_va > 0.85
    return b"".join(
        (
            _byte(profile.output_voltage_v),
            _word(profile.battery_capacity_ah),
            bytes((_GOOD_POWER_FACTOR if good else 0, _PREALARM_MIN, _AUTO_OFF_PERCENT)),
            bytes((_BYPASS_RANGE_PERCENT, _FREQUENCY_RANGE_PERCENT, _MODEM)),
            bytes((_FIFTY_HZ if profile.output_frequency_hz < 55.0 else 0,)),
        )
    )


def _elapsed(counters: Counters) -> bytes:
    """Bytes 83 to 90."""
    hours = (counters.inverter_s / _HOUR_S, counters.battery_s / _HOUR_S)
    return b"".join(_word(int(count)) for count in (*hours, counters.blackouts, counters.full_discharges))


def _activation(sentr: SentrSettings) -> bytes:
    """Bytes 91 to 100: a date, with two daily timers in between."""
    year, month, day = (part.encode("ascii") for part in sentr.first_activation.split("-"))
    return year + bytes((_TIMER_24_H,)) + month + bytes((_TIMER_24_H,)) + day


def _date(at: datetime) -> bytes:
    parts = (at.second, at.minute, at.hour, at.day, at.month, at.year % 100)
    return bytes(part // 10 << 4 | part % 10 for part in parts)


def _rows(moment: Moment, profile: Profile) -> bytes:
    """The first 84 bytes of both texts."""
    status = moment.status
    upper = (
        f"SENTRY {profile.apparent_power_va // 1000} kVA  OUT={status.output_voltage_v or 0.0:.0f}V"
        f"  LOAD={status.load_percent or 0.0:.0f}%  BATT={status.battery_voltage_v or 0.0:.0f}V"
    )
    lower = sentr_codes.message(moment.codes)
    return f"\r\n{upper[:_ROW]:<{_ROW}} \r\n{lower[: _ROW - 1]:<{_ROW - 1}}".encode("ascii")


def _in_and_out(moment: Moment) -> int:
    mains = 0x30 if sentr_codes.Code.MAINS_FAILED in moment.codes else 0x10
    if not moment.status.output_powered:
        return mains
    return mains | (0xC0 if moment.status.overload else 0x40)


def _bypass_and_battery(moment: Moment) -> int:
    status = moment.status
    bypass = 0x03 if status.bypass_bad else 0x01 if status.on_bypass else 0
    if not status.battery_working:
        return bypass
    return bypass | (0x1C if status.battery_low else 0x34)


def _byte(value: float | None) -> bytes:
    return bytes((max(0, min(round(value or 0.0), 0xFF)),))


def _word(value: float | None) -> bytes:
    return max(0, min(round(value or 0.0), 0xFFFF)).to_bytes(2, "little")


def _battery_word(value: float, sentr: SentrSettings) -> bytes:
    word = _word(value)
    return word[::-1] if sentr.battery_high_byte_first else word


def _tenths(hertz: float | None) -> bytes:
    return _word(10.0 * (hertz or 0.0))
