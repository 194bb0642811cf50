"""How fast may requests follow each other, pass the bridge, and be answered? Pure, time is an argument.

The bridge takes 7 bytes at a time and sends them on at 1200 baud, 58 ms a piece. How much more it holds is not known;
NUT waits 200 ms after each piece, which is known to be enough. So the pause is found out: a little shorter with each
good exchange, down to just above those 58 ms, and twice as long when the UPS got a request damaged or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from upsd.domain.power import Reading

SAFE_PAUSE_S: Final = 0.2
SHORTEST_PAUSE_S: Final = 0.06
_FIRST_PAUSE_S: Final = 0.1
_STEP_S: Final = 0.005
_CAUTIOUS_FOR: Final = 200

_SLOWEST_REPORT_S: Final = 0.016
_QUICKEST_REPORT_S: Final = 0.001
_MOST_REPORTS: Final = 64
_LONGEST_THOUGHT_S: Final = 0.3

_CALM_STEP: Final = 0.04


@dataclass(frozen=True, slots=True)
class PiecePause:
    """The pause between two pieces of a request, in seconds.

    Attributes:
        seconds: the pause now.
        shortest_s: what it never falls below; less than `SHORTEST_PAUSE_S` only if a test of the device proved it.
        cautious: so many good exchanges must pass before it gets shorter again.
    """

    seconds: float = _FIRST_PAUSE_S
    shortest_s: float = SHORTEST_PAUSE_S
    cautious: int = 0

    def shorter(self) -> PiecePause:
        """After a good exchange."""
        if self.cautious:
            return replace(self, cautious=self.cautious - 1)
        if self.seconds <= self.shortest_s:
            return self
        return replace(self, seconds=max(self.shortest_s, self.seconds - _STEP_S))

    def longer(self) -> PiecePause:
        """After a request that did not get through; whatever a test has proven is refuted by it."""
        return PiecePause(
            seconds=min(SAFE_PAUSE_S, max(2 * self.seconds, _FIRST_PAUSE_S)),
            shortest_s=max(self.shortest_s, SHORTEST_PAUSE_S),
            cautious=_CAUTIOUS_FOR,
        )


class ReplyPace:
    """How fast replies come, learned from those before.

    Attributes:
        thinks_s: how long the UPS takes between request and reply.
        report_s: how long the bridge takes from one report to the next.
    """

    def __init__(self) -> None:
        self.thinks_s = 0.0
        self.report_s = _SLOWEST_REPORT_S

    def began(self, after_s: float) -> None:
        """A reply began this long (s) after its request."""
        self.thinks_s = min(_LONGEST_THOUGHT_S, max(0.0, after_s))

    def took(self, seconds: float, reports: int) -> None:
        """So many reports came in that time; the more, the better they show how often they come."""
        weight = reports / _MOST_REPORTS
        report_s = (1 - weight) * self.report_s + weight * seconds / reports
        self.report_s = min(_SLOWEST_REPORT_S, max(_QUICKEST_REPORT_S, report_s))

    def reports_until(self, due_at: float, now: float) -> int:
        """How many reports the bridge gives until then, at least one."""
        return max(1, min(_MOST_REPORTS, round((due_at - now) / self.report_s)))


def may_be_changing(old: Reading | None, new: Reading) -> bool:
    """Whether the next reading may well say something else, so that it should come at once."""
    if old is None or new.doubts or _flags(old) != _flags(new):
        return True
    restless = (
        new.on_battery,
        new.battery_low,
        not new.output_powered,
        new.test_in_progress,
        new.shutdown_active,
        new.shutdown_imminent,
        new.boost,
        new.buck,
        new.overload,
    )
    return any(restless) or _moved(old.input_voltage_v, new.input_voltage_v)


def _flags(reading: Reading) -> tuple[bool, ...]:
    return (
        reading.output_powered,
        reading.on_battery,
        reading.battery_low,
        reading.on_bypass,
        reading.test_in_progress,
        reading.shutdown_active,
        reading.failure,
    )


def _moved(old_v: int | None, new_v: int | None) -> bool:
    """Whether the mains moved so much that more may follow."""
    return old_v is not None and new_v is not None and abs(new_v - old_v) > _CALM_STEP * max(old_v, new_v)
