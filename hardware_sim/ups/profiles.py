"""Which UPS is simulated: its name plate, what it reports, and where it draws its lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from hardware_sim.ups.frames import CheckMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model of UPS.

    Voltages of the battery hold for a 12 V block; `input_low_v` and `input_high_v` are where it goes to
    battery. `restore_needs_mains`, `starts_after_run_out` and `replaces_pending_shutdown` are choices that
    no document settles; the defaults are what the documents and field reports make most likely.
    """

    model: str = "USV5"
    serial: str = ""
    firmware: str = "SWM036-01-02"
    check_mode: CheckMode = CheckMode.SUM
    full_report: bool = False
    """Whether charge, minutes, load, temperature and bypass are reported at all."""

    apparent_power_va: int = 800
    real_power_w: int = 480
    battery_voltage_v: int = 12
    battery_capacity_ah: int = 7
    output_voltage_v: int = 230
    output_frequency_hz: float = 50.0

    input_low_v: float = 165.0
    input_high_v: float = 280.0
    boost_below_v: float = 208.0
    buck_above_v: float = 252.0
    battery_low_v: float = 10.8
    cut_off_v: float = 10.0
    test_s: float = 10.0
    imminent_s: float = 30.0
    """How long before the outlets go off "shutdown imminent" is set."""

    restore_needs_mains: bool = True
    starts_after_run_out: bool = True
    replaces_pending_shutdown: bool = False


IPLUG_800: Final = Profile()
"""A Riello iPlug 800 as real ones report: flags, voltages, frequencies, battery voltage, and load 0."""

FULL_REPORT: Final = replace(IPLUG_800, model="ULC3", serial="SIM8000000000001", full_report=True)
"""The same electrics in a unit that reports everything."""

CRC_MODE: Final = replace(FULL_REPORT, check_mode=CheckMode.CRC)
"""As `FULL_REPORT`, with frames protected by the CRC."""
