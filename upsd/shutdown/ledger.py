"""When was each step of the shutdown last proven, and how? Pure.

A proof is of a step as the settings made it: it carries a fingerprint of them, and is void once that has changed.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from upsd.domain.plan import PlanPurpose, StepState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Plan, StepProgress

SCHEMA = 1
_PROVEN = frozenset({StepState.DONE, StepState.FORCED})
_DISPROVEN = frozenset({StepState.FAILED, StepState.TIMED_OUT})


class How(enum.StrEnum):
    """By what a step was proven, or failed."""

    REHEARSED = "rehearsed"
    DRILLED = "drilled"
    """Done for real on one machine, while the mains was there."""
    OUTAGE = "outage"


HOW = {PlanPurpose.REHEARSAL: How.REHEARSED, PlanPurpose.DRILL: How.DRILLED, PlanPurpose.SHUTDOWN: How.OUTAGE}
"""The plans whose steps prove something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a step ended once.

    Attributes:
        how: by what.
        at: the date, in UTC.
        fingerprint: of the settings that the step had.
        seconds: how long it took, if that is known.
        detail: what it said at its end; of a failure, the reason.
    """

    how: How
    at: datetime
    fingerprint: str
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """The last proof of a step, and its last failure."""

    proof: Mark | None = None
    failure: Mark | None = None

    def proven(self, fingerprint: str) -> Mark | None:
        """The proof, if it still counts: the step has not failed since, and is what it was."""
        if self.proof is None or self.proof.fingerprint != fingerprint or self.failed(fingerprint):
            return None
        return self.proof

    def failed(self, fingerprint: str) -> Mark | None:
        """The failure, if nothing has proven the step since, and it is what it was."""
        failure = self.failure
        if failure is None or failure.fingerprint != fingerprint:
            return None
        return None if self.proof and self.proof.at >= failure.at else failure


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of every step, by its id."""

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def of(self, step: str) -> Entry:
        """What is known of one step."""
        return self.entries.get(step, Entry())


def noted(ledger: Ledger, progress: StepProgress, how: How, at: datetime, fingerprint: str) -> Ledger:
    """The ledger after a step has ended; one that was left out or called off has shown nothing."""
    if progress.state not in _PROVEN | _DISPROVEN:
        return ledger
    took_s = None
    if progress.started_at is not None and progress.ended_at is not None:
        took_s = round(progress.ended_at - progress.started_at, 2)
    mark = Mark(how=how, at=at, fingerprint=fingerprint, seconds=took_s, detail=progress.detail)
    entry = ledger.of(progress.step.id)
    entry = replace(entry, proof=mark) if progress.state in _PROVEN else replace(entry, failure=mark)
    return Ledger({**ledger.entries, progress.step.id: entry})


def due_at(ledger: Ledger, plan: Plan, fingerprints: Mapping[str, str], every_s: float) -> datetime | None:
    """When the plan is to be rehearsed again; `None` before the first time, which is for a person to begin.

    That is some time after its step that nobody has tried for longest, and at once if one was never tried as it is now.
    """
    if not any(mark.how is How.REHEARSED for entry in ledger.entries.values() for mark in _marks(entry)):
        return None
    tried: list[datetime | None] = []
    for step in plan.steps:
        fingerprint = fingerprints.get(step.id, "")
        at = [mark.at for mark in _marks(ledger.of(step.id)) if mark.fingerprint == fingerprint]
        tried.append(max(at, default=None))
    known = [at for at in tried if at is not None]
    if len(known) < len(tried):
        return datetime.min.replace(tzinfo=UTC)
    return min(known) + timedelta(seconds=every_s)


def to_document(ledger: Ledger) -> dict[str, Any]:
    """The ledger as plain JSON values."""
    entries = {
        step: {
            name: {**asdict(mark), "at": mark.at.isoformat()}
            for name, mark in (("proof", entry.proof), ("failure", entry.failure))
            if mark
        }
        for step, entry in ledger.entries.items()
    }
    return {"schema": SCHEMA, "steps": entries}


def from_document(document: Any) -> Ledger:
    """The ledger that these JSON values stand for.

    Raises:
        ValueError: they are none.
    """
    try:
        return Ledger(
            {
                str(step): Entry(**{name: _mark(entry[name]) for name in ("proof", "failure") if name in entry})
                for step, entry in document["steps"].items()
            }
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is no ledger: {error!r}") from error


def _mark(found: Mapping[str, Any]) -> Mark:
    at = datetime.fromisoformat(found["at"])
    seconds = found["seconds"]
    if at.tzinfo is None or not isinstance(seconds, float | int | None):
        raise ValueError(f"it has a mark that makes no sense: {found}")
    return Mark(
        how=How(found["how"]),
        at=at,
        fingerprint=str(found["fingerprint"]),
        seconds=seconds,
        detail=str(found["detail"]),
    )


def _marks(entry: Entry) -> list[Mark]:
    return [mark for mark in (entry.proof, entry.failure) if mark]
