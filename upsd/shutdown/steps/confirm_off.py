"""Wait until a machine is really off: that its command returned proves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.off_signs import USUAL_TIMES, PortRow, confirmed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.off_signs import Confirmed
    from upsd.shutdown.steps.off_evidence import OffEvidence
    from upsd.shutdown.steps.poweroff import GoingOff, RemoteMachine

_POLL_S = 1.0
_NODES_S = 3.0


@dataclass(frozen=True, slots=True)
class ConfirmOff:
    """Calls the machine's SSH port until nothing comes back; asks once more for the power-off at half time.

    A machine that took no command yet, because it was booting, is asked as soon as it answers.

    Silence several times in a row is off, if its kubelet reports no more and the machine was heard of in this outage,
    on its port or by taking the command; one that never was may as well be cut from the network. Refused connections
    are not off as long as there is slack: the load of the UPS or the node has to say the same, or the port has to fall
    silent. When there is none left, they are taken for off and that is said, and the last look calls the machine again.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: GoingOff
    evidence: OffEvidence

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        name, machine, loop = step.target, self.machines[step.target], asyncio.get_running_loop()
        row, asked_at, asked_again = PortRow(), context.started_at, False
        told = heard_of = name in self.going_off.acknowledged
        context.say("still up")
        await asyncio.gather(asyncio.sleep(_POLL_S), self.evidence.look(_POLL_S))
        while True:
            looked_at = loop.time()
            row = row.then(await _call(machine, context), loop.time())
            heard_of = heard_of or row.answer in {PortAnswer.ACCEPTS, PortAnswer.REFUSES}
            if row.answer is PortAnswer.SILENT:
                reports = row.settled and self.evidence.reports(name)
                context.say("port silent; its kubelet still reports" if reports else "port silent; calls again")
            if row.answer is PortAnswer.REFUSES:
                context.say("port refuses; waits for better evidence")
            if row.answer in {PortAnswer.SILENT, PortAnswer.REFUSES}:
                await self.evidence.look(min(_NODES_S, context.force_at - loop.time()))
            silent = row.settled and row.answer is PortAnswer.SILENT
            if silent and not heard_of and loop.time() >= asked_at + USUAL_TIMES * step.configured_s:
                return Outcome(StepState.FAILED, "never answered: it was off before, or is cut from the network")
            found = self._found(row, step, context)
            if found and heard_of:
                if found.sure:
                    self.going_off.seen_off.add(name)
                return _outcome(found, asked_again=asked_again)
            half_time = (context.started_at + context.deadline_at) / 2
            due = not told or (not asked_again and loop.time() > half_time)
            if row.answer is PortAnswer.ACCEPTS and due:
                asked_at, asked_again = loop.time(), True
                try:
                    await machine.ask_to_power_off()
                    told = True
                    self.going_off.acknowledged.add(name)
                    context.say("still up; asked again")
                except RackError as error:
                    context.say(f"still up; {error}")
            # A call that nobody answers has taken its time already.
            await asyncio.sleep(max(0.0, looked_at + _POLL_S - loop.time()))

    def _found(self, row: PortRow, step: Step, context: StepContext) -> Confirmed | None:
        now = asyncio.get_running_loop().time()
        return confirmed(
            row,
            now,
            usual_s=step.configured_s,
            node_gone=self.evidence.node_gone(step.target),
            reports=self.evidence.reports(step.target),
            fell_w=self.evidence.fell_w(step.target),
            out_of_time=now >= context.force_at,
        )


async def _call(machine: RemoteMachine, context: StepContext) -> PortAnswer | None:
    try:
        return await machine.host.call_port()
    except RackError as error:
        # That nobody can tell is no silence.
        context.say(str(error))
        return None


def _outcome(found: Confirmed, *, asked_again: bool) -> Outcome:
    detail = f"{found.by}, after it was asked again" if asked_again else found.by
    return Outcome(StepState.DONE if found.sure and not asked_again else StepState.FORCED, detail)


@dataclass(frozen=True, slots=True)
class RehearseConfirmOff:
    """Calls the machine's SSH port once: only one that answers now would be noticed going off.

    What else there would be to go by is told.
    """

    machines: Mapping[str, RemoteMachine]
    evidence: OffEvidence

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        answer = await self.machines[step.target].host.call_port()
        if answer is PortAnswer.ACCEPTS:
            await self.evidence.look(_NODES_S)
            return Outcome(detail="; ".join(["its SSH port answers", *self.evidence.described(step.target)]))
        silent = answer is PortAnswer.SILENT
        said = "is silent: is it off, or cut from the network?" if silent else "refuses connections: does sshd run?"
        return Outcome(StepState.FAILED, f"its SSH port {said}")
