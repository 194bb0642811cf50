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
# So long a machine that was asked to power off may still accept connections before it is taken for one that did not.
_STILL_UP_S = 60.0


@dataclass(frozen=True, slots=True)
class WaitHost:
    """Calls the machine's SSH port until it accepts; the inverse of a power-off, where the machine can be woken.

    Most machines start by themselves when their outlet has power again. Those that can't are woken from here, again and
    again until they answer. One that was asked to power off a moment ago, and is still up, is not back: it must be seen
    down first, or stay up for a minute.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: set[str]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop, machine = asyncio.get_running_loop(), self.machines[step.target]
        woken, woken_at = 0, -math.inf
        believed_at = context.started_at + (_STILL_UP_S if step.target in self.going_off else 0.0)
        while True:
            trouble = "no answer on its SSH port"
            try:
                answer = await machine.host.call_port()
                if answer is not PortAnswer.ACCEPTS:
                    believed_at = context.started_at
                elif loop.time() >= believed_at:
                    self.going_off.discard(step.target)
                    return Outcome(detail=f"answers{_woken(woken)}")
                else:
                    trouble = "still up, and was asked to power off"
                if answer is PortAnswer.SILENT and machine.waker and loop.time() >= woken_at + _WAKE_AGAIN_S:
                    woken_at = loop.time()
                    await machine.waker.wake()
                    woken += 1
            except RackError as error:
                trouble = str(error)
            context.say(trouble + _woken(woken))
            await asyncio.sleep(_POLL_S)


def _woken(times: int) -> str:
    return f", woken {times} times" if times else ""
