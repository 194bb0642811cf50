"""What is kept of a battery: its discharges, and what they showed of its health. Pure; JSON values of format 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from upsd.domain.power import HealthPoint
from upsd.ups.battery.chemistry import Use
from upsd.ups.battery.learning import (
    Discharge,
    Point,
    capacity_share,
    contradicts,
    explained,
    kept_of,
    looks_better,
    tells_capacity,
)
from upsd.ups.battery.opinion import untried

if TYPE_CHECKING:
    from upsd.ups.battery.facts import BatteryFacts
    from upsd.ups.battery.opinion import Opinion

FORMAT: Final = 1
_MOST_DISCHARGES: Final = 8
_MOST_POINTS: Final = 60
_MOST_PERCENT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Charge:
    """How empty the battery was believed to be, and when (ISO 8601).

    `unsure` is which share of the charge may be missing besides; `discharging` whether it went on being drawn.
    """

    at: str
    use: Use
    unsure: float
    discharging: bool


@dataclass(frozen=True, slots=True)
class BatteryHistory:
    """Of the present battery, oldest first; `charge` is where it stood when this was written."""

    discharges: tuple[Discharge, ...] = ()
    health: tuple[HealthPoint, ...] = ()
    charge: Charge | None = None


def with_beginning(history: BatteryHistory, discharge: Discharge) -> BatteryHistory:
    """The history with a discharge that still goes on, in case that nobody can write down how it ends."""
    kept = replace(discharge, points=discharge.looked_at())
    return replace(history, discharges=_spared((*history.discharges, kept)))


def with_discharge(
    history: BatteryHistory, discharge: Discharge, before: Opinion, facts: BatteryFacts
) -> tuple[BatteryHistory, bool]:
    """The history with one more discharge, and whether that shows another battery: then it begins anew.

    `before` is what was thought of the battery when the discharge began.
    """
    kept = replace(discharge, points=discharge.looked_at())
    fitted, changed = explained(before, kept, facts), False
    if history.health and looks_better(before, fitted):
        fresh = explained(untried(facts), kept, facts)
        changed = contradicts(before, fitted, fresh)
        if changed:
            history, fitted = BatteryHistory(), fresh
    health, opinion = history.health, kept_of(fitted, kept, facts)
    if tells_capacity(kept, opinion, facts):
        percent = round(min(_MOST_PERCENT, 100 * capacity_share(opinion)), 1)
        known_by = "discharged until low" if kept.reached_low else "discharged in part"
        health = (*health, HealthPoint(kept.date[:10], percent, known_by))[-100:]
    return replace(history, discharges=_spared((*history.discharges, kept)), health=health), changed


def encoded(history: BatteryHistory) -> dict[str, Any]:
    """As JSON values."""
    return {
        "format": FORMAT,
        "discharges": [
            {
                "date": each.date,
                "seconds": round(each.seconds, 1),
                "watts": round(each.watts, 1),
                "unsure": round(each.unsure, 3),
                "reached_low": each.reached_low,
                "points": [_encoded_point(point) for point in each.points],
            }
            for each in history.discharges
        ],
        "health": [{"date": each.date, "percent": each.percent, "known_by": each.known_by} for each in history.health],
        "charge": _encoded_charge(history.charge) if history.charge else None,
    }


def decoded(found: object) -> BatteryHistory:
    """From JSON values.

    Raises:
        ValueError: they are not what `encoded` makes.
    """
    try:
        return _decoded(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a history of a battery: {error!r}") from error


def _decoded(found: object) -> BatteryHistory:
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    return BatteryHistory(
        tuple(_decoded_discharge(each) for each in found["discharges"]),
        tuple(
            HealthPoint(_date(each["date"]), _number(each["percent"]), str(each["known_by"]))
            for each in found["health"]
        ),
        _decoded_charge(found["charge"]) if found.get("charge") is not None else None,
    )


def _decoded_discharge(found: Mapping[str, Any]) -> Discharge:
    points = tuple(_decoded_point(point) for point in found["points"])
    if not 0 < len(points) <= _MOST_POINTS:
        raise ValueError(f"a discharge has {len(points)} points")
    return Discharge(
        date=_date(found["date"]),
        seconds=_number(found["seconds"]),
        watts=_number(found["watts"]),
        unsure=_number(found["unsure"]),
        reached_low=found["reached_low"] is True,
        points=points,
    )


def _encoded_charge(charge: Charge) -> dict[str, Any]:
    use = charge.use
    return {
        "at": charge.at,
        "use_ah": [round(value, 4) for value in (use.drawn_ah, use.quick_ah, use.slow_ah)],
        "unsure": round(charge.unsure, 4),
        "discharging": charge.discharging,
    }


def _decoded_charge(found: Mapping[str, Any]) -> Charge:
    drawn_ah, quick_ah, slow_ah = (_number(value) for value in found["use_ah"])
    at = str(found["at"])
    if datetime.fromisoformat(at).tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    unsure = _number(found["unsure"])
    return Charge(at, Use(drawn_ah, quick_ah, slow_ah), unsure, found["discharging"] is True)


def _encoded_point(point: Point) -> list[float]:
    use = point.use
    values = (use.drawn_ah, use.quick_ah, use.slow_ah, point.current_a, point.block_v)
    return [round(value, 4) for value in values]


def _decoded_point(found: Sequence[object]) -> Point:
    drawn_ah, quick_ah, slow_ah, current_a, block_v = (_number(value) for value in found)
    if current_a <= 0 or block_v <= 0:
        raise ValueError("a discharge has neither current nor voltage")
    return Point(Use(drawn_ah, quick_ah, slow_ah), current_a, block_v)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no such number")
    return float(value)


def _date(value: object) -> str:
    text = str(value)
    date.fromisoformat(text[:10])
    return text


def _spared(discharges: tuple[Discharge, ...]) -> tuple[Discharge, ...]:
    """No more than are of use; those that did not go to the end are forgotten first."""
    if len(discharges) <= _MOST_DISCHARGES:
        return discharges
    partial = [index for index, each in enumerate(discharges) if not each.reached_low]
    forgotten = partial[0] if partial else 0
    return discharges[:forgotten] + discharges[forgotten + 1 :]
