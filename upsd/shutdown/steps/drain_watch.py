"""All drains of one outage together: one list of the cluster's pods per look, whatever the number of nodes.

The first drain opens the watch and the last one closes it. After each look every pod whose tier has begun is asked for
what is next, by a few workers, so that a slow answer about one pod holds up neither the others nor the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from upsd.domain.rack import RackError, ServerBusyError
from upsd.shutdown.nas_pods import uses_nas
from upsd.shutdown.pod_end import Known, Limits, Reason, next_ending
from upsd.shutdown.tiers import DEFAULT_TIERS, Order, Tier, rank_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from upsd.domain.rack import Cluster, Node, Pod
    from upsd.shutdown.engine import StepContext

log = structlog.get_logger()

_Answer = TypeVar("_Answer")

_POLL_S = 1.0
# For the drains that begin together to be all there at the first look, which says what the order is about.
_JOIN_S = 0.1
_SURVEY_PAUSE_S = 5.0
_SURVEY_TRIES = 6
_CONCURRENT = 24
# An API that has not answered once in this time is down; the nodes' power-off then ends their pods.
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class DrainRules:
    """What a drain goes by.

    `nas` is the address of the NAS, empty if there is one whose address is not known, and `None` if there is none.
    """

    delete_grace_s: int = 5
    budget_patience_s: float = 10.0
    tiers: tuple[Tier, ...] = DEFAULT_TIERS
    nas: str | None = None


@dataclass(slots=True)
class NodeDrain:
    """One node that is being drained: what is left on it, and what had to be forced, by the pod's full name."""

    node: str
    context: StepContext
    joined_at: float
    over: asyncio.Future[None]
    most: int = 0
    left: list[Pod] = field(default_factory=list)
    left_on_nas: list[str] = field(default_factory=list)
    forced: dict[str, Reason] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    queued: set[str] = field(default_factory=set)


