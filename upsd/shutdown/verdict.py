"""Ready, or not ready, because? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.readiness import Readiness
from upsd.shutdown.ledger import How

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from upsd.domain.plan import Plan
    from upsd.shutdown.ledger import Ledger, Mark

NOT_ARMED = "NOT ARMED: no outage starts a shutdown; run upsctl rehearse, then upsctl arm"

_A_DAY_S = 86400.0
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the steps of a plan stand: proofs that count, failures that nothing has mended, and the rest."""

    proven: Mapping[str, Mark]
    failed: Mapping[str, Mark]
    unproven: tuple[str, ...]

    @property
    def open(self) -> tuple[str, ...]:
        """The steps that are not proven, failed ones first."""
        return (*self.failed, *self.unproven)


def standing(plan: Plan, ledger: Ledger, fingerprints: Mapping[str, str]) -> Standing:
    """Where the steps stand; `fingerprints` is of their settings as they are now, by step."""
    proven: dict[str, Mark] = {}
    failed: dict[str, Mark] = {}
    for step in plan.steps:
        entry, fingerprint = ledger.of(step.id), fingerprints.get(step.id, "")
        if failure := entry.failed(fingerprint):
            failed[step.id] = failure
        elif proof := entry.proven(fingerprint):
            proven[step.id] = proof
    rest = (step.id for step in plan.steps if step.id not in proven.keys() | failed.keys())
    return Standing(proven, failed, tuple(rest))


def judge(
    stands: Standing,
    *,
    now: datetime,
    valid_for_s: float,
    spare_s: float | None,
    armed: bool,
    troubles: Sequence[str],
) -> Readiness:
    """The verdict.

    Args:
        stands: where the steps stand.
        now: the date.
        valid_for_s: how long a proof counts.
        spare_s: how much longer the battery surely lasts than the shutdown needs; `None` if that is not known.
        armed: whether a trigger may start a shutdown.
        troubles: what is wrong already, each with what to do.
    """
    because = (
        *(() if armed else (NOT_ARMED,)),
        *_about_steps(stands),
        *_about_age(stands.proven, now, valid_for_s),
        *_about_the_battery(spare_s),
        *troubles,
    )
    oldest = min((proof.at for proof in stands.proven.values()), default=None)
    return Readiness(
        ready=not because,
        because=because,
        armed=armed,
        proven_steps=len(stands.proven),
        of=len(stands.proven) + len(stands.open),
        oldest_proof=oldest.date().isoformat() if oldest else None,
    )


def named(steps: Sequence[str]) -> str:
    """The first step, and how many more."""
    return f"{steps[0]} and {len(steps) - 1} more" if len(steps) > 1 else steps[0]


def _about_steps(stands: Standing) -> Iterator[str]:
    for step, failure in list(stands.failed.items())[:_MOST_FAILURES]:
        when = "in the outage" if failure.how is How.OUTAGE else f"when {failure.how.value}"
        yield f"{step} failed {when} on {failure.at.date()}: {failure.detail or 'it took too long'}"
    more = len(stands.failed) - _MOST_FAILURES
    if more > 0:
        yield f"{more} more steps failed: run upsctl rehearse, and mend what it names"
    if stands.unproven:
        yield f"{len(stands.unproven)} steps are not proven ({named(stands.unproven)}): run upsctl rehearse"


def _about_age(proven: Mapping[str, Mark], now: datetime, valid_for_s: float) -> Iterator[str]:
    old = [step for step, proof in proven.items() if (now - proof.at).total_seconds() > valid_for_s]
    if old:
        days = f"{valid_for_s / _A_DAY_S:.0f} days"
        yield f"the last proof of {named(old)} is more than {days} old: run upsctl rehearse"


def _about_the_battery(spare_s: float | None) -> Iterator[str]:
    if spare_s is not None and spare_s < 0:
        yield (
            f"the battery surely lasts {-spare_s:.0f} s less than the shutdown, its reserve and its margin need: let it"
            " charge, replace it, or take load off the UPS"
        )
