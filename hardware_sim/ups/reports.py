"""What the UPS says about itself: the data of the GI, GN, RS, RE and RK replies (GPSER 1.04, pages 3 to 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.ups.frames import CheckMode, digits, plain_digits
from hardware_sim.ups.profiles import Reporting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hardware_sim.ups.profiles import Phases, Profile

Three = tuple[float | None, float | None, float | None]
"""A figure of each phase; `None` where there is no such phase, or the unit does not give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One status report; `None` is a figure that the unit does not give. Units as in the names.

    Figures without a number are of phase 1; those of phases 2 and 3 go out only where there are such phases.
    """

    output_powered: bool
    locked: bool = False
    battery_working: bool = False
    battery_low: bool = False
    on_bypass: bool = False
    line_interactive_function: bool = False
    boost: bool = False
    buck: bool = False
    bypass_bad: bool = False
    charging: bool = False
    charged: bool = False
    replace_battery: bool = False
    shutdown_active: bool = False
    shutdown_imminent: bool = False
    test_in_progress: bool = False
    beeper_on: bool = False
    failure: bool = False
    overload: bool = False
    over_temperature: bool = False

    input_frequency_hz: float | None = None
    input_voltage_v: float | None = None
    input_voltage_2_v: float | None = None
    input_voltage_3_v: float | None = None
    output_frequency_hz: float | None = None
    output_voltage_v: float | None = None
    output_voltage_2_v: float | None = None
    output_voltage_3_v: float | None = None
    load_percent: float | None = None
    load_2_percent: float | None = None
    load_3_percent: float | None = None
    bypass_frequency_hz: float | None = None
    bypass_voltage_v: float | None = None
    bypass_voltage_2_v: float | None = None
    bypass_voltage_3_v: float | None = None
    battery_voltage_v: float | None = None
    charge_percent: float | None = None
    runtime_min: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """What RE reports of the output."""

    current_a: Three
    real_power_w: Three
    apparent_power_va: Three


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What RK reports: peak values, and temperatures inside the unit."""

    input_voltage_v: Three
    output_voltage_v: Three
    output_current_a: Three
    power_temperature_c: Three
    charger_temperature_c: float | None
    battery_temperature_c: float | None


def identification(profile: Profile) -> bytes:
    """Data of the GI reply."""
    names = f"{profile.serial:<16.16}{profile.model:<16.16}{profile.firmware:<12.12}"
    return b"".join(
        (
            names.encode("ascii"),
            profile.phases.value.encode("ascii"),
            profile.kind.value.encode("ascii"),
            plain_digits(profile.boost_stages, 1),
            plain_digits(profile.buck_stages, 1),
            plain_digits(profile.check_mode is CheckMode.CRC, 1),
            plain_digits(profile.power_share_sockets, 1),
            plain_digits(profile.benches, 1),
            plain_digits(profile.batteries_per_bench, 1),
            profile.parallel.value.encode("ascii"),
            b"000",
        )
    )


def nominal(profile: Profile) -> bytes:
    """Data of the GN reply."""
    values = (
        (profile.apparent_power_va, 5),
        (profile.real_power_w, 5),
        (profile.battery_voltage_v, 3),
        (profile.battery_capacity_ah, 3),
        (profile.output_voltage_v, 3),
        (_tenths(profile.output_frequency_hz), 3),
    )
    tells = profile.reporting is not Reporting.FLAGS
    return b"".join(digits(value if tells else None, width) for value, width in values)


def status_data(status: Status, phases: Phases) -> bytes:
    """Data of the RS reply: 36 characters, 42 with three phases in, 58 with three phases out.

    The document does not say what a unit with one phase in and three out has in characters 37 to 42; here it is
    "not available".
    """
    data = _flags(status) + _first_phase(status)
    if phases.inputs == 3 or phases.outputs == 3:
        data += _numbers((status.input_voltage_2_v, status.input_voltage_3_v), 3)
    if phases.outputs == 3:
        data += _output_phase(status.output_voltage_2_v, status.load_2_percent, status.bypass_voltage_2_v)
        data += _output_phase(status.output_voltage_3_v, status.load_3_percent, status.bypass_voltage_3_v)
    return data


def extended_data(extended: Extended) -> bytes:
    """Data of the RE reply."""
    return b"".join(
        (
            plain_digits(0, 16),
            _tenth_numbers(extended.current_a, 4),
            _numbers(extended.real_power_w, 5),
            _numbers(extended.apparent_power_va, 5),
        )
    )


def peak_data(peaks: Peaks) -> bytes:
    """Data of the RK reply."""
    return b"".join(
        (
            plain_digits(0, 4),
            _numbers(peaks.input_voltage_v, 3),
            plain_digits(0, 12),
            _numbers(peaks.output_voltage_v, 3),
            _tenth_numbers(peaks.output_current_a, 4),
            _numbers(peaks.power_temperature_c, 2),
            _numbers((peaks.charger_temperature_c,), 2),
            plain_digits(0, 2),
            _numbers((peaks.battery_temperature_c,), 2),
        )
    )


def _flags(status: Status) -> bytes:
    return b"".join(
        (
            _nibble((status.output_powered, status.locked, status.battery_working, status.battery_low)),
            _nibble((status.on_bypass, status.line_interactive_function, status.boost, status.buck)),
            _nibble((status.bypass_bad, status.charging, status.charged, status.replace_battery)),
            _nibble((status.shutdown_active, status.shutdown_imminent, status.test_in_progress, status.beeper_on)),
            _nibble((status.failure, status.overload, status.over_temperature, False)),
        )
    )


def _first_phase(status: Status) -> bytes:
    return b"".join(
        (
            digits(_tenths(status.input_frequency_hz), 3),
            digits(_whole(status.input_voltage_v), 3),
            digits(_tenths(status.output_frequency_hz), 3),
            digits(_whole(status.output_voltage_v), 3),
            digits(_whole(status.load_percent), 2),
            digits(_tenths(status.bypass_frequency_hz), 3),
            digits(_whole(status.bypass_voltage_v), 3),
            digits(_tenths(status.battery_voltage_v), 4),
            digits(_whole(status.charge_percent), 2),
            digits(_whole(status.runtime_min), 3),
            digits(_whole(status.temperature_c), 2),
        )
    )


def _output_phase(voltage_v: float | None, load_percent: float | None, bypass_v: float | None) -> bytes:
    return digits(_whole(voltage_v), 3) + digits(_whole(load_percent), 2) + digits(_whole(bypass_v), 3)


def _nibble(bits: tuple[bool, bool, bool, bool]) -> bytes:
    bit3, bit2, bit1, bit0 = bits
    return plain_digits(bit3 << 3 | bit2 << 2 | bit1 << 1 | bit0, 1)


def _numbers(values: Iterable[float | None], width: int) -> bytes:
    return b"".join(digits(_whole(value), width) for value in values)


def _tenth_numbers(values: Iterable[float | None], width: int) -> bytes:
    return b"".join(digits(_tenths(value), width) for value in values)


def _tenths(value: float | None) -> int | None:
    return None if value is None else round(value * 10)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
