"""What a real iPlug reports of itself: no charge, no runtime and no load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upsd.domain.power import Reading

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice


def iplug_reading(device: UpsDevice, now: float) -> Reading:
    """What it says at this time, once its own has come so far."""
    device.advance(now)
    status = device.status()
    return Reading(
        at=now,
        output_powered=status.output_powered,
        on_battery=status.battery_working,
        battery_low=status.battery_low,
        charged=status.charged,
        charging=status.charging,
        test_in_progress=status.test_in_progress,
        input_voltage_v=round(status.input_voltage_v or 0.0),
        battery_voltage_v=round(status.battery_voltage_v or 0.0, 1),
        load_percent=0,
    )
