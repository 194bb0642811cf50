"""In which order do the workloads of a cluster end, and since when may each of them be asked to go? Pure.

What writes ends before what it writes to: apps, then databases, then the system with its storage and ingress. The tiers
end one after another over all nodes together. A tier begins when nothing of the earlier ones is left, and at the latest
when each of those has used up its share: the time until force is needed, divided among the tiers that have pods. So
whatever hangs in one tier, the last still has a share of its own, and is asked before anything is forced.

An order is kept only where there is time for it. Where a share would be shorter than what the pods are sure to need,
all begin at once: a database that is asked late would lose more than one whose clients are still there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from upsd.domain.rack import Pod

LONGEST_SURE_S = 30.0
"""The most that a tier is sure to need: the grace that Kubernetes gives by default. Longer ones are seldom used up."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Workloads that end together: those that any of these criteria takes."""

    name: str
    namespaces: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """Each `key=value`, or `key` for whatever value."""
    priority_classes: tuple[str, ...] = ()
    """Each a name, or a pattern such as `system-*`."""
    stateful_sets: bool = False

    def takes(self, pod: Pod) -> bool:
        """Whether the pod is one of this tier."""
        return (
            (self.stateful_sets and pod.stateful_set)
            or any(fnmatchcase(pod.namespace, wanted) for wanted in self.namespaces)
            or any(fnmatchcase(pod.priority_class, wanted) for wanted in self.priority_classes)
            or any(_carries(pod.labels, wanted) for wanted in self.labels)
        )


DEFAULT_TIERS = (
    Tier("apps"),
    Tier("databases", stateful_sets=True),
    Tier("system", namespaces=("kube-system",), priority_classes=("system-*",)),
)
"""What ends when, where the settings name no tiers."""


def rank_of(pod: Pod, tiers: Sequence[Tier]) -> int:
    """The place of the pod's tier: of several that take it the last, and the first if none does."""
    return max((rank for rank, tier in enumerate(tiers) if tier.takes(pod)), default=0)


@dataclass(slots=True)
class Order:
    """How far the tiers have got since `began_at`; all times are of one clock, in seconds."""

    began_at: float
    sure_s: dict[int, float] = field(default_factory=dict)
    """What the pods of each tier that has, or had, some are sure to need: the longest grace, within limits."""

    def follow(self, left: Mapping[int, float], *, now: float, force_at: float) -> int:
        """The last tier whose pods may be asked to go now, with all before it.

        Args:
            left: the tiers that still have pods, each with the longest grace (s) of them.
            now: the time.
            force_at: from when on what is left will be forced.
        """
        for rank, grace_s in left.items():
            self.sure_s[rank] = max(self.sure_s.get(rank, 0.0), min(grace_s, LONGEST_SURE_S))
        ranks = sorted(self.sure_s)
        if not ranks:
            return 0
        return max(min(left, default=ranks[-1]), self._by_time(ranks, now, force_at))

    def _by_time(self, ranks: Sequence[int], now: float, force_at: float) -> int:
        share_s = (force_at - self.began_at) / len(ranks)
        if now >= force_at or share_s < max(self.sure_s.values()):
            return ranks[-1]
        return ranks[min(int((now - self.began_at) / share_s), len(ranks) - 1)]


def _carries(labels: Mapping[str, str], wanted: str) -> bool:
    key, sign, value = wanted.partition("=")
    return key in labels and (not sign or labels[key] == value)
