"""The k3s datastore: take a snapshot of it, and stop the server that writes to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist, unless_forced

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import Datastore
    from upsd.shutdown.engine import StepContext

_TRIES = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Has a snapshot taken; one that is not over in time is given up, since what comes after it saves more."""

    datastore: Datastore

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        take = partial(self.datastore.snapshot, context.outage)
        detail = await unless_forced(context, persist(context, take, tries=_TRIES))
        if detail is not None:
            return Outcome(detail=detail)
        try:
            await self.datastore.give_up(context.outage)
        except RackError as error:
            raise RackError(f"was not over in time, and still runs: {error}") from error
        return Outcome(StepState.FAILED, "was not over in time, and was given up")


@dataclass(frozen=True, slots=True)
class RehearseSnapshot:
    """Has a snapshot taken that is not kept."""

    datastore: Datastore

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        return Outcome(detail=await self.datastore.check_snapshot())


@dataclass(frozen=True, slots=True)
class StopServer:
    """Stops the server on this machine; from here on there is no API."""

    datastore: Datastore

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self.datastore.stop, tries=_TRIES)
        return Outcome(detail="stopped")


@dataclass(frozen=True, slots=True)
class RehearseStopServer:
    """Asks whether the server could be stopped."""

    datastore: Datastore

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await self.datastore.check_stop()
        return Outcome(detail="systemd could stop it")


@dataclass(frozen=True, slots=True)
class StartServer:
    """Starts the server again."""

    datastore: Datastore

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self.datastore.start)
        return Outcome(detail="started")
