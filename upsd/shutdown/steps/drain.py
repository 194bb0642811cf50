"""Drain one node in an outage.

Like `kubectl drain` (DaemonSet-managed, mirror and finished pods are left alone, eviction by `policy/v1`, a 429 is
tried again, an end is waited for by UID), but with the battery in mind: from the moment at which the step must use
force, what is left is deleted with a short grace, past any disruption budget, which with every node cordoned never
yields.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import EvictionAnswer, Pod, RackError
from upsd.shutdown.engine import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext

_POLL_S = 1.0
_RETRY_EVICTION_S = 3.0
_CONCURRENT = 16
# An API that has not answered once in this time is down; the node's power-off then ends its pods.
_PATIENCE_S = 30.0
_NOBODY = Pod("default", "upsd-rehearsal", uid="00000000-0000-0000-0000-000000000000")


@dataclass(slots=True)
class _Progress:
    asked: set[str] = field(default_factory=set)
    forced: dict[str, str] = field(default_factory=dict)
    grace_s: dict[str, int] = field(default_factory=dict)
    refused_until: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drain:
    """Ends the pods of the step's node."""

    cluster: Cluster
    delete_grace_s: int

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop = asyncio.get_running_loop()
        progress, answered_at = _Progress(), loop.time()
        drained = 0
        while True:
            try:
                left = [pod for pod in await self.cluster.pods(step.target) if must_go(pod)]
                answered_at = loop.time()
                drained = max(drained, len(left))
                if not left:
                    return _outcome(drained, progress.forced.values())
                context.say(f"{len(left)} of {drained} pods left: {_names(pod.full_name for pod in left)}")
                await self._push(left, progress, force=loop.time() >= context.force_at)
            except RackError as error:
                context.say(str(error))
                if loop.time() - answered_at > _PATIENCE_S:
                    raise
            await asyncio.sleep(_POLL_S)

    async def _push(self, pods: list[Pod], progress: _Progress, *, force: bool) -> None:
        limit = asyncio.Semaphore(_CONCURRENT)

        async def push(pod: Pod) -> None:
            async with limit:
                if force:
                    await self._delete(pod, progress, self.delete_grace_s)
                elif pod.uid not in progress.asked and not pod.terminating:
                    await self._evict(pod, progress)

        # One pod's trouble must not keep the others from being asked.
        results = await asyncio.gather(*(push(pod) for pod in pods), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]

    async def _evict(self, pod: Pod, progress: _Progress) -> None:
        now = asyncio.get_running_loop().time()
        if progress.refused_until.get(pod.uid, now) > now:
            return
        match await self.cluster.evict(pod):
            case EvictionAnswer.ACCEPTED | EvictionAnswer.GONE:
                progress.asked.add(pod.uid)
            case EvictionAnswer.NOT_NOW:
                progress.refused_until[pod.uid] = now + _RETRY_EVICTION_S
            case EvictionAnswer.NEVER:
                await self._delete(pod, progress, pod.grace_s)

    async def _delete(self, pod: Pod, progress: _Progress, grace_s: int) -> None:
        # Deleted before with a longer grace, it is deleted again: the API server then shortens it.
        if progress.grace_s.get(pod.uid, math.inf) <= grace_s:
            return
        await self.cluster.delete(pod, grace_s)
        progress.asked.add(pod.uid)
        progress.forced[pod.uid] = pod.full_name
        progress.grace_s[pod.uid] = grace_s


@dataclass(frozen=True, slots=True)
class RehearseDrain:
    """Asks for the end of every pod as an outage would; the cluster is one that changes nothing."""

    cluster: Cluster
    delete_grace_s: int

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        pods = [pod for pod in await self.cluster.pods(step.target) if must_go(pod)]
        context.say(f"{len(pods)} pods")
        limit = asyncio.Semaphore(_CONCURRENT)

        async def ask(pod: Pod) -> EvictionAnswer:
            async with limit:
                answer = await self.cluster.evict(pod)
                await self.cluster.delete(pod, self.delete_grace_s)
                return answer

        # Rights are looked at before names, so that a node without pods proves them by one that is not there.
        answers = await asyncio.gather(*(ask(pod) for pod in pods or [_NOBODY]))
        refusals = {EvictionAnswer.NOT_NOW, EvictionAnswer.NEVER}
        refused = [pod.full_name for pod, answer in zip(pods, answers, strict=False) if answer in refusals]
        if refused:
            budget = f"a budget will make the drain use force: {_names(refused)}"
            return Outcome(detail=f"{len(pods)} pods could be ended; {budget}")
        return Outcome(detail=f"{len(pods)} pods could be ended")


def must_go(pod: Pod) -> bool:
    """Whether a drain ends this pod: DaemonSet and mirror pods come back at once, finished ones are over."""
    return not (pod.daemonset or pod.mirror or pod.finished)


def _outcome(drained: int, forced: Iterable[str]) -> Outcome:
    names = sorted(forced)
    if names:
        return Outcome(StepState.FORCED, f"{drained} pods ended, deleted by force: {_names(names)}")
    return Outcome(detail=f"{drained} pods ended")


def _names(names: Iterable[str]) -> str:
    first, *more = list(names)
    return f"{first} and {len(more)} more" if more else first
