"""Who a UPS says it is."""

from __future__ import annotations

from upsd.domain.power import UpsIdentity

IPLUG = UpsIdentity(
    model="USV5",
    serial=None,
    firmware="SWM036-01-02",
    apparent_power_va=800,
    real_power_w=480,
    battery_voltage_v=12,
    battery_capacity_ah=7,
    output_voltage_v=230,
    output_frequency_hz=50.0,
)
"""An iPlug 800."""
