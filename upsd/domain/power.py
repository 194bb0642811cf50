"""What a UPS says, what that means, and what happened: `Reading`, `PowerState`, `Event`.

A figure that the UPS does not give is `None` from here to the screen; nothing invents a number.
Times (`at`) are seconds of the event loop's clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsIdentity:
    """Who the UPS says it is, and its nominal values; `None` where it does not say.

    `phases` is how many go in and come out; `kind` is in words, such as "line-interactive, step wave".
    """

    model: str
    serial: str | None
    firmware: str | None
    apparent_power_va: int | None
    real_power_w: int | None
    battery_voltage_v: int | None
    battery_capacity_ah: int | None
    output_voltage_v: int | None
    output_frequency_hz: float | None
    phases: tuple[int, int] = (1, 1)
    kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseReading:
    """What a three-phase UPS says of one phase; `None` where it does not say, or has no such phase."""

    input_voltage_v: int | None = None
    bypass_voltage_v: int | None = None
    output_voltage_v: int | None = None
    load_percent: int | None = None
    current_a: float | None = None
    real_power_w: int | None = None
    apparent_power_va: int | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A figure of a reading that is not believed yet: its name, what the UPS said, and the rule that it broke."""

    figure: str
    said: float
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One status report of a UPS, complete and checked, taken at loop time `at`; two that say the same are equal.

    Voltages are those of the first phase, the load is the mean of all; `phases` has three for a unit with three phases
    on either side, and is empty for others. `doubts` are the figures in place of which an older one stands.
    """

    at: float = field(compare=False)

    output_powered: bool
    on_battery: bool
    battery_low: bool
    locked: bool = False
    on_bypass: bool = False
    bypass_bad: bool = False
    line_interactive: bool = False
    boost: bool = False
    buck: bool = False
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
    input_voltage_v: int | None = None
    output_frequency_hz: float | None = None
    output_voltage_v: int | None = None
    load_percent: int | None = None
    bypass_frequency_hz: float | None = None
    bypass_voltage_v: int | None = None
    battery_voltage_v: float | None = None
    charge_percent: int | None = None
    runtime_s: int | None = None
    temperature_c: int | None = None
    phases: tuple[PhaseReading, ...] = ()
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputLoad:
    """What a UPS says that it delivers (W), taken at loop time `at`; it tells nothing apart below `step_w`."""

    at: float
    watts: float
    step_w: float


class PowerState(enum.StrEnum):
    """What feeds the rack, as far as we know."""

    ON_LINE = "on_line"
    ON_BATTERY = "on_battery"
    OUTPUT_OFF = "output_off"
    UNKNOWN = "unknown"


class Severity(enum.StrEnum):
    """How loud an event is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a noun with fields, the same on the log, on MQTT and on the control socket."""

    name: str
    severity: Severity = Severity.INFO
    fields: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class HealthPoint:
    """What the battery gave on a date (ISO 8601), in percent of what a new one gives, and how that is known."""

    date: str
    percent: float
    known_by: str


@dataclass(frozen=True, slots=True)
class BatteryHealth:
    """The newest point, if there is one, and by which date the battery should be replaced, if that can be told."""

    point: HealthPoint | None
    replace_by: str | None


@dataclass(frozen=True, slots=True)
class RuntimeEstimate:
    """How long the battery still carries the present load, in seconds, with its uncertainty.

    `low_s` is what a plan may count on; `source` is `model` (ours) or `ups` (its own figure was lower).
    `model_s` is what our model expects, `ups_s` what the UPS says.
    """

    expected_s: float
    low_s: float
    high_s: float
    source: str
    model_s: float | None = None
    ups_s: float | None = None
