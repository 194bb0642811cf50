"""GPSER commands and replies: requests to bytes, reply data to values. Pure.

Source: Riello "GPSER" 1.04, pages 3 to 12. Character positions are counted from 1, as in the document.
"""

from __future__ import annotations

from dataclasses import dataclass

from upsd.domain.power import Reading, UpsIdentity
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import Check, decode_nibbles, decode_number, encode_number, encode_request, open_reply

LONGEST_DELAY = 0xFFFF

_REPLY_LENGTHS = {
    "GI": (56,),
    "GN": (22,),
    "RS": (36, 42, 58),
    "RE": (58,),
    "CS": (0,),
    "CR": (0,),
    "CD": (0,),
    "TB": (0,),
    "TP": (0,),
}


@dataclass(frozen=True, slots=True)
class Command:
    """A request, and with it what its reply must look like."""

    code: str
    data: bytes = b""

    def request(self, check: Check) -> bytes:
        """The request frame."""
        return encode_request(self.code, self.data, check)

    def reply(self, frame: bytes, check: Check) -> bytes:
        """The data characters of the reply frame, proven to be this command's.

        Raises:
            UpsError: anything about it is wrong, or the UPS refused the command.
        """
        data = open_reply(frame, self.code, check)
        if len(data) not in _REPLY_LENGTHS[self.code]:
            raise UpsError(Fault.WRONG_LENGTH, f"a {self.code} reply can't have {len(data)} characters")
        return data


IDENTIFY = Command("GI")
NOMINAL = Command("GN")
STATUS = Command("RS")
EXTENDED = Command("RE")
CANCEL = Command("CD")
BATTERY_TEST = Command("TB", b"005")
PANEL_TEST = Command("TP")


def shutdown(delay_s: int) -> Command:
    """CS: outlets off after the delay, 0 to 65535 s; 0 is at once."""
    return Command("CS", encode_number(delay_s, 4))


def shutdown_and_restore(delay_s: int, restore_min: int) -> Command:
    """CR: outlets off after the delay (s), on again that many minutes after; 0 minutes is 10 s."""
    return Command("CR", encode_number(delay_s, 4) + encode_number(restore_min, 4))


@dataclass(frozen=True, slots=True)
class Identification:
    """A GI reply (page 3)."""

    serial: str
    model: str
    firmware: str
    phases: str
    check: Check
    batteries_per_bench: int


@dataclass(frozen=True, slots=True)
class Nominals:
    """A GN reply (page 4)."""

    apparent_power_va: int | None
    real_power_w: int | None
    battery_voltage_v: int | None
    battery_capacity_ah: int | None
    output_voltage_v: int | None
    output_frequency_dhz: int | None


@dataclass(frozen=True, slots=True)
class Phase:
    """What an RS reply says of phase 2 or 3; `None` where the unit has no such phase."""

    input_voltage_v: int | None
    output_voltage_v: int | None
    load_percent: int | None
    bypass_voltage_v: int | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """An RS reply (pages 5 and 6); `flags` are five nibbles, voltages and frequencies as sent."""

    flags: tuple[int, int, int, int, int]
    input_frequency_dhz: int | None
    input_voltage_v: int | None
    output_frequency_dhz: int | None
    output_voltage_v: int | None
    load_percent: int | None
    bypass_frequency_dhz: int | None
    bypass_voltage_v: int | None
    battery_voltage_dv: int | None
    charge_percent: int | None
    runtime_min: int | None
    temperature_c: int | None
    more_phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """An RE reply (pages 7 and 8): currents in 0.1 A, powers in W and VA, for phases 1 to 3."""

    current_da: tuple[int | None, ...]
    real_power_w: tuple[int | None, ...]
    apparent_power_va: tuple[int | None, ...]


def _number(data: bytes, first: int, width: int) -> int | None:
    return decode_number(data[first - 1 : first - 1 + width])


def _text(data: bytes, first: int, width: int) -> str:
    field = data[first - 1 : first - 1 + width]
    if any(not 0x20 <= byte <= 0x7F for byte in field):
        raise UpsError(Fault.MALFORMED, f"the UPS identifies itself with {field!r}, which is no text")
    return field.decode("ascii").strip()


def decode_identification(data: bytes) -> Identification:
    """Decode the 56 characters of a GI reply."""
    try:
        check = Check(chr(data[48]))
    except ValueError:
        raise UpsError(Fault.MALFORMED, f"unknown error control {data[48:49]!r} in the identification") from None
    return Identification(
        serial=_text(data, 1, 16),
        model=_text(data, 17, 16),
        firmware=_text(data, 33, 12),
        phases=_text(data, 45, 1),
        check=check,
        batteries_per_bench=_number(data, 52, 1) or 0,
    )


