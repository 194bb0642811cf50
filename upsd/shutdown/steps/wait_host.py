"""Wait until a machine is back, and wake it if it can be woken."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.steps.poweroff import RemoteMachine

_POLL_S = 2.0
# A machine that has just gone off may not listen yet, and one that boots does not mind.
_WAKE_AGAIN_S = 15.0


@dataclass(frozen=True, slots=True)
class WaitHost:
    """Calls the machine's SSH port until it accepts; the inverse of a power-off, where the machine can be woken.

    Most machines start by themselves when their outlet has power again. Those that can't are woken from here, again and
    again until they answer.
    """

    machines: Mapping[str, RemoteMachine]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop, machine = asyncio.get_running_loop(), self.machines[step.target]
        woken, woken_at = 0, -math.inf
        while True:
            trouble = "no answer on its SSH port"
            try:
                if await machine.host.call_port() is PortAnswer.ACCEPTS:
                    return Outcome(detail=f"answers{_woken(woken)}")
                if machine.waker and loop.time() >= woken_at + _WAKE_AGAIN_S:
                    woken_at = loop.time()
                    await machine.waker.wake()
                    woken += 1
            except RackError as error:
                trouble = str(error)
            context.say(trouble + _woken(woken))
            await asyncio.sleep(_POLL_S)


def _woken(times: int) -> str:
    return f", woken {times} times" if times else ""
