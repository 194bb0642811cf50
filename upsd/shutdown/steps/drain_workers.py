"""Asks pods to end, some at a time, so that a slow answer about one of them holds up no other, and no look either."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError, ServerBusyError
from upsd.shutdown.pod_end import Known, Limits, next_ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from upsd.domain.rack import Cluster, Pod
    from upsd.shutdown.steps.node_drain import DrainRules, NodeDrain

_CONCURRENT = 24


class DrainWorkers:
    """As many as there is work for; they live in the task group that they are sent with.

    Attributes:
        quiet_until: when the server may be asked again that had too much to do (loop time); force does not wait for it.
        may_yield: whether some node takes new pods, or nobody knows, so that a budget may yet yield.
    """

    def __init__(self, cluster: Cluster, rules: DrainRules) -> None:
        self._cluster = cluster
        self._rules = rules
        self._queue: deque[tuple[NodeDrain, Pod]] = deque()
        self._workers = 0
        self.quiet_until = -math.inf
        self.may_yield = True

    def send(self, group: asyncio.TaskGroup, pods: Iterable[tuple[NodeDrain, Pod]], now: float) -> None:
        """Have those of the pods asked, in this order, of whom there is something to ask and that are not in hand."""
        for drain, pod in pods:
            known = drain.known.setdefault(pod.uid, Known())
            if pod.uid not in drain.queued and next_ending(pod, known, self._limits(drain), now):
                drain.queued.add(pod.uid)
                self._queue.append((drain, pod))
        while self._workers < min(_CONCURRENT, len(self._queue)):
            self._workers += 1
            group.create_task(self._work(), name="drain worker")

    def hear(self, error: RackError) -> None:
        """Take note of a server that wants to be left alone."""
        if isinstance(error, ServerBusyError):
            self.quiet_until = asyncio.get_running_loop().time() + error.retry_after_s

    async def _work(self) -> None:
        try:
            while self._queue:
                drain, pod = self._queue.popleft()
                if not drain.over.done():
                    await self._end(drain, pod)
                drain.queued.discard(pod.uid)
        finally:
            self._workers -= 1

    async def _end(self, drain: NodeDrain, pod: Pod) -> None:
        """Ask for the pod's end, and for what the answer calls for."""
        loop, known = asyncio.get_running_loop(), drain.known[pod.uid]
        try:
            while loop.time() >= min(self.quiet_until, drain.context.force_at):
                now = loop.time()
                ending = next_ending(pod, known, self._limits(drain), now)
                if ending is None:
                    return
                if ending.force:
                    await self._cluster.delete(pod, ending.grace_s)
                    known.give(ending.grace_s, own_s=pod.grace_s, now=now)
                    drain.forced.setdefault(pod.full_name, ending.force)
                else:
                    answer = await self._cluster.evict(pod, None if ending.grace_s == pod.grace_s else ending.grace_s)
                    known.hear(answer, ending.grace_s, own_s=pod.grace_s, now=now)
        except RackError as error:
            self.hear(error)
            if not drain.over.done():
                drain.context.say(str(error))

    def _limits(self, drain: NodeDrain) -> Limits:
        patience_s = math.inf if self.may_yield else self._rules.budget_patience_s
        return Limits(drain.context.force_at, self._rules.delete_grace_s, patience_s)
