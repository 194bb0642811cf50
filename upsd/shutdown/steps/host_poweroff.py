"""Power off the machine that we run on: the last step, which normally does not live to see its own end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import LocalHost
    from upsd.shutdown.engine import Outcome, StepContext


@dataclass(frozen=True, slots=True)
class HostPoweroff:
    """Asks until we are gone."""

    local_host: LocalHost

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        while True:
            await persist(context, self.local_host.poweroff)
            context.say("asked; waits for its end")
            context.fulfilled = True
            await asyncio.sleep(step.expected_s)
            context.fulfilled = False
            context.say("still up; asks again")
