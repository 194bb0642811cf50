"""Power off the machine that we run on: the last step, which normally does not live to see its own end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import LocalHost
    from upsd.shutdown.engine import StepContext


@dataclass(frozen=True, slots=True)
class HostPoweroff:
    """Asks until we are gone."""

    local_host: LocalHost

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        while True:
            await persist(context, partial(self._ask, context))
            context.say("asked; waits for its end")
            await asyncio.sleep(step.expected_s)
            context.say("still up; asks again")

    async def _ask(self, context: StepContext) -> None:
        # What the command begins may stop us before it has returned.
        context.fulfilled = True
        try:
            await self.local_host.poweroff()
        except RackError:
            context.fulfilled = False
            raise


@dataclass(frozen=True, slots=True)
class RehearseHostPoweroff:
    """Asks whether this machine would power off."""

    local_host: LocalHost

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        return Outcome(detail=await self.local_host.check_poweroff())
