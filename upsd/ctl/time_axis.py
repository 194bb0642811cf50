"""Where on a line of characters is a moment? A time axis, with the empty time in its middle left out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Span = tuple[float, float]

BREAK_WIDTH = 3
_WORTH_A_BREAK = 0.25
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_TICK_WIDTH = 7
_LONG_S = 360_000


def clock(seconds: float) -> str:
    """0:05, 12:30, 100:00: minutes and seconds; 167 h from a hundred hours on."""
    whole = max(0, round(seconds))
    if whole >= _LONG_S:
        return f"{whole // 3600} h"
    return f"{whole // 60}:{whole % 60:02}"


class TimeAxis:
    """Seconds to columns.

    Args:
        columns: how many there are.
        spans: what has to be seen (s), as one or two spans in order; what is between two is left out if it is long.
    """

    def __init__(self, columns: int, spans: Sequence[Span]) -> None:
        (start, end), *more = spans
        if more and more[0][0] - end <= _WORTH_A_BREAK * (more[0][1] - start):
            end = more.pop()[1]
        self._spans: list[Span] = [(start, max(end, start + 1.0)), *more]
        shown_s = sum(to - since for since, to in self._spans)
        self.columns = columns
        self._per_s = (columns - 1 - (BREAK_WIDTH + 1) * len(more)) / shown_s

    @property
    def break_at(self) -> int | None:
        """The first column of the break; `None` if nothing is left out."""
        return self.column(self._spans[0][1]) + 1 if len(self._spans) > 1 else None

    def column(self, at_s: float) -> int:
        """The column of a moment; the nearest one for what is not seen."""
        (start, end), *more = self._spans
        if more and at_s >= more[0][0]:
            return self._within(self.columns - 1 - (more[0][1] - at_s) * self._per_s)
        return self._within((min(at_s, end) - start) * self._per_s)

    def ticks(self) -> Iterator[tuple[int, str]]:
        """Columns and what is written there, as close as they can be read."""
        step_s = next((step for step in _TICKS_S if step * self._per_s >= _TICK_WIDTH), _TICKS_S[-1])
        for start, end in self._spans:
            number = -(-start // step_s)
            while number * step_s <= end:
                yield self.column(number * step_s), clock(number * step_s)
                number += 1

    def _within(self, column: float) -> int:
        return min(self.columns - 1, max(0, round(column)))
