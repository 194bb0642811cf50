"""All drains of one outage together: one list of the cluster's pods per look, whatever the number of nodes.

The first drain opens the watch and the last one closes it. After each look the workers ask every pod whose tier has
begun for what is next.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, TypeVar

import structlog

from upsd.domain.rack import RackError
from upsd.shutdown.nas_pods import uses_nas
from upsd.shutdown.pod_end import Known, Reason
from upsd.shutdown.steps.drain_workers import DrainWorkers
from upsd.shutdown.steps.node_drain import NodeDrain, must_go, names_of
from upsd.shutdown.tiers import Order, rank_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from upsd.domain.rack import Cluster, Pod
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.steps.node_drain import DrainRules

log = structlog.get_logger()

_Answer = TypeVar("_Answer")

_POLL_S = 1.0
# For the drains that begin together to be all there at the first look, which says what the order is about.
_JOIN_S = 0.1
_SURVEY_PAUSE_S = 5.0
_SURVEY_TRIES = 6
# An API that has not answered once in this time is down; the nodes' power-off then ends their pods.
_PATIENCE_S = 30.0


class DrainWatch:
    """Ends the pods of the nodes that have joined."""

    def __init__(self, cluster: Cluster, rules: DrainRules) -> None:
        self._cluster = cluster
        self._rules = rules
        self._drains: dict[str, NodeDrain] = {}
        self._task: asyncio.Task[None] | None = None
        self._workers = DrainWorkers(cluster, rules)
        self._order: Order | None = None
        self._ranks: dict[str, int] = {}
        self._answered_at = -math.inf
        self._dead: frozenset[str] = frozenset()
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
        """Until the next look: a slow server is asked less often, but when force begins that is seen at once."""
        usual_s = max(_POLL_S, now - began_at)
        until_force_s = min((drain.context.force_at for drain in self._open()), default=now) - now
        return min(max(usual_s, self._workers.quiet_until - now), until_force_s) if until_force_s > 0 else usual_s

    async def _survey(self) -> None:
        """Learn what is asked only once: which nodes are dead, whether any takes new pods, and where the claims are."""
        nodes = await _told(self._cluster.nodes)
        if nodes is not None:
            self._dead = frozenset(node.name for node in nodes if not node.ready)
            self._workers.may_yield = any(node.ready and not node.unschedulable for node in nodes)
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
        self._workers.send(group, self._may_go(reached), now)

    def _not_told(self, error: RackError) -> None:
        self._workers.hear(error)
        now = asyncio.get_running_loop().time()
        for drain in self._open():
            drain.context.say(str(error))
            if now - max(self._answered_at, drain.joined_at) > _PATIENCE_S:
                drain.over.set_exception(RackError(str(error)))

    def _reached(self, left: Mapping[str, Sequence[Pod]], now: float) -> int:
        """The last tier that may go; nobody waits for pods on a node that is dead."""
        longest: dict[int, float] = {}
        for pod in (pod for node, pods in left.items() if node not in self._dead for pod in pods):
            rank = self._rank(pod)
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
            later = sum(self._rank(pod) > reached for pod in left)
            text = f"{len(left)} of {drain.most} pods left: {names_of(pod.full_name for pod in left)}"
            text += f"; {later} of them in a later tier" if later else ""
            drain.context.say(text + (f"; with volumes on the NAS: {names_of(users)}" if users and forcing else ""))

    def _may_go(self, reached: int) -> Iterator[tuple[NodeDrain, Pod]]:
        """The pods whose tier has begun: tier by tier, and those first that may take longest.

        On a dead node no order can be kept: its pods end, if ever, when it is back.
        """
        ranked = [(self._rank(pod), pod, drain) for drain in self._open() for pod in drain.left]
        for rank, pod, drain in sorted(ranked, key=lambda entry: (entry[0], -entry[1].grace_s)):
            if rank <= reached or drain.node in self._dead:
                yield drain, pod

    def _rank(self, pod: Pod) -> int:
        """The place of its tier, found out once: every look asks for all that are left."""
        if pod.uid not in self._ranks:
            self._ranks[pod.uid] = rank_of(pod, self._rules.tiers)
        return self._ranks[pod.uid]

    def _open(self) -> list[NodeDrain]:
        return [drain for drain in self._drains.values() if not drain.over.done()]


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
