"""Durations as people write them: `90s`, `5min`, `1h`, `7d`, `500ms`, or a plain number of seconds."""

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
