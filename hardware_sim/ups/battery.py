"""The physics of a small sealed lead-acid battery: what it holds, what it gives, and its voltage meanwhile.

Charge sits in two wells (the kinetic battery model of Manwell and McGowan): one feeds the terminals, the
other seeps into it. A heavy load empties the first before the second can follow, so less can be drawn at a
high rate, and a rest brings some of it back. The open-circuit voltage follows the first well, with the knee
of an exhausted cell at its end, and the load lowers it over an internal resistance. The constants are fitted
to the discharge tables of 12 V, 7.2 Ah standby batteries (90 s at 48 A, 5 min at 25 A, 10 min at 17 A, 30 min
at 8 A, 1 h at 4.7 A, 5 h at 1.2 A, 20 h at 0.36 A), each within 8 %.

One cell of a block may hold less than the other five. It empties first, and the current of the others then drives it
past zero: the block loses about a cell's voltage while the others are still well filled.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Final

_HOUR_S: Final = 3600.0
_FIRST_WELL: Final = 0.40
"""The part of the charge that is at hand at once."""
_SEEP_PER_H: Final = 3.5
"""How fast the two wells level out."""
_USABLE: Final = 0.96
"""Charge of a full battery per nominal capacity."""
_RESISTANCE_OHM_AH: Final = 0.14
"""Internal resistance of a full 12 V block, polarisation included, times its capacity."""
_RESISTANCE_GROWTH: Final = 3.5
"""By how much the resistance has grown when the first well is empty."""
_CAPACITY_PER_K: Final = 0.008
_RESISTANCE_PER_K: Final = 0.01

_CELLS: Final = 6
_KNEE: Final = 0.04
"""How full a cell is when its voltage breaks down."""
_REVERSED_CELL_V: Final = 2.0
"""What a block loses with a cell that is empty among full ones."""
_REVERSED_BEHIND: Final = 0.05
"""How far behind the others a cell must be to be driven past zero."""

_FLOAT_V: Final = 13.5
_BULK_RATE_PER_H: Final = 0.1
"""Most that the charger gives, as a part of the nominal capacity per hour."""
_CHARGE_RESISTANCE_OHM_AH: Final = 2.8
_CHARGED: Final = 0.98
_COARSENESS: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class BatterySpec:
    """A battery: name plate, age (`health`, 1.0 is new), how warm it is, and its weakest cell.

    `weakest_cell` is what one cell of each block holds, as a share of what each of the others does.
    """

    voltage_v: float = 12.0
    capacity_ah: float = 7.0
    health: float = 1.0
    temperature_c: float = 25.0
    weakest_cell: float = 1.0

    @property
    def blocks(self) -> float:
        """How many 12 V blocks stand in series."""
        return self.voltage_v / 12.0

    @property
    def charge_ah(self) -> float:
        """What it really holds when full, drawn very slowly."""
        warmth = 1.0 + _CAPACITY_PER_K * (self.temperature_c - 25.0)
        return _USABLE * self.capacity_ah * self.health * max(0.2, min(warmth, 1.1))

    @property
    def resistance_ohm(self) -> float:
        """Internal resistance of one block when full; age and cold raise it."""
        cold = 1.0 + _RESISTANCE_PER_K * max(0.0, 25.0 - self.temperature_c)
        return _RESISTANCE_OHM_AH / self.capacity_ah * cold / self.health


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverter:
    """What the battery must give for a load at the outlets."""

    efficiency: float = 0.85
    own_w: float = 6.0

    def drain_w(self, load_w: float) -> float:
        """Power drawn from the battery for this load, in watts."""
        return load_w / self.efficiency + self.own_w


@dataclass(frozen=True, slots=True)
class _Wells:
    """The two wells of a cell that holds `full_ah`: what is in both, and what is in the first (Ah)."""

    full_ah: float
    held_ah: float
    first_ah: float

    @classmethod
    def filled(cls, full_ah: float, charge: float) -> _Wells:
        """At rest, filled to this share."""
        return cls(full_ah, charge * full_ah, _FIRST_WELL * charge * full_ah)

    @property
    def charge(self) -> float:
        """How full both are, from 0 to 1."""
        return self.held_ah / self.full_ah

    @property
    def filling(self) -> float:
        """How full the first one is, from 0 to 1."""
        return max(0.0, self.first_ah / (_FIRST_WELL * self.full_ah))

    def after(self, hours: float, current_a: float) -> _Wells:
        """The wells after a time at constant current, in closed form."""
        decay = math.exp(-_SEEP_PER_H * hours)
        ramp = _SEEP_PER_H * hours - 1.0 + decay
        first_ah = (
            self.first_ah * decay
            + (self.held_ah * _SEEP_PER_H * _FIRST_WELL - current_a) * (1.0 - decay) / _SEEP_PER_H
            - current_a * _FIRST_WELL * ramp / _SEEP_PER_H
        )
        held_ah = max(0.0, min(self.held_ah - current_a * hours, self.full_ah))
        return _Wells(self.full_ah, held_ah, max(0.0, min(first_ah, _FIRST_WELL * self.full_ah, held_ah)))


def _block_v(filling: float) -> float:
    """Open-circuit voltage of a block of cells that are all as full as this."""
    return 11.35 + 1.5 * filling - 1.6 * math.exp(-filling / _KNEE)


class Battery:
    """A battery with its state: `charge` from 0 to 1, `voltage_v` and `current_a` (out is positive)."""

    def __init__(self, spec: BatterySpec, charge: float = 1.0) -> None:
        self.spec = spec
        self._wells = _Wells.filled(spec.charge_ah, charge)
        self._weakest = _Wells.filled(spec.charge_ah * spec.weakest_cell, charge)
        self._full_resistance_ohm = spec.resistance_ohm
        self.current_a = 0.0
        self.voltage_v = self._open_circuit_v() * spec.blocks

    @property
    def charge(self) -> float:
        """How full it is, from 0 to 1."""
        return self._wells.charge

    @property
    def at_hand(self) -> float:
        """How full it looks from its terminals, from 0 to 1: after a heavy load less than it holds."""
        return min(self.charge, self._wells.filling)

    @property
    def charged(self) -> bool:
        """Whether the charger has only to float."""
        return self.charge >= _CHARGED

    def step(self, duration_s: float, drain_w: float = 0.0, *, charging: bool = False) -> None:
        """Let time pass while `drain_w` is drawn at the terminals, or the charger works, or neither."""
        if charging:
            self.current_a = -self._charger_a()
        else:
            self.current_a = self._drawn_a(drain_w)
        self._wells = self._wells.after(duration_s / _HOUR_S, self.current_a)
        is_sound = self.spec.weakest_cell == 1.0
        self._weakest = self._wells if is_sound else self._weakest.after(duration_s / _HOUR_S, self.current_a)
        if charging:
            self.voltage_v = self._charging_v() * self.spec.blocks
        else:
            block_v = self._open_circuit_v() - self._drawn_a(drain_w) * self._resistance_ohm()
            self.voltage_v = max(0.0, block_v) * self.spec.blocks

    def seconds_until(self, voltage_v: float, drain_w: float, *, step_s: float = 60.0) -> float:
        """How long `drain_w` can be drawn until the voltage under load falls to `voltage_v`.

        To `step_s`, or to half a percent where that is more: a small load may last for days.
        """
        rehearsal = copy.copy(self)
        passed_s = 0.0
        while passed_s < 1e6:
            duration_s = max(step_s, _COARSENESS * passed_s)
            rehearsal.step(duration_s, drain_w)
            if rehearsal.voltage_v <= voltage_v:
                break
            passed_s += duration_s
        return passed_s

    def _open_circuit_v(self) -> float:
        sound = self._wells.filling
        if self._weakest is self._wells:
            return _block_v(sound)
        weak = self._weakest.filling
        behind = 1.0 - math.exp(-max(0.0, sound - weak) / _REVERSED_BEHIND)
        reversed_v = _REVERSED_CELL_V * behind * math.exp(-weak / _KNEE)
        return ((_CELLS - 1) * _block_v(sound) + _block_v(weak)) / _CELLS - reversed_v

    def _resistance_ohm(self) -> float:
        filling = ((_CELLS - 1) * self._wells.filling + self._weakest.filling) / _CELLS
        return self._full_resistance_ohm * (1.0 + _RESISTANCE_GROWTH * (1.0 - filling))

    def _drawn_a(self, drain_w: float) -> float:
        """Current for a power, from P = (E - I R) I; beyond what it can give, the voltage halves."""
        source_v, resistance_ohm = self._open_circuit_v(), self._resistance_ohm()
        power_w = drain_w / self.spec.blocks
        under_root = source_v**2 - 4.0 * resistance_ohm * power_w
        return (source_v - math.sqrt(max(0.0, under_root))) / (2.0 * resistance_ohm)

    def _charging_v(self) -> float:
        return min(_FLOAT_V, self._back_v() - self.current_a * self._charge_resistance_ohm())

    def _back_v(self) -> float:
        """What the charger works against: it meets the float voltage just when the battery is full."""
        surplus_v = _FLOAT_V - 12.85
        return self._open_circuit_v() + surplus_v * self._wells.filling

    def _charge_resistance_ohm(self) -> float:
        return _CHARGE_RESISTANCE_OHM_AH / self.spec.capacity_ah

    def _charger_a(self) -> float:
        wanted_a = (_FLOAT_V - self._back_v()) / self._charge_resistance_ohm()
        return max(0.0, min(wanted_a, _BULK_RATE_PER_H * self.spec.capacity_ah))
