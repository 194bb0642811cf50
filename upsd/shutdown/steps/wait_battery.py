"""Wait until the battery carries a full boot and a full shutdown, before anything is started again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.power import Event, Severity
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.domain.plan import Step
    from upsd.domain.power import Scalar
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.floor import BatteryLevel

_POLL_S = 60.0
_FULL_IN_A_ROW = 2


@dataclass(frozen=True, slots=True)
class WaitBattery:
    """Looks at the battery until it is above its floor.

    A battery that is worn out never gets there. When the UPS says that it is full, or when the step's limit is
    reached, the plan goes on all the same, and everybody is told: a weak battery is no reason to leave the cluster
    cordoned for ever.
    """

    level: Callable[[], BatteryLevel]
    emit: Callable[[Event], None]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        loop, full_in_a_row = asyncio.get_running_loop(), 0
        while True:
            level = self.level()
            figures = f"carries {level.low_s:.0f} s, and a boot and a shutdown need {level.floor_s:.0f} s"
            full_in_a_row = full_in_a_row + 1 if level.full else 0
            if level.enough:
                return Outcome(detail=f"the battery {figures}")
            if full_in_a_row >= _FULL_IN_A_ROW:
                return self._goes_on(context, level, f"the battery is full, {figures}: replace it, or unplug a machine")
            if loop.time() + _POLL_S >= context.force_at:
                return self._goes_on(context, level, f"the battery has not charged in time: it {figures}")
            context.say(f"the battery {figures}")
            await asyncio.sleep(_POLL_S)

    def _goes_on(self, context: StepContext, level: BatteryLevel, reason: str) -> Outcome:
        fields: dict[str, Scalar] = {"outage": context.outage, "reason": reason}
        fields |= {"low_s": round(level.low_s), "floor_s": round(level.floor_s)}
        self.emit(Event("battery_below_floor", Severity.CRITICAL, fields))
        return Outcome(StepState.FORCED, f"goes on all the same: {reason}")
