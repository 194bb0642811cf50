"""Wait until as much runs in the cluster as before it was drained."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.leftovers import leftovers
from upsd.shutdown.workloads import in_words, missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.workloads import WorkloadMemory

_POLL_S = 3.0
_CLEARED_AWAY_S = 30.0


@dataclass(frozen=True, slots=True)
class AwaitWorkloads:
    """Counts the Ready pods until no workload has fewer than before the first cordon, and names those that have.

    Names what an unclean stop has left over, too. `date` is asked for the time of day.
    """

    cluster: Cluster
    memory: WorkloadMemory
    date: Callable[[], datetime]

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        outcome = await self._as_before(context)
        return replace(outcome, detail="; ".join([outcome.detail, *await self._left_over(context)]))

    async def _left_over(self, context: StepContext) -> list[str]:
        """What is left over, after some time for a kubelet that is back to clear it away."""
        loop = asyncio.get_running_loop()
        until = min(loop.time() + _CLEARED_AWAY_S, context.force_at)
        try:
            while True:
                nodes, pods = await self.cluster.nodes(), await self.cluster.pods()
                found = leftovers(nodes, pods, await self.cluster.attachments(), self.date())
                if not found or loop.time() + _POLL_S >= until:
                    return [f"left over: {text}" for text in found]
                context.say(f"left over: {found[0]}")
                await asyncio.sleep(_POLL_S)
        except RackError as error:
            return [f"what is left over is not known: {error}"]

    async def _as_before(self, context: StepContext) -> Outcome:
        loop, before = asyncio.get_running_loop(), self.memory.before
        if before is None:
            return Outcome(detail="not compared: nobody could count them before")
        while True:
            try:
                absent = missing(before, await self.cluster.workloads())
            except RackError as error:
                context.say(str(error))
            else:
                if not absent:
                    return Outcome(detail=f"{sum(before.values())} pods of {len(before)} workloads Ready, as before")
                context.say(f"waits for {in_words(absent)}")
                if loop.time() + _POLL_S >= context.force_at:
                    return Outcome(StepState.FAILED, f"not as before: {in_words(absent)} Ready")
            await asyncio.sleep(_POLL_S)
