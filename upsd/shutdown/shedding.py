"""Which groups of workers go off early, so that the battery lasts longer for the rest? Pure.

A group goes when one of its conditions holds in two evaluations in a row, as with the triggers of the shutdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from upsd.shutdown.trigger import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedGroup:
    """Workers that can be done without, and when; `None` for not for this reason.

    Attributes:
        on_battery_s: after so long on battery.
        runtime_s: when no more than that is left of the runtime that may be counted on.
    """

    name: str
    workers: tuple[str, ...]
    on_battery_s: float | None = None
    runtime_s: float | None = None

    def holds(self, supply: Supply) -> bool:
        """Whether it should go now."""
        waited = self.on_battery_s is not None and supply.on_battery_s >= self.on_battery_s
        return waited or (self.runtime_s is not None and supply.low_s <= self.runtime_s)


@dataclass(frozen=True, slots=True)
class Shedding:
    """The groups (by name) whose conditions hold, and those that go off now."""

    held: frozenset[str] = frozenset()
    due: tuple[ShedGroup, ...] = ()


def evaluate(groups: Collection[ShedGroup], supply: Supply, previous: Shedding, gone: Collection[str]) -> Shedding:
    """The groups that hold, and of them those that held before too and have workers that are not `gone` yet."""
    held = frozenset(group.name for group in groups if group.holds(supply))
    sure = held & previous.held
    return Shedding(
        held, tuple(group for group in groups if group.name in sure and not set(group.workers) <= set(gone))
    )
