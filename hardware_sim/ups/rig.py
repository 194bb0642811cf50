"""A simulated UPS with everything that a test bench has for it: mains, load, battery, cable and faults."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.ups import profiles
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.ups.profiles import Profile

PROFILES: Final = {
    "iplug-800": profiles.IPLUG_800,
    "full-report": profiles.FULL_REPORT,
    "crc": profiles.CRC_MODE,
    "flags-only": profiles.FLAGS_ONLY,
    "on-line": profiles.ON_LINE_1000,
    "three-to-one": profiles.THREE_TO_ONE_10K,
    "three-to-three": profiles.THREE_TO_THREE_20K,
    "sentry": profiles.SENTRY_60K,
}
"""The models by the names that people type."""


class Rig:
    """One UPS and what can be done to it; `load_w` is what hangs on its outlets, in watts.

    Args:
        charge: of the battery, from 0 to 1.
        speed: the battery, the delays and the tests of the UPS are so many times as fast.
        usb: whether it is on a USB cable, be it with others.
        make: another kind of device.
    """

    def __init__(
        self,
        profile: Profile = profiles.IPLUG_800,
        *,
        charge: float = 1.0,
        load_w: float = 0.0,
        speed: float = 1.0,
        usb: bool = True,
        make: Callable[..., UpsDevice] = UpsDevice,
    ) -> None:
        self.load_w = load_w
        self.speed = speed
        self.usb = usb
        self.faults = Faults()
        self.device = make(profile, load_w=lambda: self.load_w, charge=charge, speed=speed, timer_speed=speed)

    def state(self, now: float) -> dict[str, Any]:
        """How everything stands, as JSON has it; units in the names, `None` for what is not so."""
        device = self.device
        device.advance(now)
        return {
            "model": device.profile.model,
            "running_s": round(device.running_s, 3),
            "mains": {
                "volts": device.input_voltage_v,
                "hertz": device.input_frequency_hz,
                "usable": device.mains_usable,
            },
            "outlets": {
                "on": device.outlets.on,
                "off_because": device.outlets.cause and device.outlets.cause.value,
                "load_w": round(device.load_w, 1),
            },
            "battery": {
                "working": device.on_battery,
                "charge": round(device.battery.charge, 4),
                "volts": round(device.battery.voltage_v, 2),
                "low": device.battery_low,
                "health": device.battery.spec.health,
                "temperature_c": device.battery.spec.temperature_c,
                "replace": device.replace_battery,
                "testing": device.testing,
            },
            "scheduled": {
                "outlets_off_in_s": _left_s(device.outlets.shutdown_at, now),
                "outlets_on_in_s": _left_s(device.outlets.restore_at, now),
            },
            "conditions": asdict(device.conditions),
            "faults": {name.removeprefix("_"): value for name, value in asdict(self.faults).items()},
        }


def _left_s(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, at - now), 1)
