"""What ran in the cluster before it was drained, and what of it is not there again? Pure.

A workload is what keeps a number of pods (a ReplicaSet, a StatefulSet); its measure is how many of them are Ready.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMED = 5


@dataclass(slots=True)
class WorkloadMemory:
    """How many pods were Ready before the outage touched the cluster, by workload; `None` if nobody counted them.

    It is kept until the outage is closed: what a second outage finds is what the first one has left.
    """

    before: Mapping[str, int] | None = None

    def forget(self) -> None:
        """Let the next outage count anew."""
        self.before = None


def missing(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, str]:
    """The workloads with fewer Ready pods than before, each with `2 of 3`."""
    return {
        name: f"{now.get(name, 0)} of {wanted}" for name, wanted in sorted(before.items()) if now.get(name, 0) < wanted
    }


def in_words(absent: Mapping[str, str]) -> str:
    """The first few of what is missing, and how many more."""
    named = [f"{name} ({how_many})" for name, how_many in absent.items()]
    more = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def to_text(counts: Mapping[str, int]) -> str:
    """The counts as one value of a journal record."""
    return json.dumps(dict(counts), sort_keys=True)


def from_text(text: str) -> dict[str, int]:
    """What `to_text` wrote.

    Raises:
        ValueError: it is something else.
    """
    return {str(name): int(count) for name, count in json.loads(text).items()}
