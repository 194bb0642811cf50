"""Have the UPS cut its outlets later and restore them, so that every machine cold-starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.domain.plan import Step
    from upsd.domain.rack import Outlets
    from upsd.shutdown.engine import StepContext


@dataclass(frozen=True, slots=True)
class OutletCycle:
    """Schedules the cycle; the delay, which may grow with what is learned, is longer than the master takes to halt."""

    outlets: Outlets
    off_delay_s: Callable[[], int]
    restore_delay_min: int

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        off_delay_s = self.off_delay_s()
        cycle = partial(self.outlets.cycle, off_delay_s, self.restore_delay_min)
        confirmed = await persist(context, cycle, pause_s=1.0)
        detail = f"outlets off in {off_delay_s} s, on again {self.restore_delay_min} min later"
        return Outcome(detail=detail if confirmed else f"{detail}; the UPS took it and does not show it")


@dataclass(frozen=True, slots=True)
class RehearseOutletCycle:
    """Asks the UPS how it is; nothing is scheduled."""

    outlets: Outlets

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        return Outcome(detail=await self.outlets.check_cycle())
