"""What the UPS says about itself: the data of the GI, GN and RS replies (GPSER 1.04)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.ups.frames import CheckMode, digits, plain_digits

if TYPE_CHECKING:
    from hardware_sim.ups.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One status report; `None` is a figure that the unit does not give. Units as in the names."""

    output_powered: bool
    battery_working: bool = False
    battery_low: bool = False
    boost: bool = False
    buck: bool = False
    charging: bool = False
    charged: bool = False
    replace_battery: bool = False
    shutdown_active: bool = False
    shutdown_imminent: bool = False
    test_in_progress: bool = False
    beeper_on: bool = False
    overload: bool = False

    input_frequency_hz: float
    input_voltage_v: float
    output_frequency_hz: float
    output_voltage_v: float
    load_percent: float = 0.0
    bypass_frequency_hz: float | None = None
    bypass_voltage_v: float | None = None
    battery_voltage_v: float
    charge_percent: float | None = None
    runtime_min: float | None = None
    temperature_c: float | None = None


def identification(profile: Profile) -> bytes:
    """Data of the GI reply: one-phase, step wave, one boost and one buck stage, one block of batteries."""
    crc_mode = b"1" if profile.check_mode is CheckMode.CRC else b"0"
    names = f"{profile.serial:<16.16}{profile.model:<16.16}{profile.firmware:<12.12}"
    return names.encode("ascii") + b"1111" + crc_mode + b"0" + b"11" + b"0000"


def nominal(profile: Profile) -> bytes:
    """Data of the GN reply."""
    return b"".join(
        (
            digits(profile.apparent_power_va, 5),
            digits(profile.real_power_w, 5),
            digits(profile.battery_voltage_v, 3),
            digits(profile.battery_capacity_ah, 3),
            digits(profile.output_voltage_v, 3),
            digits(_tenths(profile.output_frequency_hz), 3),
        )
    )


def status_data(status: Status) -> bytes:
    """Data of the RS reply of a unit with one phase in and one out."""
    return b"".join(
        (
            _flags(bit3=status.output_powered, bit1=status.battery_working, bit0=status.battery_low),
            _flags(bit1=status.boost, bit0=status.buck),
            _flags(bit2=status.charging, bit1=status.charged, bit0=status.replace_battery),
            _flags(
                bit3=status.shutdown_active,
                bit2=status.shutdown_imminent,
                bit1=status.test_in_progress,
                bit0=status.beeper_on,
            ),
            _flags(bit2=status.overload),
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


def _flags(*, bit3: bool = False, bit2: bool = False, bit1: bool = False, bit0: bool = False) -> bytes:
    return plain_digits(bit3 << 3 | bit2 << 2 | bit1 << 1 | bit0, 1)


def _tenths(value: float | None) -> int | None:
    return None if value is None else round(value * 10)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
