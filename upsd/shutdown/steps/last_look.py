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
    is not waited for: it has as long as the UPS counts down.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: GoingOff

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        unsure = [name for name in self.machines if name not in self.going_off.seen_off]
        found = await asyncio.gather(*(self._look(name) for name in unsure))
        told = [name for name, on in zip(unsure, found, strict=True) if on is True]
        said = [str(on) for on in found if isinstance(on, RackError)]
        state = StepState.FAILED if said else StepState.FORCED
        if told:
            said.append(f"on after all, and told to go off: {', '.join(told)}")
        if said:
            return Outcome(state, "; ".join(said))
        return Outcome(detail=f"silent: {', '.join(unsure)}" if unsure else "every machine was seen going off")

    async def _look(self, name: str) -> bool | RackError:
        """Whether the machine is on, and was told; it is told without waiting for its port, which may answer late."""
        machine = self.machines[name]
        asking = asyncio.create_task(_tell(machine))
        calling = asyncio.create_task(_may_be_on(machine))
        try:
            await asyncio.wait({asking, calling}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and asking.result() is None:
                return True
            return await calling and (await asking or True)
        finally:
            asking.cancel()
            calling.cancel()


async def _tell(machine: RemoteMachine) -> RackError | None:
    try:
        await machine.ask_to_power_off()
    except RackError as error:
        return error
    return None


async def _may_be_on(machine: RemoteMachine) -> bool:
    try:
        return await machine.host.call_port() is PortAnswer.ACCEPTS
    except RackError:
        return True  # nobody can tell


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
