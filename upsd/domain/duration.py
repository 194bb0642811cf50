"""Durations as people write them: `90s`, `5min`, `1h`, `7d`, `500ms`, or a number of seconds; and as they read them."""

from __future__ import annotations

import re

_SECONDS_OF = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(|ms|s|min|h|d)", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds that `text` stands for.

    Raises:
        ValueError: `text` is no duration; the message says what would be one.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a duration; write seconds, or "500ms", "90s", "5min", "1h", "7d"')
    number, unit = match.groups()
    return float(number) * _SECONDS_OF[unit]


def spoken(seconds: float) -> str:
    """For a person: 4.2 s, 45 s, 2 min 5 s, 38 min, 3 h 20 min."""
    if seconds < 10 and round(seconds, 1) % 1:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
