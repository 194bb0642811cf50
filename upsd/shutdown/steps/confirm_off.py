"""Wait until a machine is really off: that its command returned proves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.steps.poweroff import GoingOff, RemoteMachine

_POLL_S = 1.0
_IN_A_ROW = 3
_USUAL_TIMES = 2.0


@dataclass(frozen=True, slots=True)
class ConfirmOff:
    """Calls the machine's SSH port until nothing comes back; asks once more for the power-off at half time.

    A machine that took no command yet, because it was booting, is asked as soon as it answers.

    Silence several times in a row is off, if the machine was heard of in this outage, on its port or by taking the
    command; one that never was may as well be cut from the network. Refused connections are not off: sshd ends long
    before the kernel does. They count once the machine has had twice the time that it usually takes: by the settings,
    because what is learned from such an end would grow with each.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: GoingOff

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        outcome = await self._watch(step, context)
        if outcome.state is not StepState.FAILED:
            self.going_off.seen_off.add(step.target)
        return outcome

    async def _watch(self, step: Step, context: StepContext) -> Outcome:
        loop, machine = asyncio.get_running_loop(), self.machines[step.target]
        in_a_row: dict[PortAnswer, int] = {}
        asked_at, asked_again = context.started_at, False
        told = step.target in self.going_off.acknowledged
        heard_of = told
        context.say("still up")
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                answer = await machine.host.call_port()
                in_a_row = {answer: in_a_row.get(answer, 0) + 1}
                heard_of = heard_of or answer is not PortAnswer.SILENT
            except RackError as error:
                # That nobody can tell is no silence.
                in_a_row = {}
                context.say(str(error))
            long_ago = loop.time() >= asked_at + _USUAL_TIMES * step.configured_s
            if in_a_row.get(PortAnswer.SILENT, 0) >= _IN_A_ROW:
                if heard_of:
                    return _outcome("off", asked_again=asked_again)
                if long_ago:
                    return Outcome(StepState.FAILED, "never answered: it was off before, or is cut from the network")
            if long_ago and in_a_row.get(PortAnswer.REFUSES, 0) >= _IN_A_ROW:
                return _outcome("off by its usual time: refuses connections", asked_again=asked_again)
            half_time = (context.started_at + context.deadline_at) / 2
            due = not told or (not asked_again and loop.time() > half_time)
            if PortAnswer.ACCEPTS in in_a_row and due:
                asked_at, asked_again = loop.time(), True
                try:
                    await machine.ask_to_power_off()
                    told = True
                    context.say("still up; asked again")
                except RackError as error:
                    context.say(f"still up; {error}")


def _outcome(detail: str, *, asked_again: bool) -> Outcome:
    return Outcome(StepState.FORCED, f"{detail}, after it was asked again") if asked_again else Outcome(detail=detail)


@dataclass(frozen=True, slots=True)
class RehearseConfirmOff:
    """Calls the machine's SSH port once: only one that answers now would be noticed going off."""

    machines: Mapping[str, RemoteMachine]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        answer = await self.machines[step.target].host.call_port()
        if answer is PortAnswer.ACCEPTS:
            return Outcome(detail="its SSH port answers")
        silent = answer is PortAnswer.SILENT
        said = "is silent: is it off, or cut from the network?" if silent else "refuses connections: does sshd run?"
        return Outcome(StepState.FAILED, f"its SSH port {said}")
