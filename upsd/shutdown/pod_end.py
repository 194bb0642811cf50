"""What is to be done next so that one pod ends in time? Pure.

As `kubectl drain` does it: an eviction, which a disruption budget may refuse, and then patience. But a budget is advice
in an outage: once no node takes new pods it never yields, so that after a while the pod is deleted past it, with its
own grace. And time ends: a pod gets no longer grace than there is, and what is left when force is needed is deleted
with what little there is. A grace of 0 is never given: the API would forget a pod that still runs, and writes.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.rack import EvictionAnswer

if TYPE_CHECKING:
    from upsd.domain.rack import Pod

RETRY_S = 3.0
"""After which a budget is asked again; kubectl takes 5 s."""

AGAIN_S = 1.0
"""After which the same is asked again that another change came in between."""


class Reason(enum.StrEnum):
    """Why a pod did not end by its own eviction and in its own time; as people read it."""

    BUDGET = "a budget"
    TWO_BUDGETS = "two budgets"
    NAMESPACE = "a namespace in deletion"
    OUT_OF_TIME = "out of time"


HOPELESS = {EvictionAnswer.TWO_BUDGETS: Reason.TWO_BUDGETS, EvictionAnswer.NAMESPACE: Reason.NAMESPACE}
"""Refusals that waiting does not mend."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a drain has, and how long it respects a budget.

    `delete_grace_s` is what a pod still gets when force is needed; `patience_s` is infinite where a budget may yield.
    """

    force_at: float
    delete_grace_s: int
    patience_s: float = math.inf


@dataclass(slots=True)
class Known:
    """What has been asked and heard of one pod."""

    ends_by: float = math.inf
    """When the grace is over that it was given."""
    cut_short: bool = False
    """Whether that was less than its own."""
    refused_at: float | None = None
    """When a budget refused it first."""
    again_at: float = -math.inf
    """Before which it is not asked again."""
    stuck: Reason | None = None
    """Why no eviction will ever do."""

    @property
    def why_forced(self) -> Reason:
        """What kept it from ending by itself until now."""
        refused = self.refused_at is not None and math.isinf(self.ends_by)
        return self.stuck or (Reason.BUDGET if refused else Reason.OUT_OF_TIME)

    def hear(self, answer: EvictionAnswer, grace_s: int, *, own_s: int, now: float) -> None:
        """Take note of the answer to an eviction with that grace; `own_s` is the pod's."""
        match answer:
            case EvictionAnswer.ACCEPTED | EvictionAnswer.GONE:
                self.give(grace_s, own_s=own_s, now=now)
            case EvictionAnswer.BUDGET:
                self.refused_at = now if self.refused_at is None else self.refused_at
                self.again_at = now + RETRY_S
            case EvictionAnswer.TWO_BUDGETS | EvictionAnswer.NAMESPACE:
                self.stuck = HOPELESS[answer]
            case EvictionAnswer.AGAIN:
                self.again_at = now + AGAIN_S

    def give(self, grace_s: int, *, own_s: int, now: float) -> None:
        """Take note that it was given so long to end."""
        self.ends_by = now + grace_s
        self.cut_short = grace_s < own_s


@dataclass(frozen=True, slots=True)
class Ending:
    """What is asked of the API: an eviction, or for `force` a deletion that no budget stops."""

    grace_s: int
    force: Reason | None = None


def next_ending(pod: Pod, known: Known, limits: Limits, now: float) -> Ending | None:
    """What to ask now; `None` if there is nothing but to wait."""
    if now >= limits.force_at:
        grace_s = max(1, limits.delete_grace_s)
        # The API server shortens what was given before.
        return Ending(grace_s, known.why_forced) if known.ends_by > now + grace_s else None
    if pod.terminating or known.ends_by < math.inf:
        return None
    grace_s = max(1, min(pod.grace_s, int(limits.force_at + limits.delete_grace_s - now)))
    if known.stuck or (known.refused_at is not None and now >= known.refused_at + limits.patience_s):
        return Ending(grace_s, known.why_forced)
    return Ending(grace_s) if now >= known.again_at else None
