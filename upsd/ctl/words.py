"""How are values written for a person? Unknown is `not reported`; times have the precision that is of use."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = "not reported"

POWER = {
    "on_line": "on line",
    "on_battery": "on battery",
    "output_off": "output off",
    "unknown": "unknown",
}

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1"}


def duration(seconds: float | None) -> str:
    """45 s, 2 min 5 s, 38 min, 3 h 20 min."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def quantity(value: float | None, unit: str) -> str | None:
    """The value with its unit; `None` stays `None`, so that the caller can say what is not reported."""
    return None if value is None else f"{value} {unit}"


def plain(text: object) -> str:
    """The text without control characters: nothing that a machine said may drive the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def painter(*, coloured: bool) -> Callable[[str, str], str]:
    """A function that gives a text a colour, or leaves it as it is."""
    if not coloured:
        return lambda text, _colour: text
    return lambda text, colour: f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