class DrainWatch:
    """Ends the pods of the nodes that have joined."""

    def __init__(self, cluster: Cluster, rules: DrainRules) -> None:
        self._cluster = cluster
        self._rules = rules
        self._drains: dict[str, NodeDrain] = {}
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[tuple[NodeDrain, Pod]] = deque()
        self._workers = 0
        self._order: Order | None = None
        self._answered_at = -math.inf
        self._quiet_until = -math.inf
        self._nodes: Sequence[Node] | None = None
        self._file_servers: Mapping[str, str] = {}

    @property
    def closed(self) -> bool:
        """Whether the last drain has left, or a defect has ended it."""
        return self._task is not None and (self._task.done() or not self._drains)

    @contextlib.contextmanager
    def joined(self, node: str, context: StepContext) -> Iterator[NodeDrain]:
        """Drain the node until its `over` is done, or for as long as the context is open."""
        loop = asyncio.get_running_loop()
        drain = self._drains[node] = NodeDrain(node, context, loop.time(), loop.create_future())
        self._task = self._task or asyncio.create_task(self._run(), name="drain")
        try:
            yield drain
        finally:
            del self._drains[node]
            drain.over.cancel()
            if not self._drains:
                self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._survey(), name="drain survey")
                await self._all_joined()
                while True:
                    began_at = loop.time()
                    await self._look(group)
                    await asyncio.sleep(self._pause_s(began_at, loop.time()))
        except Exception as error:
            log.exception("drain_defect")
            for drain in self._open():
                drain.over.set_exception(RuntimeError(f"the watch over all drains has ended: {error!r}"))

    async def _all_joined(self) -> None:
        joined = 0
        while joined < len(self._drains):
            joined = len(self._drains)
            await asyncio.sleep(_JOIN_S)

    def _pause_s(self, began_at: float, now: float) -> float:
        """Until the next look: a server that is slow, or asks to be left alone, is asked less often until force."""
        pause_s = max(_POLL_S, now - began_at)
        until_force_s = min((drain.context.force_at for drain in self._open()), default=now) - now
        return max(pause_s, min(self._quiet_until - now, until_force_s))

    async def _survey(self) -> None:
        """Learn what is asked only once: whether any node takes new pods, and which claims are on a file server."""
        self._nodes = await _told(self._cluster.nodes)
        if self._rules.nas is not None:
            self._file_servers = await _told(self._cluster.file_servers) or {}

    async def _look(self, group: asyncio.TaskGroup) -> None:
        drains = dict(self._drains)
        try:
            pods = await self._cluster.pods(next(iter(drains)) if len(drains) == 1 else None)
        except RackError as error:
            self._not_told(error)
            return
        now = self._answered_at = asyncio.get_running_loop().time()
        left: dict[str, list[Pod]] = {node: [] for node in drains}
        for pod in pods:
            if pod.node in left and must_go(pod):
                left[pod.node].append(pod)
        self._order = self._order or Order(now)
        reached = self._reached(left, now)
        for node, drain in drains.items():
            if drain.over.done():
                continue
            self._see(drain, left[node], now, reached)
            if not left[node]:
                drain.over.set_result(None)
        self._send(group, reached)

    def _not_told(self, error: RackError) -> None:
        now = asyncio.get_running_loop().time()
        if isinstance(error, ServerBusyError):
            self._quiet_until = now + error.retry_after_s
        for drain in self._open():
            drain.context.say(str(error))
            if now - max(self._answered_at, drain.joined_at) > _PATIENCE_S:
                drain.over.set_exception(RackError(str(error)))

    def _reached(self, left: Mapping[str, Sequence[Pod]], now: float) -> int:
        """The last tier that may go; nobody waits for pods on a node that is dead."""
        dead = {node.name for node in self._nodes or () if not node.ready}
        longest: dict[int, float] = {}
        for pod in (pod for node, pods in left.items() if node not in dead for pod in pods):
            rank = rank_of(pod, self._rules.tiers)
            longest[rank] = max(longest.get(rank, 0.0), pod.grace_s)
        force_at = min((drain.context.force_at for drain in self._open()), default=now)
        return self._order.follow(longest, now=now, force_at=force_at) if self._order else 0

    def _see(self, drain: NodeDrain, left: list[Pod], now: float, reached: int) -> None:
        drain.most, drain.left = max(drain.most, len(left)), left
        rules, forcing = self._rules, now >= drain.context.force_at
        users = [
            pod.full_name for pod in left if rules.nas is not None and uses_nas(pod, rules.nas, self._file_servers)
        ]
        drain.left_on_nas = users
        for pod in left:
            if forcing and drain.known.setdefault(pod.uid, Known()).cut_short:
                drain.forced.setdefault(pod.full_name, Reason.OUT_OF_TIME)
        if left:
            later = sum(rank_of(pod, rules.tiers) > reached for pod in left)
            text = f"{len(left)} of {drain.most} pods left: {names_of(pod.full_name for pod in left)}"
            text += f"; {later} of them in a later tier" if later else ""
            drain.context.say(text + (f"; with volumes on the NAS: {names_of(users)}" if users and forcing else ""))

    def _send(self, group: asyncio.TaskGroup, reached: int) -> None:
        """Have the pods that may go asked, the ones that may take longest first."""
        ready = [
            (rank, pod, drain)
            for drain in self._open()
            for pod in drain.left
            if (rank := rank_of(pod, self._rules.tiers)) <= reached and pod.uid not in drain.queued
        ]
        for _, pod, drain in sorted(ready, key=lambda entry: (entry[0], -entry[1].grace_s)):
            known = drain.known.setdefault(pod.uid, Known())
            if next_ending(pod, known, self._limits(drain), self._answered_at):
                drain.queued.add(pod.uid)
                self._queue.append((drain, pod))
        while self._workers < min(_CONCURRENT, len(self._queue)):
            self._workers += 1
            group.create_task(self._work(), name="drain worker")

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
        """Ask for the pod's end, and for what its answer calls for."""
        loop, known = asyncio.get_running_loop(), drain.known[pod.uid]
        try:
            while loop.time() >= min(self._quiet_until, drain.context.force_at):
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
            if isinstance(error, ServerBusyError):
                self._quiet_until = loop.time() + error.retry_after_s
            if not drain.over.done():
                drain.context.say(str(error))

    def _limits(self, drain: NodeDrain) -> Limits:
        """A budget may yield as long as some node takes new pods, or nobody knows."""
        takes_pods = self._nodes is None or any(node.ready and not node.unschedulable for node in self._nodes)
        patience_s = math.inf if takes_pods else self._rules.budget_patience_s
        return Limits(drain.context.force_at, self._rules.delete_grace_s, patience_s)

    def _open(self) -> list[NodeDrain]:
        return [drain for drain in self._drains.values() if not drain.over.done()]


def must_go(pod: Pod) -> bool:
    """Whether a drain ends this pod: DaemonSet and mirror pods come back at once, finished ones are over."""
    return not (pod.daemonset or pod.mirror or pod.finished)


def names_of(names: Iterable[str]) -> str:
    """The first of the names, and how many more there are."""
    first, *more = list(names)
    return f"{first} and {len(more)} more" if more else first


async def _told(ask: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
    """The answer, or nothing after some tries: what is not known then only makes a drain less orderly."""
    trouble = ""
    for _ in range(_SURVEY_TRIES):
        try:
            return await ask()
        except RackError as error:
            trouble = str(error)
            await asyncio.sleep(_SURVEY_PAUSE_S)
    log.warning("drain_survey_failed", error=trouble)
    return None
