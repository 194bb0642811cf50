"""Ask a machine over SSH to power itself off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.domain.rack import RemoteHost, Waker
    from upsd.shutdown.engine import StepContext

_TRIES = 3
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteMachine:
    """A machine that is reached over SSH, the command that powers it off, and what wakes it, if it can be woken."""

    host: RemoteHost
    poweroff_command: str
    waker: Waker | None = None

    async def ask_to_power_off(self) -> None:
        """Send the command; an answer that does not come in ten seconds is an error."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self.host.run(self.poweroff_command)
        except TimeoutError:
            raise RackError(f"took the connection and did not answer within {_ANSWER_S:.0f} s") from None


@dataclass(frozen=True, slots=True)
class Poweroff:
    """Sends the power-off command to the step's machine."""

    machines: Mapping[str, RemoteMachine]
    acknowledged: set[str]
    going_off: set[str]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        self.going_off.add(step.target)
        await persist(context, self.machines[step.target].ask_to_power_off, tries=_TRIES)
        self.acknowledged.add(step.target)
        return Outcome()
