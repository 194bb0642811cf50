"""Which figures of a reading are to be believed? Pure, time is an argument.

The sum that protects an iPlug's frames can't see two bytes change places, and a UPS can simply be wrong for a moment.
So a figure that can't be is unknown, and one that is most unlikely after the last is held back: the older one stands
until a second reading says the same. Each rule is a function that names the figures it doubts. No rule is about flags:
mains lost and battery low count at once, and what else a flag may start is confirmed where it is acted on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from upsd.domain.power import Doubt, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMPOSSIBLE_ABOVE: Final = {
    "input_voltage_v": 500,
    "output_voltage_v": 500,
    "bypass_voltage_v": 500,
    "input_frequency_hz": 100.0,
    "output_frequency_hz": 100.0,
    "bypass_frequency_hz": 100.0,
    "battery_voltage_v": 1000.0,
    "load_percent": 200,
    "charge_percent": 100,
    "temperature_c": 120,
}
_ALIVE_V: Final = 100
_ALIVE_HZ: Final = 20.0
_FEEDING_V: Final = 50
_CHARGE_STEP: Final = 10
_CHARGE_PER_S: Final = 1.0
_RUNTIME_GROWS_S: Final = 120
_RUNTIME_GROWS: Final = 1.25
_RUNTIME_FALLS: Final = 0.5
_BATTERY_V_STEP: Final = 0.1
_TEMPERATURE_STEP_C: Final = 10
_LOAD_STEP: Final = 50
_BELIEVED_NO_LONGER_AFTER: Final = 3
_STALE_S: Final = 60.0
_SAME: Final = {
    "input_voltage_v": 10,
    "output_voltage_v": 10,
    "input_frequency_hz": 1.0,
    "output_frequency_hz": 1.0,
    "battery_voltage_v": 0.3,
    "charge_percent": 3,
    "runtime_s": 120,
    "temperature_c": 3,
    "load_percent": 10,
}
_SAME_SHARE: Final = 0.01
"""By how much two figures may differ that say the same: so much, and that share of them."""


def unsteady_input(_: Reading, new: Reading) -> tuple[str, ...]:
    """Mains has a voltage and a frequency, or neither."""
    return ("input_frequency_hz", "input_voltage_v") if _half_alive(new.input_voltage_v, new.input_frequency_hz) else ()


def unsteady_output(_: Reading, new: Reading) -> tuple[str, ...]:
    """So has an output that is on."""
    half = new.output_powered and _half_alive(new.output_voltage_v, new.output_frequency_hz)
    return ("output_frequency_hz", "output_voltage_v") if half else ()


def dead_output(_: Reading, new: Reading) -> tuple[str, ...]:
    """An output that is on has a voltage."""
    dead = new.output_powered and new.output_voltage_v is not None and new.output_voltage_v < _FEEDING_V
    return ("output_voltage_v",) if dead else ()


def mains_without_voltage(_: Reading, new: Reading) -> tuple[str, ...]:
    """A rack that does not live on its battery has mains."""
    gone = new.input_voltage_v is not None and new.input_voltage_v < _FEEDING_V
    return ("input_voltage_v",) if gone and not new.on_battery and new.output_powered else ()


def charge_jumps(old: Reading, new: Reading) -> tuple[str, ...]:
    """A battery neither fills nor empties in seconds."""
    if old.charge_percent is None or new.charge_percent is None:
        return ()
    most = _CHARGE_STEP + _CHARGE_PER_S * (new.at - old.at)
    return ("charge_percent",) if abs(new.charge_percent - old.charge_percent) > most else ()


def comes_from_nowhere(old: Reading, new: Reading) -> tuple[str, ...]:
    """What a UPS has not said a moment ago it can still not say, but for the moment of the switch to battery."""
    if old.on_battery != new.on_battery:
        return ()
    return tuple(
        name
        for name in ("charge_percent", "runtime_s")
        if _figure(old, name) is None and _figure(new, name) is not None
    )


def runtime_grows_on_battery(old: Reading, new: Reading) -> tuple[str, ...]:
    """On battery the time that is left does not grow by itself; a load that was switched off is seen twice."""
    if old.runtime_s is None or new.runtime_s is None or not (old.on_battery and new.on_battery):
        return ()
    most = max(old.runtime_s + _RUNTIME_GROWS_S, old.runtime_s * _RUNTIME_GROWS)
    return ("runtime_s",) if new.runtime_s > most else ()


def runtime_collapses(old: Reading, new: Reading) -> tuple[str, ...]:
    """Nor does half of it vanish between two readings, but for the moment of the switch to battery."""
    if old.runtime_s is None or new.runtime_s is None or old.on_battery != new.on_battery:
        return ()
    least = min(old.runtime_s * _RUNTIME_FALLS, old.runtime_s - _RUNTIME_GROWS_S) - (new.at - old.at)
    return ("runtime_s",) if new.runtime_s < least else ()


def battery_voltage_jumps(old: Reading, new: Reading) -> tuple[str, ...]:
    """Its voltage moves by a tenth only when the battery takes over, or gives back."""
    if old.battery_voltage_v is None or new.battery_voltage_v is None or old.on_battery != new.on_battery:
        return ()
    most = _BATTERY_V_STEP * max(old.battery_voltage_v, new.battery_voltage_v)
    return ("battery_voltage_v",) if abs(new.battery_voltage_v - old.battery_voltage_v) > most else ()


def temperature_jumps(old: Reading, new: Reading) -> tuple[str, ...]:
    """A box of lead and iron warms slowly."""
    if old.temperature_c is None or new.temperature_c is None:
        return ()
    return ("temperature_c",) if abs(new.temperature_c - old.temperature_c) > _TEMPERATURE_STEP_C else ()


def load_jumps(old: Reading, new: Reading) -> tuple[str, ...]:
    """Half of what a UPS can feed does not come or go at once."""
    if old.load_percent is None or new.load_percent is None or old.output_powered != new.output_powered:
        return ()
    return ("load_percent",) if abs(new.load_percent - old.load_percent) > _LOAD_STEP else ()


RULES: Final[tuple[Callable[[Reading, Reading], tuple[str, ...]], ...]] = (
    unsteady_input,
    unsteady_output,
    dead_output,
    mains_without_voltage,
    charge_jumps,
    comes_from_nowhere,
    runtime_grows_on_battery,
    runtime_collapses,
    battery_voltage_jumps,
    temperature_jumps,
    load_jumps,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed so far.

    Attributes:
        believed: the last reading, with only figures that are believed.
        said: the figures that were held back in it, as the UPS gave them.
        held: for how many readings in a row each of them has been held back.
    """

    believed: Reading | None = None
    said: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)


