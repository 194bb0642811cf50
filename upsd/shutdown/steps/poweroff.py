"""Ask a machine over SSH to power itself off, or, in a rehearsal, whether it would be allowed to."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepKind, StepState
from upsd.domain.power import Event, Severity
from upsd.domain.rack import CommandError, RackError
from upsd.domain.worker import parse_mounts
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from upsd.domain.plan import Step
    from upsd.domain.rack import RemoteHost, Waker
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.records import Unfinished
    from upsd.shutdown.steps.off_evidence import OffEvidence

# What config/worker/upsd-worker knows.
_HELPER_POWEROFF, _HELPER_CHECK = "poweroff", "check"
_TRIES = 3
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteMachine:
    """A machine that is reached over SSH, the command that powers it off, and what wakes it, if it can be woken."""

    host: RemoteHost
    poweroff_command: str
    waker: Waker | None = None
    rehearse_command: str | None = None
    """Proves the right to power it off, also where its sshd has a forced command; none to prove it by our own."""

    async def ask_to_power_off(self) -> str:
        """Send the command; what it said. An answer that does not come in ten seconds is an error."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self.host.run(self.poweroff_command)
        except TimeoutError:
            raise RackError(f"took the connection and did not answer within {_ANSWER_S:.0f} s") from None

    async def check_power_off(self) -> str:
        """Log in as the power-off would, and have its right to power off checked; what that has shown, for a person.

        Nothing is powered off.
        """
        check = self.rehearse_command or check_of(self.poweroff_command)
        try:
            async with asyncio.timeout(_ANSWER_S):
                if self.rehearse_command is not None:
                    await self.host.run(check)
                else:
                    await self.host.run_unforced(check)
        except CommandError as error:
            raise RackError(f"logged in, and may not power it off: {error}; {_remedy(check)}") from error
        except TimeoutError:
            raise RackError(f"took the connection and did not answer within {_ANSWER_S:.0f} s") from None
        return f"logged in, and `{check}` says yes"


def check_of(poweroff_command: str) -> str:
    """The command that finds out, and changes nothing, whether another one may be run.

    A worker's helper has one of its own. `sudo -l COMMAND` fails if sudo would not let us. Without sudo in front, it is
    only looked for.
    """
    if poweroff_command == _HELPER_POWEROFF:
        return _HELPER_CHECK
    words = shlex.split(poweroff_command)
    if words[0].rpartition("/")[2] == "sudo" and "-n" in words and "-l" not in words:
        at = words.index("-n") + 1
        return shlex.join([*words[:at], "-l", *words[at:]])
    return shlex.join(["command", "-v", words[0]])


def _remedy(check: str) -> str:
    if check == _HELPER_CHECK:
        return "is config/worker/upsd-worker there? See upsctl enroll --help"
    return "see the README's installation, step 4"


@dataclass(frozen=True, slots=True)
class GoingOff:
    """What is known of machines on their way off, by name.

    Those that were asked to power off and have not been seen back since, those that took the command, and those that
    were seen going off.
    """

    asked: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    seen_off: set[str] = field(default_factory=set)

    def recall(self, unfinished: Unfinished) -> None:
        """Know what an earlier run of the daemon, in this boot, knew of an outage."""
        self.asked.update(_targets(StepKind.POWEROFF, unfinished.began))
        self.acknowledged.update(_targets(StepKind.POWEROFF, unfinished.ended))
        self.seen_off.update(_targets(StepKind.CONFIRM_OFF, unfinished.ended))


def _targets(kind: StepKind, step_ids: Collection[str]) -> list[str]:
    return [step.removeprefix(f"{kind} ") for step in step_ids if step.startswith(f"{kind} ")]


@dataclass(frozen=True, slots=True)
class Poweroff:
    """Sends the power-off command to the step's machine, and names the mounts there that its helper finds hung.

    What an earlier shutdown knew of it is forgotten.
    """

    machines: Mapping[str, RemoteMachine]
    going_off: GoingOff
    evidence: OffEvidence
    emit: Callable[[Event], None]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        self.going_off.asked.add(step.target)
        self.going_off.acknowledged.discard(step.target)
        self.going_off.seen_off.discard(step.target)
        self.evidence.note(step.target)
        answer = await persist(context, self.machines[step.target].ask_to_power_off, tries=_TRIES)
        self.going_off.acknowledged.add(step.target)
        mounts = parse_mounts(answer)
        for place in mounts.hung:
            self.emit(Event("mount_hung", Severity.WARNING, {"machine": step.target, "mount": place}))
        if mounts.hung:
            return Outcome(StepState.FORCED, f"does not answer there, and is detached: {', '.join(mounts.hung)}")
        return Outcome(detail=f"mounted there: {', '.join(mounts.answering)}" if mounts.answering else "")


@dataclass(frozen=True, slots=True)
class RehearsePoweroff:
    """Logs in to the step's machine and has the right to power it off checked."""

    machines: Mapping[str, RemoteMachine]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        return Outcome(detail=await self.machines[step.target].check_power_off())