def decode_nominals(data: bytes) -> Nominals:
    """Decode the 22 characters of a GN reply."""
    return Nominals(
        apparent_power_va=_number(data, 1, 5),
        real_power_w=_number(data, 6, 5),
        battery_voltage_v=_number(data, 11, 3),
        battery_capacity_ah=_number(data, 14, 3),
        output_voltage_v=_number(data, 17, 3),
        output_frequency_dhz=_number(data, 20, 3),
    )


def decode_status(data: bytes) -> StatusReport:
    """Decode the 36, 42 or 58 characters of an RS reply; the layout follows from the length."""
    flags = [decode_nibbles(data[place : place + 1]) for place in range(5)]
    three_in, three_out = len(data) >= 42, len(data) >= 58
    more_phases = tuple(
        Phase(
            input_voltage_v=_number(data, input_at, 3),
            output_voltage_v=_number(data, output_at, 3) if three_out else None,
            load_percent=_number(data, output_at + 3, 2) if three_out else None,
            bypass_voltage_v=_number(data, output_at + 5, 3) if three_out else None,
        )
        for input_at, output_at in ((37, 43), (40, 51))
        if three_in
    )
    return StatusReport(
        flags=(flags[0], flags[1], flags[2], flags[3], flags[4]),
        input_frequency_dhz=_number(data, 6, 3),
        input_voltage_v=_number(data, 9, 3),
        output_frequency_dhz=_number(data, 12, 3),
        output_voltage_v=_number(data, 15, 3),
        load_percent=_number(data, 18, 2),
        bypass_frequency_dhz=_number(data, 20, 3),
        bypass_voltage_v=_number(data, 23, 3),
        battery_voltage_dv=_number(data, 26, 4),
        charge_percent=_number(data, 30, 2),
        runtime_min=_number(data, 32, 3),
        temperature_c=_number(data, 35, 2),
        more_phases=more_phases,
    )


def decode_extended(data: bytes) -> ExtendedReport:
    """Decode the 58 characters of an RE reply."""
    return ExtendedReport(
        current_da=tuple(_number(data, first, 4) for first in (17, 21, 25)),
        real_power_w=tuple(_number(data, first, 5) for first in (29, 34, 39)),
        apparent_power_va=tuple(_number(data, first, 5) for first in (44, 49, 54)),
    )


def identity_from(identification: Identification, nominals: Nominals | None) -> UpsIdentity:
    """Who the UPS is, in everybody's words."""
    return UpsIdentity(
        model=identification.model,
        serial=identification.serial or None,
        firmware=identification.firmware or None,
        apparent_power_va=nominals.apparent_power_va if nominals else None,
        real_power_w=nominals.real_power_w if nominals else None,
        battery_voltage_v=nominals.battery_voltage_v if nominals else None,
        battery_capacity_ah=nominals.battery_capacity_ah if nominals else None,
        output_voltage_v=nominals.output_voltage_v if nominals else None,
        output_frequency_hz=_tenths(nominals.output_frequency_dhz) if nominals else None,
    )


def reading_from(report: StatusReport, at: float) -> Reading:
    """A status report, in everybody's words, taken at loop time `at`."""
    power, function, battery, control, alarm = report.flags
    return Reading(
        at=at,
        output_powered=bool(power & 8),
        locked=bool(power & 4),
        on_battery=bool(power & 2),
        battery_low=bool(power & 1),
        on_bypass=bool(function & 8),
        boost=bool(function & 2),
        buck=bool(function & 1),
        charging=bool(battery & 4),
        charged=bool(battery & 2),
        replace_battery=bool(battery & 1),
        shutdown_active=bool(control & 8),
        shutdown_imminent=bool(control & 4),
        test_in_progress=bool(control & 2),
        beeper_on=bool(control & 1),
        failure=bool(alarm & 8),
        overload=bool(alarm & 4),
        over_temperature=bool(alarm & 2),
        input_frequency_hz=_tenths(report.input_frequency_dhz),
        input_voltage_v=report.input_voltage_v,
        output_frequency_hz=_tenths(report.output_frequency_dhz),
        output_voltage_v=report.output_voltage_v,
        # Small Riellos report 0 whatever hangs on them, so 0 says nothing.
        load_percent=report.load_percent or None,
        bypass_frequency_hz=_tenths(report.bypass_frequency_dhz),
        bypass_voltage_v=report.bypass_voltage_v,
        battery_voltage_v=_tenths(report.battery_voltage_dv),
        charge_percent=report.charge_percent,
        runtime_s=None if report.runtime_min is None else report.runtime_min * 60,
        temperature_c=report.temperature_c,
    )


def _tenths(value: int | None) -> float | None:
    return None if value is None else value / 10
