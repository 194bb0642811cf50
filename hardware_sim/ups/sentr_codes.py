"""Which alarm and code bits does a Sentry set? Bytes 19 to 34 of a SENTR record (pages 5 to 10).

Only the bits that something in the simulated machine can set have a name here. A bit is its byte in the record and
its place in it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.outlets import OffCause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.reports import Status

_FIRST_BYTE: Final = 19
_BYTES: Final = 16
_ALARMS_FROM: Final = 31
_LOW_CHARGE_PERCENT: Final = 20.0


class Code(enum.Enum):
    """A bit, in the words of the document."""

    SYSTEM_OVER_TEMPERATURE = (19, 4)
    REMOTE_SHUT_OFF_ACTIVE = (19, 6)
    LOW_DIRECT_VOLTAGE_PREALARM = (20, 5)
    OVERLOAD_LINE_1 = (21, 3)
    OVERLOAD_LINE_2 = (21, 4)
    OVERLOAD_LINE_3 = (21, 5)
    BYPASS_LINE_1_NOT_CORRECT = (23, 2)
    BYPASS_LINE_2_NOT_CORRECT = (23, 3)
    BYPASS_LINE_3_NOT_CORRECT = (23, 4)
    INVERTER_CONTACTOR_OPEN = (24, 1)
    BYPASS_CONTACTOR_CLOSED = (24, 2)
    INVERTER_COMMANDED_ON = (24, 7)
    HIGH_VOLTAGE_LINE_1 = (25, 0)
    HIGH_VOLTAGE_LINE_2 = (25, 1)
    HIGH_VOLTAGE_LINE_3 = (25, 2)
    LOW_VOLTAGE_LINE_1 = (25, 3)
    LOW_VOLTAGE_LINE_2 = (25, 4)
    LOW_VOLTAGE_LINE_3 = (25, 5)
    NO_INPUT_CURRENT_LINE_1 = (25, 6)
    NO_INPUT_CURRENT_LINE_2 = (25, 7)
    NO_INPUT_CURRENT_LINE_3 = (26, 0)
    RECTIFIER_BRANCH_FAILED = (27, 0)
    INVERTER_PERMANENT_FAILURE = (30, 7)

    BYPASS_LINE_DISTURBED = (31, 0)
    BYPASS_LINE_FAILED = (31, 2)
    MAINS_FAILED = (31, 3)
    LOW_BATTERY = (31, 4)
    LOW_CHARGE = (31, 6)
    OVERLOAD = (31, 7)
    INVERTER_LOCKED = (32, 3)
    RECTIFIER_SECTION_FAILED = (33, 1)
    BYPASS_BY_OVERLOAD = (33, 4)
    BYPASS_COMMAND = (33, 5)
    OVER_TEMPERATURE = (34, 0)
    OUTPUT_OFF = (34, 2)
    SYSTEM_OFF_COMMAND = (34, 3)
    REMOTE_OFF_COMMAND = (34, 4)


_MESSAGES: Final = {
    Code.BYPASS_LINE_DISTURBED: "DISTURBANCES ON BYPASS LINE",
    Code.BYPASS_LINE_FAILED: "BYPASS LINE VOLT. FAIL or SWBY,FSCR OFF",
    Code.MAINS_FAILED: "MAIN LINE VOLTAGE FAIL or SWIN OFF",
    Code.LOW_BATTERY: "PREALARM, LOW BATTERY VOLTAGE",
    Code.LOW_CHARGE: "LOW BATTERY CHARGE or CLOSE SWB",
    Code.OVERLOAD: "OUTPUT OVERLOAD",
    Code.INVERTER_LOCKED: "FAULT 2: inverter lockup",
    Code.RECTIFIER_SECTION_FAILED: "FAULT 8: one section of rectifier",
    Code.BYPASS_BY_OVERLOAD: "BYPASS FOR OUTPUT OVERLOAD",
    Code.BYPASS_COMMAND: "BYPASS COMMAND ACTIVE",
    Code.OVER_TEMPERATURE: "OVERTEMPERATURE or FAN FAILURE",
    Code.OUTPUT_OFF: "OUTPUT OFF, CLOSE SWOUT OR SWMB",
    Code.SYSTEM_OFF_COMMAND: "SYSTEM OFF COMMAND ACTIVE",
    Code.REMOTE_OFF_COMMAND: "REMOTE SYSTEM OFF COMMAND",
}
_LOW_VOLTAGE: Final = (Code.LOW_VOLTAGE_LINE_1, Code.LOW_VOLTAGE_LINE_2, Code.LOW_VOLTAGE_LINE_3)
_HIGH_VOLTAGE: Final = (Code.HIGH_VOLTAGE_LINE_1, Code.HIGH_VOLTAGE_LINE_2, Code.HIGH_VOLTAGE_LINE_3)
_NO_CURRENT: Final = (Code.NO_INPUT_CURRENT_LINE_1, Code.NO_INPUT_CURRENT_LINE_2, Code.NO_INPUT_CURRENT_LINE_3)
_BYPASS: Final = (Code.BYPASS_LINE_1_NOT_CORRECT, Code.BYPASS_LINE_2_NOT_CORRECT, Code.BYPASS_LINE_3_NOT_CORRECT)
_OVERLOAD: Final = (Code.OVERLOAD_LINE_1, Code.OVERLOAD_LINE_2, Code.OVERLOAD_LINE_3)
_TOLD_OFF: Final = {OffCause.TRIPPED, OffCause.SHUTDOWN, OffCause.CYCLE}


def codes_of(device: UpsDevice, status: Status) -> frozenset[Code]:
    """What is the matter with this machine, which says this of itself."""
    told_off = device.outlets.cause in _TOLD_OFF
    low_charge = (status.charge_percent or 0.0) < _LOW_CHARGE_PERCENT and not status.battery_working
    whole = {
        Code.SYSTEM_OVER_TEMPERATURE: status.over_temperature,
        Code.OVER_TEMPERATURE: status.over_temperature,
        Code.REMOTE_SHUT_OFF_ACTIVE: told_off,
        Code.SYSTEM_OFF_COMMAND: told_off,
        Code.REMOTE_OFF_COMMAND: status.shutdown_active,
        Code.OUTPUT_OFF: not status.output_powered,
        Code.LOW_DIRECT_VOLTAGE_PREALARM: status.battery_low,
        Code.LOW_BATTERY: status.battery_low,
        Code.LOW_CHARGE: status.replace_battery or low_charge,
        Code.MAINS_FAILED: not device.mains_usable,
        Code.BYPASS_LINE_FAILED: not device.mains_usable,
        Code.BYPASS_LINE_DISTURBED: device.mains_usable and status.bypass_bad,
        Code.OVERLOAD: status.overload,
        Code.BYPASS_BY_OVERLOAD: status.on_bypass and status.overload,
        Code.BYPASS_COMMAND: status.on_bypass and not status.overload,
        Code.BYPASS_CONTACTOR_CLOSED: status.on_bypass,
        Code.INVERTER_CONTACTOR_OPEN: status.on_bypass or not status.output_powered,
        Code.INVERTER_COMMANDED_ON: status.output_powered and not status.on_bypass,
        Code.INVERTER_LOCKED: status.locked,
        Code.INVERTER_PERMANENT_FAILURE: status.locked,
        Code.RECTIFIER_SECTION_FAILED: status.failure,
        Code.RECTIFIER_BRANCH_FAILED: status.failure,
    }
    return frozenset(code for code, is_set in whole.items() if is_set) | frozenset(_by_line(device, status))


def code_bytes(codes: Iterable[Code]) -> bytes:
    """Bytes 19 to 34."""
    written = bytearray(_BYTES)
    for code in codes:
        byte, bit = code.value
        written[byte - _FIRST_BYTE] |= 1 << bit
    return bytes(written)


def alarm_code(codes: Iterable[Code]) -> int:
    """Byte 18, of which the document says only that 0 is normal: here the first alarm bit, counted from 1."""
    places = (8 * (code.value[0] - _ALARMS_FROM) + code.value[1] + 1 for code in codes if code in _MESSAGES)
    return min(places, default=0)


def alarm_text(codes: Iterable[Code]) -> str:
    """The code "a" as the display writes it: two words in hexadecimal."""
    first, second, third, fourth = code_bytes(codes)[_ALARMS_FROM - _FIRST_BYTE :]
    return f"a={second:02X}{first:02X}-{fourth:02X}{third:02X}"


def message(codes: Iterable[Code]) -> str:
    """What the display says is the matter."""
    first = min((code for code in codes if code in _MESSAGES), key=lambda code: code.value, default=None)
    return "NORMAL OPERATION" if first is None else _MESSAGES[first]


def _by_line(device: UpsDevice, status: Status) -> Iterator[Code]:
    inputs = (status.input_voltage_v, status.input_voltage_2_v, status.input_voltage_3_v)
    bypasses = (status.bypass_voltage_v, status.bypass_voltage_2_v, status.bypass_voltage_3_v)
    loads = (status.load_percent, status.load_2_percent, status.load_3_percent)
    low_v, high_v = device.profile.input_low_v, device.profile.input_high_v
    for line in range(3):
        volts, bypass_v, load = inputs[line], bypasses[line], loads[line]
        if volts is not None and not low_v <= volts <= high_v:
            yield (_LOW_VOLTAGE if volts < low_v else _HIGH_VOLTAGE)[line]
        if volts is not None and not device.mains_usable:
            yield _NO_CURRENT[line]
        if bypass_v is not None and not low_v <= bypass_v <= high_v:
            yield _BYPASS[line]
        if load is not None and load > 100.0:
            yield _OVERLOAD[line]
