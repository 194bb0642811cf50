"""Wait until a machine is really off: that its command returned proves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.steps.poweroff import RemoteMachine

_POLL_S = 1.0
_SILENCES = 3


@dataclass(frozen=True, slots=True)
class ConfirmOff:
    """Waits until the machine's SSH port has not answered several times in a row; asks once more at half time."""

    machines: Mapping[str, RemoteMachine]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop, machine = asyncio.get_running_loop(), self.machines[step.target]
        silences, asked_again = 0, False
        context.say("still answers")
        while silences < _SILENCES:
            await asyncio.sleep(_POLL_S)
            try:
                silences = 0 if await machine.host.answers() else silences + 1
            except RackError as error:
                # That we can't tell is no silence.
                context.say(str(error))
            half_time = (context.started_at + context.deadline_at) / 2
            if not silences and not asked_again and loop.time() > half_time:
                asked_again = True
                try:
                    await machine.ask_to_power_off()
                    context.say("still answers; asked again")
                except RackError as error:
                    context.say(f"still answers; {error}")
        return Outcome(StepState.FORCED, "off after it was asked again") if asked_again else Outcome(detail="off")
