"""Wait until as much runs in the cluster as before it was drained."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.workloads import in_words, missing

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.workloads import WorkloadMemory

_POLL_S = 3.0


@dataclass(frozen=True, slots=True)
class AwaitWorkloads:
    """Counts the Ready pods until no workload has fewer than before the first cordon, and names those that have."""

    cluster: Cluster
    memory: WorkloadMemory

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
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
