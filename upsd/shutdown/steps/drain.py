"""Drain a node in an outage, together with all others that are drained at the time.

Like `kubectl drain --force --delete-emptydir-data --ignore-daemonsets` (DaemonSet-managed and mirror pods are left
alone, eviction by `policy/v1`, a budget is asked again, an end is waited for by UID), but with the battery in mind:
`upsd/shutdown/pod_end.py` says when force is used, and `upsd/shutdown/tiers.py` in which order the pods of all nodes
end. Finished pods are left alone too: they are over, and their logs are still of use.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import EvictionAnswer, Pod, RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.pod_end import HOPELESS, Reason
from upsd.shutdown.steps.drain_watch import DrainWatch
from upsd.shutdown.steps.node_drain import DrainRules, must_go, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.records import Unfinished
    from upsd.shutdown.steps.node_drain import NodeDrain

_CONCURRENT = 16
_NOBODY = Pod("default", "upsd-rehearsal", uid="00000000-0000-0000-0000-000000000000")
_REFUSALS = {EvictionAnswer.BUDGET: Reason.BUDGET} | HOPELESS


@dataclass(slots=True)
class NasUsers:
    """The pods with volumes on the NAS that were still there when the drain of their node ended, by the node."""

    by_node: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for names in self.by_node.values() for name in names]

    def recall(self, unfinished: Unfinished) -> None:
        """Know those that an earlier run of the daemon has seen."""
        self.by_node.update({node: names.split(", ") for node, names in unfinished.on_nas.items()})

    def forget(self) -> None:
        """Let the next outage begin with none."""
        self.by_node.clear()


@dataclass(slots=True)
class Drain:
    """Ends the pods of the step's node; the drains that run at the same time share one watch."""

    cluster: Cluster
    rules: DrainRules
    nas_users: NasUsers
    watch: DrainWatch | None = None

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        if self.watch is None or self.watch.closed:
            self.watch = DrainWatch(self.cluster, self.rules)
        self.nas_users.by_node[step.target] = []
        with self.watch.joined(step.target, context) as drain:
            try:
                await drain.over
            finally:
                self.nas_users.by_node[step.target] = drain.left_on_nas
                if drain.left_on_nas:
                    context.handed_on["on_nas"] = ", ".join(drain.left_on_nas)
            return _outcome(drain)


@dataclass(frozen=True, slots=True)
class RehearseDrain:
    """Asks for the end of every pod as an outage would; the cluster is one that changes nothing."""

    cluster: Cluster
    rules: DrainRules

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        nodes = {node.name for node in await self.cluster.nodes()}
        if step.target not in nodes:
            # It would have no pods to end, and be powered off with all that run on it.
            named = ", ".join(sorted(nodes))
            raise RackError(f"the cluster has no node {step.target}: correct the name in upsd.toml; it has {named}")
        pods = [pod for pod in await self.cluster.pods(step.target) if must_go(pod)]
        context.say(f"{len(pods)} pods")
        limit = asyncio.Semaphore(_CONCURRENT)

        async def ask(pod: Pod) -> EvictionAnswer:
            async with limit:
                answer = await self.cluster.evict(pod)
                await self.cluster.delete(pod, self.rules.delete_grace_s)
                return answer

        # Rights are looked at before names, so that a node without pods proves them by one that is not there.
        answers = await asyncio.gather(*(ask(pod) for pod in pods or [_NOBODY]))
        refused = {pod.full_name: _REFUSALS[a] for pod, a in zip(pods, answers, strict=False) if a in _REFUSALS}
        details = [f"{len(pods)} pods could be ended"]
        details += [f"{reason} will make the drain use force: {names}" for reason, names in _by_reason(refused)]
        details += await self._volumes()
        return Outcome(detail="; ".join(details))

    async def _volumes(self) -> list[str]:
        """What keeps a drain from telling which pods have volumes on the NAS; it does without."""
        if self.rules.nas is None:
            return []
        try:
            await self.cluster.file_servers()
        except RackError as error:
            return [f"which pods use the NAS is not known: {error}"]
        return []


def _outcome(drain: NodeDrain) -> Outcome:
    ended = f"{drain.most} pods ended"
    if not drain.forced:
        return Outcome(detail=ended)
    forced = ", ".join(f"{names} ({reason})" for reason, names in _by_reason(drain.forced))
    return Outcome(StepState.FORCED, f"{ended}, deleted by force: {forced}")


def _by_reason(forced: Mapping[str, Reason]) -> list[tuple[Reason, str]]:
    reasons = [reason for reason in Reason if reason in forced.values()]
    return [(reason, names_of(sorted(name for name in forced if forced[name] is reason))) for reason in reasons]
