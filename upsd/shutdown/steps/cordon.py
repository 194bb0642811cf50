"""Cordon the whole cluster and mark what was ours; wait for nodes; uncordon only what carries our mark.

Every node is cordoned before the first pod is evicted, so that no pod moves to the next machine that is about to die:
evicted pods stay Pending until we uncordon.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext

_POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class Cordon:
    """Makes every node unschedulable."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        nodes = await persist(context, self.cluster.nodes)
        ours = await asyncio.gather(
            *(persist(context, partial(self.cluster.cordon, node.name, context.outage)) for node in nodes)
        )
        kept = [node.name for node, cordoned in zip(nodes, ours, strict=True) if not cordoned]
        detail = f"{sum(ours)} nodes cordoned"
        return Outcome(detail=f"{detail}; {', '.join(kept)} cordoned before us" if kept else detail)


@dataclass(frozen=True, slots=True)
class Uncordon:
    """Makes the nodes that we cordoned schedulable again."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        nodes = await persist(context, self.cluster.nodes)
        ours = await asyncio.gather(*(persist(context, partial(self.cluster.uncordon, node.name)) for node in nodes))
        return Outcome(detail=f"{sum(ours)} nodes uncordoned")


@dataclass(frozen=True, slots=True)
class WaitReady:
    """Waits until every node is Ready; not until it is schedulable, which would wait for our own cordon."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                nodes = await self.cluster.nodes()
            except RackError as error:
                context.say(str(error))
            else:
                missing = [node.name for node in nodes if not node.ready]
                if nodes and not missing:
                    return Outcome(detail=f"{len(nodes)} nodes Ready")
                context.say(f"waits for {', '.join(missing)}")
                if loop.time() >= context.force_at:
                    return Outcome(StepState.FAILED, f"not Ready: {', '.join(missing)}")
            await asyncio.sleep(_POLL_S)


@dataclass(frozen=True, slots=True)
class RehearseCordon:
    """Asks for every cordon as an outage would; the cluster is one that changes nothing."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        nodes = await self.cluster.nodes()
        ours = await asyncio.gather(*(self.cluster.cordon(node.name, context.outage) for node in nodes))
        return Outcome(detail=f"{sum(ours)} of {len(nodes)} nodes could be cordoned")
