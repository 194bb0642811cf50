"""Cordon the whole cluster and mark what was ours; wait for nodes; uncordon only what carries our mark.

A step whose target is a node is about that one alone. In a shutdown every node is cordoned
before the first pod is evicted, so that no pod moves to the next machine that is about to die: evicted pods stay
Pending until we uncordon. What is to be scaled to zero is so then, and has its replicas again after the uncordon.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from upsd.domain.plan import WHOLE_CLUSTER, StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist
from upsd.shutdown.steps.scale import scale_to_zero
from upsd.shutdown.workloads import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster, Node, Workload
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.workloads import WorkloadMemory

_POLL_S = 2.0
_COUNT_S = 2.0


@dataclass(frozen=True, slots=True)
class Cordon:
    """Makes the nodes unschedulable; before the first cordon of an outage it counts what runs, for the recovery."""

    cluster: Cluster
    memory: WorkloadMemory
    scaled: Sequence[Workload] = ()

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        await self._count_workloads(context)
        nodes = await _nodes(self.cluster, step, context)
        ours = await asyncio.gather(
            *(persist(context, partial(self.cluster.cordon, node.name, context.outage)) for node in nodes)
        )
        kept = [node.name for node, cordoned in zip(nodes, ours, strict=True) if not cordoned]
        detail = f"{sum(ours)} nodes cordoned"
        detail += f"; {', '.join(kept)} cordoned before us" if kept else ""
        scaled = await self._scale(context) if self.scaled and step.target == WHOLE_CLUSTER else []
        return Outcome(detail="; ".join([detail, *scaled]))

    async def _scale(self, context: StepContext) -> list[str]:
        """Scale to zero what is to be, in no time that a later step must have; what came of it.

        What can't be scaled holds up no outage: its pods are drained like all others.
        """
        try:
            async with asyncio.timeout_at(context.force_at):
                scaled, errors = await scale_to_zero(self.cluster, self.scaled)
        except TimeoutError:
            return ["no time to scale workloads to zero"]
        return [f"{scaled} workloads scaled to zero", *errors]

    async def _count_workloads(self, context: StepContext) -> None:
        """Count them if that has not been done in this outage, and if there is a moment for it: one try, no more."""
        now = asyncio.get_running_loop().time()
        if self.memory.before is not None or context.force_at <= now:
            return
        with contextlib.suppress(RackError, TimeoutError):
            async with asyncio.timeout_at(min(now + _COUNT_S, context.force_at)):
                self.memory.before = await self.cluster.workloads()
            await context.record({"record": "workloads", "pods": to_text(self.memory.before)})


@dataclass(frozen=True, slots=True)
class Uncordon:
    """Makes the nodes that we cordoned schedulable again, and then has run again what was scaled to zero."""

    cluster: Cluster
    scaled: Sequence[Workload] = ()

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        nodes = await _nodes(self.cluster, step, context)
        ours = await asyncio.gather(*(persist(context, partial(self.cluster.uncordon, node.name)) for node in nodes))
        back = [
            await persist(context, partial(self.cluster.scale_back, workload))
            for workload in (self.scaled if step.target == WHOLE_CLUSTER else ())
        ]
        detail = f"{sum(ours)} nodes uncordoned"
        return Outcome(detail=f"{detail}; {sum(back)} workloads scaled back" if any(back) else detail)


@dataclass(frozen=True, slots=True)
class WaitReady:
    """Waits until the nodes are Ready; not until they are schedulable, which would wait for our own cordon."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                nodes = _meant(step, await self.cluster.nodes())
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
    scaled: Sequence[Workload] = ()

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        nodes = await self.cluster.nodes()
        ours = await asyncio.gather(*(self.cluster.cordon(node.name, context.outage) for node in nodes))
        detail = f"{sum(ours)} of {len(nodes)} nodes could be cordoned"
        scaled, errors = await scale_to_zero(self.cluster, self.scaled)
        if errors:
            return Outcome(StepState.FAILED, "; ".join(errors))
        return Outcome(detail=f"{detail}; {scaled} workloads could be scaled to zero" if self.scaled else detail)


async def _nodes(cluster: Cluster, step: Step, context: StepContext) -> list[Node]:
    return _meant(step, await persist(context, cluster.nodes))


def _meant(step: Step, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that the step is about: the one that it names, or all."""
    return [node for node in nodes if step.target in {WHOLE_CLUSTER, node.name}]
