"""When does the shutdown start? Pure.

`auto` waits until the latest safe start, so that a short outage costs nobody their workloads; fixed triggers start it
earlier. A trigger fires when two evaluations in a row agree, except the UPS's own low-battery flag.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TriggerRules:
    """Which triggers are on; seconds, `None` for off."""

    auto: bool
    margin_s: float
    reserve_s: float
    on_battery_s: float | None
    battery_low: bool


@dataclass(frozen=True, slots=True)
class Supply:
    """What a trigger looks at, in an outage that was confirmed (s).

    `low_s` is the runtime that may be counted on, `need_s` what the plan usually takes.
    """

    on_battery_s: float
    battery_low: bool
    low_s: float
    need_s: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """The trigger that has been seen, and whether it fires now."""

    reason: str
    fires: bool


def latest_start_in_s(supply: Supply, rules: TriggerRules) -> float:
    """How long the start of the plan can still wait; negative when it is late."""
    return supply.low_s - rules.reserve_s - supply.need_s - rules.margin_s


def starts_in_s(supply: Supply, rules: TriggerRules) -> float | None:
    """How long it is until a trigger holds, if nothing changes; `None` if only the low-battery flag is waited for."""
    waits = [latest_start_in_s(supply, rules)] if rules.auto else []
    if rules.on_battery_s is not None:
        waits.append(rules.on_battery_s - supply.on_battery_s)
    return max(0.0, min(waits)) if waits else None


def evaluate(supply: Supply, rules: TriggerRules, previous: Trigger | None) -> Trigger | None:
    """The trigger that holds now, the first of the ones that do; it fires if it held before too."""
    if rules.battery_low and supply.battery_low:
        return Trigger("battery-low", fires=True)
    reason = None
    if rules.on_battery_s is not None and supply.on_battery_s >= rules.on_battery_s:
        reason = "on-battery"
    elif rules.auto and latest_start_in_s(supply, rules) <= 0:
        reason = "latest-safe-start"
    return None if reason is None else Trigger(reason, fires=previous is not None and previous.reason == reason)
