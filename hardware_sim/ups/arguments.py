"""What an action takes: numbers and switches with their limits, as a query, JSON or TOML has them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

NONE: Final = "none"
"""How a figure is written that the UPS does not give."""
_ON: Final = ("true", "on", "yes", "1")
_OFF: Final = ("false", "off", "no", "0")


class Kind(enum.Enum):
    """What sort of value it is."""

    NUMBER = "a number"
    COUNT = "a whole number"
    FIGURE = "a number or none"
    SWITCH = "true or false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument; numbers lie between `least` and `most`, which count as well."""

    name: str
    kind: Kind = Kind.NUMBER
    least: float = 0.0
    most: float = 0.0
    unit: str = ""
    needed: bool = True

    @property
    def limits(self) -> str:
        """What it may be, in words, as in "a number from 0 to 500 V"."""
        between = f"from {self.least:g} to {self.most:g} {self.unit}".rstrip()
        match self.kind:
            case Kind.SWITCH:
                return Kind.SWITCH.value
            case Kind.FIGURE:
                return f'{Kind.NUMBER.value} {between}, or "{NONE}"'
            case _:
                return f"{self.kind.value} {between}"

    @property
    def usage(self) -> str:
        """How it is written, as in "volts=0..500"; in brackets if it may be left out."""
        values = "true|false" if self.kind is Kind.SWITCH else f"{self.least:g}..{self.most:g}"
        return f"{self.name}={values}" if self.needed else f"[{self.name}={values}]"

    def read(self, given: object) -> bool | int | float | None:
        """The value that is meant.

        Raises:
            ValueError: it can't be that.
        """
        match self.kind:
            case Kind.SWITCH:
                return self._switch(str(given).lower())
            case Kind.FIGURE if given is None or given == NONE:
                return None
            case Kind.COUNT:
                return self._between(int(str(given)))
            case _:
                return self._between(float(str(given)))

    def _switch(self, word: str) -> bool:
        if word not in (*_ON, *_OFF):
            raise ValueError(word)
        return word in _ON

    def _between(self, number: float) -> float:
        if not self.least <= number <= self.most:
            raise ValueError(number)
        return number


def written(value: float | None) -> str:
    """The value as people type it, as in "180", "true" or "none"."""
    return NONE if value is None else str(value).lower().removesuffix(".0")
