"""What is known of the battery before it has shown anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BLOCK_V: Final = 12.0


@dataclass(frozen=True, slots=True)
class BatteryFacts:
    """The name plate: whole string in V and Ah, share of the capacity still there, inverter losses.

    `after_low_s` is for how long it is trusted at most once the UPS has said that it is low; `low_v` the voltage at
    which it says so, if a bench test has measured it.
    """

    voltage_v: float
    capacity_ah: float
    health: float
    inverter_efficiency: float
    inverter_idle_w: float
    after_low_s: float = 120.0
    low_v: float | None = None

    @property
    def blocks(self) -> float:
        """How many 12 V blocks stand in series."""
        return max(1.0, self.voltage_v / _BLOCK_V)

    def block_w(self, watts: float) -> float:
        """What one block must give for a load at the outlets."""
        return max(1.0, watts / self.inverter_efficiency + self.inverter_idle_w) / self.blocks
