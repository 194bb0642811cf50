"""What a drain goes by, and how the drain of one node stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.shutdown.tiers import DEFAULT_TIERS, Tier

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from upsd.domain.rack import Pod
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.pod_end import Known, Reason


@dataclass(frozen=True, slots=True)
class DrainRules:
    """What a drain goes by.

    `nas` is the address of the NAS, empty if there is one whose address is not known, and `None` if there is none.
    """

    delete_grace_s: int = 5
    budget_patience_s: float = 10.0
    tiers: tuple[Tier, ...] = DEFAULT_TIERS
    nas: str | None = None


@dataclass(slots=True)
class NodeDrain:
    """The drain of one node: what is left there, and what had to be forced, by the pod's full name."""

    node: str
    context: StepContext
    joined_at: float
    over: asyncio.Future[None]
    most: int = 0
    left: list[Pod] = field(default_factory=list)
    left_on_nas: list[str] = field(default_factory=list)
    forced: dict[str, Reason] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    """By the pod's UID."""
    queued: set[str] = field(default_factory=set)
    """The UIDs of the pods that are about to be asked, or are being asked."""


def must_go(pod: Pod) -> bool:
    """Whether a drain ends this pod: DaemonSet and mirror pods come back at once, finished ones are over."""
    return not (pod.daemonset or pod.mirror or pod.finished)


def names_of(names: Iterable[str]) -> str:
    """The first of the names, and how many more there are."""
    first, *more = list(names)
    return f"{first} and {len(more)} more" if more else first
