"""How did the last outage end for this machine itself? From the journal's records, after the next boot; pure.

Two things can be known only then: how long its own power-off took, and that the UPS was not told to cycle its outlets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from upsd.domain.plan import StepKind, StepState
from upsd.shutdown.records import UNKNOWN, records_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from upsd.domain.power import Scalar
    from upsd.shutdown.durations import History
    from upsd.shutdown.records import Record

SEEN: Final = "own-end"
"""The kind of the record that this was looked at."""
NOT_CYCLED: Final = (
    "the UPS was not told to cycle its outlets: what was powered off stays off until somebody switches it on, or sends"
    " it a Wake-on-LAN packet, unless its outlet lost power anyway"
)
_LONGEST_S = 900.0
_SHORTEST_S = 0.1
_LONGEST_DELAY_S = 65535
# The disks' journal ends before the machine does: the last processes are ended, file systems unmounted, the UPS asked.
_AFTER_JOURNAL_S = 30.0
_SHARE_MORE = 1.25
_SHARE_MORE_IF_CUT_OFF = 1.5
_WELL = frozenset({StepState.DONE.value, StepState.FORCED.value})


@dataclass(frozen=True, slots=True)
class OwnEnd:
    """The power-off of this machine in an outage that is not over.

    Attributes:
        outage: its name.
        step: the power-off's step id.
        boot_id: of the boot that it ended.
        asked_at_s: when it began, by CLOCK_MONOTONIC of that boot; `None` if that was not written down.
        not_cycled: why the UPS was not told to cycle its outlets; `None` if it was, or if that was not written down.
        seen: whether an earlier run of the daemon has looked at it.
    """

    outage: str
    step: str
    boot_id: str
    asked_at_s: float | None
    not_cycled: str | None
    seen: bool = False


def own_end(lines: Iterable[str], boot_id: str) -> OwnEnd | None:
    """How the boot before this one ended, if a shutdown of ours ended it and its outage is not over."""
    found: OwnEnd | None = None
    cycle: Record | None = None
    for record in records_in(lines):
        match record["record"]:
            case "outage" | "closed":
                found = cycle = None
            case "step" if record.get("plan", "shutdown") == "shutdown":
                does = str(record.get("step")).partition(" ")[0]
                if does == StepKind.OUTLET_CYCLE.value:
                    cycle = record
                elif does == StepKind.HOST_POWEROFF.value and record.get("state") == StepState.RUNNING.value:
                    found = _opened(record, cycle)
            case kind if kind == SEEN and found:
                found = replace(found, seen=True)
    return found if found and found.boot_id != boot_id else None


def took_s(end: OwnEnd, ended_at_s: float) -> float | None:
    """How long the power-off took, until that moment of its boot (CLOCK_MONOTONIC); `None` if that can't be."""
    if end.asked_at_s is None:
        return None
    seconds = ended_at_s - end.asked_at_s
    return seconds if _SHORTEST_S <= seconds <= _LONGEST_S else None


def off_delay_s(at_least_s: int, history: History | None) -> int:
    """After how many seconds the UPS may cut the power: as the settings say, and longer if this machine needs longer.

    Here the slowest power-off of those that are remembered counts, not the usual one: for what is cut too late costs
    some minutes of battery, and what is cut too early costs what was not written yet.
    """
    if history is None:
        return at_least_s
    slowest_s = max(run.seconds * (_SHARE_MORE_IF_CUT_OFF if run.censored else 1.0) for run in history.runs)
    return min(_LONGEST_DELAY_S, max(at_least_s, math.ceil(_SHARE_MORE * slowest_s + _AFTER_JOURNAL_S)))


def _opened(record: Record, cycle: Record | None) -> OwnEnd:
    return OwnEnd(
        outage=str(record.get("outage") or UNKNOWN),
        step=str(record.get("step")),
        boot_id=str(record.get("boot_id")),
        asked_at_s=_seconds(record.get("clock_s")),
        not_cycled=_why_not(cycle),
    )


def _why_not(cycle: Record | None) -> str | None:
    if cycle is None or str(cycle.get("state")) in _WELL | {StepState.RUNNING.value}:
        return None
    return str(cycle.get("detail") or cycle.get("state"))


def _seconds(value: Scalar) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
