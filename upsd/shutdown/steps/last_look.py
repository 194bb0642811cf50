"""Before the outlets are cut: has a machine come up that was told nothing, or not gone off?"""

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


@dataclass(frozen=True, slots=True)
class LastLook:
    """Tells every machine that answers, and has not been seen going off, to power off once more.

    One that was still booting when the plan came to it took no command, and would be cut while it runs. How it goes off
    is not waited for: it has as long as the UPS counts down. One whose port still refuses is named, as its kernel runs.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: GoingOff

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        unsure = [name for name in self.machines if name not in self.going_off.seen_off]
        found = dict(zip(unsure, await asyncio.gather(*map(self._look, unsure)), strict=True))
        errors = [str(answer) for answer in found.values() if isinstance(answer, RackError)]
        told = _named("on after all, and told to go off", PortAnswer.ACCEPTS, found)
        refuse, silent = _named("refuse", PortAnswer.REFUSES, found), _named("silent", PortAnswer.SILENT, found)
        state = StepState.FAILED if errors else StepState.FORCED if told else StepState.DONE
        return Outcome(state, "; ".join([*errors, *told, *refuse, *silent]) or "every machine was seen going off")

    async def _look(self, name: str) -> PortAnswer | RackError:
        """What the machine's port answers, or why one that is on could not be told.

        It is told without waiting for its port, which may answer late.
        """
        machine = self.machines[name]
        asking = asyncio.create_task(_tell(machine))
        calling = asyncio.create_task(_call(machine))
        try:
            await asyncio.wait({asking, calling}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and asking.result() is None:
                return PortAnswer.ACCEPTS
            answer = await calling
            return (await asking or answer) if answer is PortAnswer.ACCEPTS else answer
        finally:
            asking.cancel()
            calling.cancel()


def _named(what: str, wanted: PortAnswer, found: Mapping[str, PortAnswer | RackError]) -> list[str]:
    names = [name for name, answer in found.items() if answer is wanted]
    return [f"{what}: {', '.join(names)}"] if names else []


async def _tell(machine: RemoteMachine) -> RackError | None:
    try:
        await machine.ask_to_power_off()
    except RackError as error:
        return error
    return None


async def _call(machine: RemoteMachine) -> PortAnswer:
    try:
        return await machine.host.call_port()
    except RackError:
        return PortAnswer.ACCEPTS  # nobody can tell


@dataclass(frozen=True, slots=True)
class RehearseLastLook:
    """Looks at every machine as the last look would, and tells them nothing."""

    machines: Mapping[str, RemoteMachine]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        calls = (machine.host.call_port() for machine in self.machines.values())
        answers = await asyncio.gather(*calls, return_exceptions=True)
        on = sum(answer is PortAnswer.ACCEPTS for answer in answers)
        return Outcome(detail=f"{on} of {len(self.machines)} machines answer")