def sift(trust: Trust, reading: Reading) -> tuple[Trust, Reading]:
    """Take a reading in: what is believed now, and the reading with only figures that are."""
    fresh = trust.believed is not None and reading.at - trust.believed.at <= _STALE_S
    old = trust.believed if trust.believed is not None and fresh else None
    rule_of = {name: "impossible" for name, most in IMPOSSIBLE_ABOVE.items() if (_figure(reading, name) or 0) > most}
    stands: dict[str, Any] = dict.fromkeys(rule_of)
    held: dict[str, int] = {}
    for rule in RULES:
        for name in rule(old or reading, reading):
            if name in rule_of or _says_the_same(name, reading, trust.said.get(name), old):
                continue
            rule_of[name] = rule.__name__.replace("_", " ")
            held[name] = trust.held.get(name, 0) + 1
            stands[name] = getattr(old, name) if old and held[name] <= _BELIEVED_NO_LONGER_AFTER else None
    if not rule_of:
        return Trust(reading), reading
    said = {name: _figure(reading, name) or 0 for name in rule_of}
    doubts = tuple(Doubt(name, said[name], rule_of[name]) for name in sorted(rule_of))
    believed = replace(reading, **stands, doubts=doubts)
    return Trust(believed, {name: said[name] for name in held}, held), believed


def _says_the_same(name: str, reading: Reading, said: float | None, old: Reading | None) -> bool:
    """Whether the last reading said it too, believed or not."""
    now, believed = _figure(reading, name), None if old is None else _figure(old, name)
    return now is not None and any(
        before is not None and abs(now - before) <= _SAME[name] + _SAME_SHARE * abs(now) for before in (said, believed)
    )


def _figure(reading: Reading, name: str) -> float | None:
    value: float | None = getattr(reading, name)
    return value


def _half_alive(volts: int | None, hertz: float | None) -> bool:
    if volts is None or hertz is None:
        return False
    return (volts >= _ALIVE_V) != (hertz >= _ALIVE_HZ)
