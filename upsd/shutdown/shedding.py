"""Which groups of workers go off early, so that the battery lasts longer for the rest? Pure.

A group goes when one of its conditions holds in two evaluations in a row, as with the triggers of the shutdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.duration import spoken

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

    def due_in_s(self, low_s: float | None) -> float | None:
        """In how long (s) it would go if the mains went now, with so much runtime to count on; `None` if not known."""
        by_runtime_s = None if low_s is None or self.runtime_s is None else max(0.0, low_s - self.runtime_s)
        return min((after_s for after_s in (self.on_battery_s, by_runtime_s) if after_s is not None), default=None)


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


def describe(groups: Collection[ShedGroup], wakes: Collection[str], low_s: float | None) -> list[str]:
    """A sentence for each group: who goes off when, and who stays off then; `wakes` are the workers that can be woken.

    `low_s` is the runtime (s) that may be counted on now, as far as it is known.
    """
    return [_described(group, wakes, group.due_in_s(low_s)) for group in groups]


def _described(group: ShedGroup, wakes: Collection[str], due_in_s: float | None) -> str:
    conditions = []
    if group.on_battery_s is not None:
        conditions.append(f"after {spoken(group.on_battery_s)} on battery")
    if group.runtime_s is not None:
        conditions.append(f"once no more than {spoken(group.runtime_s)} of runtime is left")
    when = f"; if the mains went now, in {spoken(due_in_s)}" if due_in_s is not None else ""
    text = f"{group.name}: {', '.join(group.workers)} would go off {' or '.join(conditions)}{when}."
    stay = [worker for worker in group.workers if worker not in wakes]
    return f"{text} Not woken when it is back, for want of `mac`: {', '.join(stay)}." if stay else text
