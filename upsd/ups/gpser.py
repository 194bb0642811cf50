"""GPSER commands and replies: requests to bytes, reply data to values. Pure.

Source: Riello "GPSER" 1.04, pages 3 to 12. Character positions are counted from 1, as in the document. A figure that
the UPS does not supply is `None`; units are in the names (`_dv` is 0.1 V, `_dhz` 0.1 Hz, `_da` 0.1 A).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import USUALLY_BEGINS_WITHIN_S, Exchange
from upsd.ups.frame import (
    Check,
    FrameAssembler,
    decode_nibbles,
    decode_number,
    encode_number,
    encode_request,
    open_reply,
)

LONGEST_DELAY = 0xFFFF

_ACTS_WITHIN_S = 2.0  # a command that switches something may take the UPS longer than a question
_REPLY_LENGTHS = {
    "GI": (56,),
    "GN": (22,),
    "RS": (36, 42, 58),
    "RE": (58,),
    "RK": (58,),
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
    begins_within_s: float = USUALLY_BEGINS_WITHIN_S

    def request(self, check: Check) -> bytes:
        """The request frame."""
        return encode_request(self.code, self.data, self._protected_by(check))

    def reply(self, frame: bytes, check: Check) -> bytes:
        """The data characters of the reply frame, proven to be this command's.

        Raises:
            UpsError: anything about it is wrong, or the UPS refused the command.
        """
        data = open_reply(frame, self.code, self._protected_by(check))
        if len(data) not in _REPLY_LENGTHS[self.code]:
            raise UpsError(Fault.WRONG_LENGTH, f"a {self.code} reply can't have {len(data)} characters")
        return data

    def exchange(self, check: Check) -> Exchange:
        """The command and its reply, for a transport."""
        return Exchange(self.request(check), FrameAssembler, partial(self.reply, check=check), self.begins_within_s)

    def _protected_by(self, check: Check) -> Check:
        """What the unit uses, but GI is what tells which that is."""
        return Check.SUM if self.code == "GI" else check


IDENTIFY = Command("GI")
NOMINAL = Command("GN")
STATUS = Command("RS")
EXTENDED = Command("RE")
PEAKS = Command("RK")
CANCEL = Command("CD", begins_within_s=_ACTS_WITHIN_S)
BATTERY_TEST = Command("TB", b"005", _ACTS_WITHIN_S)
PANEL_TEST = Command("TP", begins_within_s=_ACTS_WITHIN_S)


def shutdown(delay_s: int) -> Command:
    """CS: outlets off after the delay, 0 to 65535 s; 0 is at once."""
    return Command("CS", encode_number(delay_s, 4), _ACTS_WITHIN_S)


def shutdown_and_restore(delay_s: int, restore_min: int) -> Command:
    """CR: outlets off after the delay (s), on again that many minutes after; 0 minutes is 10 s."""
    return Command("CR", encode_number(delay_s, 4) + encode_number(restore_min, 4), _ACTS_WITHIN_S)


@dataclass(frozen=True, slots=True)
class Identification:
    """A GI reply (page 3).

    Attributes:
        phases: how many phases go in and come out, such as (1, 1).
        kind: in words, such as "line-interactive, step wave".
        check: how all frames but GI are protected.
        batteries_per_bench: `None` if it is to be had from the nominal voltage, 12 V each.
        parallel: "single", "slave" or "master".
    """

    serial: str
    model: str
    firmware: str
    phases: tuple[int, int]
    kind: str
    boost_stages: int
    buck_stages: int
    check: Check
    power_share_sockets: int
    benches: int
    batteries_per_bench: int | None
    parallel: str


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
class PhaseStatus:
    """What an RS reply says of one phase; `None` also where the unit has no such phase."""

    input_voltage_v: int | None
    output_voltage_v: int | None
    load_percent: int | None
    bypass_voltage_v: int | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """An RS reply (pages 5 and 6); `flags` are five nibbles, `phases` one or three."""

    flags: tuple[int, int, int, int, int]
    input_frequency_dhz: int | None
    output_frequency_dhz: int | None
    bypass_frequency_dhz: int | None
    battery_voltage_dv: int | None
    charge_percent: int | None
    runtime_min: int | None
    temperature_c: int | None
    phases: tuple[PhaseStatus, ...]


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """An RE reply (pages 7 and 8), by output phase."""

    current_da: tuple[int | None, ...]
    real_power_w: tuple[int | None, ...]
    apparent_power_va: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class PeakReport:
    """An RK reply (pages 9 and 10); voltages and currents are peaks, by phase."""

    input_voltage_v: tuple[int | None, ...]
    output_voltage_v: tuple[int | None, ...]
    output_current_da: tuple[int | None, ...]
    power_temperature_c: tuple[int | None, ...]
    charger_temperature_c: int | None
    battery_temperature_c: int | None


_PHASES = {"1": (1, 1), "2": (1, 3), "3": (3, 1), "4": (3, 3)}
_KINDS = {
    "1": "line-interactive, step wave",
    "2": "line-interactive, sine wave",
    "3": "on-line",
    "4": "on-line and line-interactive",
}
_PARALLEL = {"0": "single", "1": "slave", "2": "master"}


def _number(data: bytes, first: int, width: int) -> int | None:
    return decode_number(data[first - 1 : first - 1 + width])


def _numbers(data: bytes, first: int, width: int) -> tuple[int | None, ...]:
    return tuple(_number(data, first + phase * width, width) for phase in range(3))


def _text(data: bytes, first: int, width: int) -> str:
    field = data[first - 1 : first - 1 + width]
    if any(not 0x20 <= byte <= 0x7F for byte in field):
        raise UpsError(Fault.MALFORMED, f"the UPS identifies itself with {field!r}, which is no text")
    return field.decode("ascii").strip()


def decode_identification(data: bytes) -> Identification:
    """Decode the 56 characters of a GI reply."""
    check = {mode.value: mode for mode in Check}.get(_text(data, 49, 1))
    if check is None:
        raise UpsError(Fault.MALFORMED, f"unknown error control {data[48:49]!r} in the identification")
    return Identification(
        serial=_text(data, 1, 16),
        model=_text(data, 17, 16),
        firmware=_text(data, 33, 12),
        phases=_PHASES.get(_text(data, 45, 1), (1, 1)),
        kind=_KINDS.get(_text(data, 46, 1), "unknown"),
        boost_stages=_number(data, 47, 1) or 0,
        buck_stages=_number(data, 48, 1) or 0,
        check=check,
        power_share_sockets=_number(data, 50, 1) or 0,
        benches=_number(data, 51, 1) or 1,
        batteries_per_bench=_number(data, 52, 1) or None,
        parallel=_PARALLEL.get(_text(data, 53, 1), "unknown"),
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
    first = PhaseStatus(_number(data, 9, 3), _number(data, 15, 3), _number(data, 18, 2), _number(data, 23, 3))
    others = tuple(
        PhaseStatus(
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
        output_frequency_dhz=_number(data, 12, 3),
        bypass_frequency_dhz=_number(data, 20, 3),
        battery_voltage_dv=_number(data, 26, 4),
        charge_percent=_number(data, 30, 2),
        runtime_min=_number(data, 32, 3),
        temperature_c=_number(data, 35, 2),
        phases=(first, *others),
    )


def decode_extended(data: bytes) -> ExtendedReport:
    """Decode the 58 characters of an RE reply."""
    return ExtendedReport(_numbers(data, 17, 4), _numbers(data, 29, 5), _numbers(data, 44, 5))


def decode_peaks(data: bytes) -> PeakReport:
    """Decode the 58 characters of an RK reply."""
    return PeakReport(
        input_voltage_v=_numbers(data, 5, 3),
        output_voltage_v=_numbers(data, 26, 3),
        output_current_da=_numbers(data, 35, 4),
        power_temperature_c=_numbers(data, 47, 2),
        charger_temperature_c=_number(data, 53, 2),
        battery_temperature_c=_number(data, 57, 2),
    )
