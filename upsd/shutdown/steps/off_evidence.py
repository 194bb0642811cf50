"""What tells that a machine is off, beside its port: its node, and the load of the UPS."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.domain.quorum import spare
from upsd.domain.rack import RackError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from upsd.domain.power import OutputLoad
    from upsd.domain.rack import Cluster
    from upsd.shutdown.steps.poweroff import GoingOff

# One list of nodes does for every machine that is waited for; a server that does not answer is left alone for longer.
_FRESH_S = 3.0
_LEFT_ALONE_S = 10.0
_MOST = 0.75
# A kubelet renews its lease every 10 s; Kubernetes itself waits for 40 s before it calls a node NotReady.
_HEARTBEAT_S = 15.0
# A share is told apart only if it moves the UPS's figure by more than its rounding can.
_STEPS = 2.0


@dataclass(frozen=True, slots=True)
class _Before:
    """The load when a machine was told to go off, and which others were off by then."""

    load: OutputLoad
    off: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    """A node's last report as it dates it itself, and when we first saw it."""

    date: str
    seen_at: float


class OffEvidence:
    """Remembers how things stood when each machine was told to go off, and compares.

    Args:
        going_off: what is known of machines on their way off.
        cluster: whose nodes are looked at.
        load: what the UPS says that it delivers now.
        watts: what each machine draws, by the settings.
        servers: those that are k3s servers; when too many of them go off for a quorum, nothing is asked of the cluster.
    """

    def __init__(
        self,
        going_off: GoingOff,
        cluster: Cluster | None,
        load: Callable[[], OutputLoad | None],
        watts: Mapping[str, float],
        servers: Collection[str] = (),
    ) -> None:
        self._going_off = going_off
        self._cluster = cluster
        self._load = load
        self._watts = watts
        self._servers = servers
        self._before: dict[str, _Before] = {}
        self._were_ready: set[str] = set()
        self._ready: Mapping[str, bool] = {}
        self._heartbeats: Mapping[str, _Heartbeat] = {}
        self._heard_at = -math.inf
        self._look_again_at = -math.inf
        self._looking = asyncio.Lock()

    def note(self, machine: str) -> None:
        """Remember how things stand; to be called before the machine is told to go off."""
        self._were_ready.discard(machine)
        self._before.pop(machine, None)
        if load := self._load():
            self._before[machine] = _Before(load, frozenset(self._going_off.seen_off))

    async def look(self, within_s: float) -> None:
        """See how the nodes are, unless that is known well enough; it takes so long (s) where nobody says it."""
        if self._cluster is None or within_s <= 0 or not self._has_quorum:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s), self._looking:
                if loop.time() < self._look_again_at:
                    return
                self._look_again_at = loop.time() + _LEFT_ALONE_S
                self._ready = {node.name: node.ready for node in await self._cluster.nodes()}
                self._were_ready.update(name for name, ready in self._ready.items() if ready)
                self._look_again_at = loop.time() + _FRESH_S
                self._hear(await self._cluster.heartbeats(), loop.time())
        except (RackError, TimeoutError):
            # What was known stays. An older upsd had no right to see heartbeats; the nodes tell something without.
            return

    def _hear(self, dates: Mapping[str, str], now: float) -> None:
        before, self._heard_at = self._heartbeats, now
        self._heartbeats = {
            name: before[name] if name in before and before[name].date == date else _Heartbeat(date, now)
            for name, date in dates.items()
        }

    @property
    def _has_quorum(self) -> bool:
        return len(self._going_off.asked.intersection(self._servers)) <= spare(len(self._servers) + 1)

    def node_gone(self, machine: str) -> bool:
        """Whether its node is not Ready any more: one that was not so before says nothing."""
        return machine in self._were_ready and not self._ready.get(machine, True)

    def reports(self, machine: str) -> bool | None:
        """Whether its kubelet has reported so lately that it may well live; `None` if nobody can tell."""
        heartbeat = self._heartbeats.get(machine)
        if heartbeat is None:
            return None
        if asyncio.get_running_loop().time() < heartbeat.seen_at + _HEARTBEAT_S:
            return True
        # Nobody has looked since, if the API is away.
        return None if self._heard_at < heartbeat.seen_at + _HEARTBEAT_S else False

    def fell_w(self, machine: str) -> float | None:
        """By how much (W) the load fell on its account, if that is most of what it draws; else `None`.

        All that other machines on their way off may have saved meanwhile is taken for theirs. Of one that took no
        command, no fall is its own.
        """
        if machine not in self._going_off.acknowledged:
            return None
        before, now, share_w = self._before.get(machine), self._load(), self._watts.get(machine, 0.0)
        if before is None or now is None or now.at <= before.load.at or share_w < _STEPS * now.step_w:
            return None
        others = self._going_off.asked - before.off - {machine}
        fell_w = before.load.watts - now.watts - sum(self._watts.get(other, 0.0) for other in others)
        return fell_w if fell_w >= _MOST * share_w else None

    def described(self, machine: str) -> list[str]:
        """What there is beside the port now, in words, for a rehearsal."""
        said = []
        if machine in self._ready:
            said.append("its node is Ready" if self._ready[machine] else "its node is not Ready")
            if machine not in self._heartbeats:
                said.append("its heartbeats can't be read (does upsd have all rights of upsd-rbac.yaml?)")
        if load := self._load():
            told_apart = self._watts.get(machine, 0.0) >= _STEPS * load.step_w
            said.append("its share of the load is seen" if told_apart else "its share of the load is too small to see")
        return said
