"""How worn is the battery, and when is it due? Pure; dates are ISO 8601.

A small sealed lead-acid battery fades slowly at first and fast at the end; a straight line through what was measured is
late rather than early, so the battery is due when a good part of it is still there, and never later than its calendar
life.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from upsd.domain.power import BatteryHealth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.power import HealthPoint

_DUE_PERCENT: Final = 60.0
_CALENDAR_LIFE: Final = timedelta(days=round(4.5 * 365.25))
"""Of the "3 to 5 years, standby use" that makers give, at a room's temperature."""
_SHORTEST_TREND: Final = timedelta(days=60)
_DAY: Final = timedelta(days=1)


def health_of(points: Sequence[HealthPoint], installed: date | None) -> BatteryHealth:
    """What follows from the points, oldest first, and from the date of installation.

    A date alone says nothing of this battery: until it has shown something, nobody says when it is due.
    """
    if not points:
        return BatteryHealth(None, None)
    due = [day for day in (_trend_ends(points, installed), installed and installed + _CALENDAR_LIFE) if day]
    return BatteryHealth(points[-1], min(due).isoformat() if due else None)


def _trend_ends(points: Sequence[HealthPoint], installed: date | None) -> date | None:
    """When the straight line through the points, and through the new battery, comes down to where it is due."""
    measured = [(date.fromisoformat(point.date[:10]), point.percent) for point in points]
    if not measured:
        return None
    newest, percent = measured[-1]
    if percent <= _DUE_PERCENT:
        return newest
    if installed is not None:
        measured.insert(0, (installed, 100.0))
    first = measured[0][0]
    if newest - first < _SHORTEST_TREND:
        return None
    days = [(day - first) / _DAY for day, _ in measured]
    mean_day, mean_percent = sum(days) / len(days), sum(value for _, value in measured) / len(measured)
    spread = sum((day - mean_day) ** 2 for day in days)
    slope = (
        sum((day - mean_day) * (value - mean_percent) for day, (_, value) in zip(days, measured, strict=True)) / spread
    )
    if slope >= 0:
        return None
    try:
        return newest + (_DUE_PERCENT - percent) / slope * _DAY
    except OverflowError:
        return None
