"""When does the shutdown start? Pure.

`auto` waits until the latest safe start, so that a short outage costs nobody their workloads; the others start it
earlier. A trigger fires when it holds in two evaluations in a row, except the UPS's own low-battery flag.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BATTERY_LOW = "battery-low"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRules:
    """Which triggers are on; `None` for off.

    Attributes:
        auto: at the latest safe start.
        margin_s: so much before it.
        reserve_s: what of the battery is kept.
        on_battery_s: after so long on battery.
        charge_percent: when the UPS says that the battery is charged to no more than that.
        runtime_s: when no more than that is left of the runtime that may be counted on.
        silence_s: when the UPS has not been heard for so long, on battery.
        battery_low: when the UPS says that its battery is low.
        shutdown_imminent: when the UPS says that it will soon cut its outlets, whoever told it to.
    """

    auto: bool
    margin_s: float
    reserve_s: float
    on_battery_s: float | None = None
    charge_percent: int | None = None
    runtime_s: float | None = None
    silence_s: float | None = None
    battery_low: bool = True
    shutdown_imminent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What a trigger looks at, in an outage that was confirmed.

    Attributes:
        on_battery_s: since the mains went.
        low_s: the runtime that may be counted on.
        need_s: what the plan usually takes.
        silent_s: since the UPS was heard; none while it is heard.
        charge_percent: what the UPS says of it, if it does.
        battery_low: whether it says so.
        shutdown_imminent: whether it says so.
    """

    on_battery_s: float
    low_s: float
    need_s: float
    silent_s: float = 0.0
    charge_percent: int | None = None
    battery_low: bool = False
    shutdown_imminent: bool = False


@dataclass(frozen=True, slots=True)
class Trigger:
    """The triggers that hold, the one that counts first, and whether one of them fires now: `reason`."""

    held: tuple[str, ...] = field(default=())
    reason: str | None = None


def latest_start_in_s(supply: Supply, rules: TriggerRules) -> float:
    """How long the start of the plan can still wait; negative when it is late."""
    return supply.low_s - rules.reserve_s - supply.need_s - rules.margin_s


def starts_in_s(supply: Supply, rules: TriggerRules) -> float | None:
    """How long it is until a trigger holds, if nothing changes; `None` if only the UPS's own word is waited for."""
    waits = [latest_start_in_s(supply, rules)] if rules.auto else []
    if rules.on_battery_s is not None:
        waits.append(rules.on_battery_s - supply.on_battery_s)
    if rules.runtime_s is not None:
        waits.append(supply.low_s - rules.runtime_s)
    if rules.silence_s is not None and supply.silent_s:
        waits.append(rules.silence_s - supply.silent_s)
    return max(0.0, min(waits)) if waits else None


def holding(supply: Supply, rules: TriggerRules) -> tuple[str, ...]:
    """The triggers that hold now, in the order in which they count."""
    charge = supply.charge_percent
    holds = {
        BATTERY_LOW: rules.battery_low and supply.battery_low,
        "shutdown-imminent": rules.shutdown_imminent and supply.shutdown_imminent,
        "on-battery": rules.on_battery_s is not None and supply.on_battery_s >= rules.on_battery_s,
        "charge": rules.charge_percent is not None and charge is not None and charge <= rules.charge_percent,
        "runtime": rules.runtime_s is not None and supply.low_s <= rules.runtime_s,
        "communication-lost": rules.silence_s is not None and supply.silent_s >= rules.silence_s > 0,
        "latest-safe-start": rules.auto and latest_start_in_s(supply, rules) <= 0,
    }
    return tuple(name for name, held in holds.items() if held)


def evaluate(supply: Supply, rules: TriggerRules, previous: Trigger) -> Trigger:
    """The triggers that hold, and the first of them that held before too or needs no second evaluation."""
    held = holding(supply, rules)
    sure = (name for name in held if name == BATTERY_LOW or name in previous.held)
    return Trigger(held, next(sure, None))
