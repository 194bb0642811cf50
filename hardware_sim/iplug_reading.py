"""What a real iPlug reports of itself: no charge, no runtime and no load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upsd.domain.power import Reading

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice


def iplug_reading(device: UpsDevice, now: float) -> Reading:
    """What it says at this time, once its own has come so far."""
    device.advance(now)
    charges = device.mains_usable and not device.testing
    return Reading(
        at=now,
        output_powered=device.outlets.on,
        on_battery=device.on_battery,
        battery_low=device.battery_low,
        charged=charges and device.battery.charged,
        charging=charges and not device.battery.charged,
        test_in_progress=device.testing,
        input_voltage_v=round(device.input_voltage_v),
        battery_voltage_v=round(device.battery.voltage_v, 1),
        load_percent=0,
    )
