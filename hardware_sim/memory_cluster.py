"""A Kubernetes API in memory: nodes, pods that take their time, and controllers that replace those that end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hardware_sim.memory_faults import Act, Faults, loop_time
from upsd.domain.rack import EvictionAnswer, Node, Pod, RackError, ServerBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from upsd.domain.rack import Attachment, Workload

MARK = "cordoned-by-outage"


@dataclass(slots=True)
class _MemoryPod:
    pod: Pod
    node: str
    stop_s: float
    ends_at: float = math.inf
    controller: str | None = None
    ready_at: float = -math.inf


@dataclass(slots=True)
class MemoryCluster:
    """A Kubernetes API with nodes, pods, and pods that it does not let go.

    Attributes:
        refused: pods (`namespace/name`) whose eviction a budget refuses (429), until this loop time.
        never: pods whose eviction is refused for good, and how.
        busy_until: evictions are answered by a server that has too much to do, until this loop time.
        broken: pods about which every call raises.
        dead: nodes that are off, on which no pod ends.
        stuck: pods that do not end any more once they were told to, not even by force.
        date: the server's clock, by which the graces of pods end; without it it tells nobody when they do.
        replicas: how many pods each controller (`namespace/name`) keeps, on nodes that take them.
        scaled: how many it kept before it was scaled to zero.
        start_s: how long such a pod takes to be Ready.
        shares: the file server behind each claim (`namespace/name`).
        dry_run: it judges as ever, and changes nothing.
        members: nodes whose k3s servers hold the datastore together; none if that is the business of one.
        stopped: those of them whose server does not run; without a majority of the others nothing is answered.
        unheard: what was asked while that was so.
        reported: when the kubelet of each node was last heard of.
    """

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)
    node_by_name: dict[str, Node] = field(default_factory=dict)
    pod_by_uid: dict[str, _MemoryPod] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    never: dict[str, EvictionAnswer] = field(default_factory=dict)
    busy_until: float = -math.inf
    broken: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    date: Callable[[], datetime] | None = None
    replicas: dict[str, int] = field(default_factory=dict)
    scaled: dict[str, int] = field(default_factory=dict)
    start_s: float = 3.0
    shares: dict[str, str] = field(default_factory=dict)
    attached: list[Attachment] = field(default_factory=list)
    started: int = 0
    dry_run: bool = False
    members: frozenset[str] = frozenset()
    stopped: set[str] = field(default_factory=set)
    unheard: list[str] = field(default_factory=list)
    reported: dict[str, str] = field(default_factory=dict)

    async def ask(self, operation: str) -> None:
        """Pass the time that a call takes, and fail it if it must."""
        await self.faults.meet(operation)
        if self.members and 2 * len(self.members - self.stopped) <= len(self.members):
            self.unheard.append(operation)
            raise RackError("etcdserver: no leader")

    def rehearsed(self) -> MemoryCluster:
        """The same nodes and pods, of which nothing is changed."""
        return replace(self, dry_run=True)

    def add_node(self, name: str, *, ready: bool = True, unschedulable: bool = False) -> None:
        """Put a node in."""
        self.node_by_name[name] = Node(name, ready=ready, unschedulable=unschedulable)

    def add_pod(self, node: str, pod: Pod, *, stop_s: float = 1.0, controller: str | None = None) -> Pod:
        """Put a pod on a node; it takes `stop_s` to stop, or its grace if that is less. A controller replaces it."""
        self.pod_by_uid[pod.uid] = _MemoryPod(replace(pod, node=node), node, stop_s, controller=controller)
        if controller:
            self.replicas[controller] = self.replicas.get(controller, 0) + 1
        return pod

    def node_off(self, name: str) -> None:
        """Let a node's machine go off: it is not Ready, and its pods stay as they are."""
        self.dead.add(name)
        self.stopped.add(name)
        self.node_by_name[name] = replace(self.node_by_name[name], ready=False)

    def node_on(self, name: str) -> None:
        """Let a node's machine be back: it is Ready, and its pods go on."""
        self.dead.discard(name)
        self.stopped.discard(name)
        self.node_by_name[name] = replace(self.node_by_name[name], ready=True)

    def cordoned(self) -> set[str]:
        """The names of the nodes that are unschedulable."""
        return {node.name for node in self.node_by_name.values() if node.unschedulable}

    def on(self, node: str | None) -> list[Pod]:
        """The pods on a node now, or on any."""
        self.reconcile()
        return [
            entry.pod if math.isinf(entry.ends_at) else replace(entry.pod, terminating=True)
            for entry in self.pod_by_uid.values()
            if node in {None, entry.node}
        ]

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""
        await self.ask("nodes")
        return list(self.node_by_name.values())

    async def heartbeats(self) -> Mapping[str, str]:
        """When each node last reported."""
        await self.ask("heartbeats")
        silent = self.dead | self.stopped
        self.reported |= {name: str(loop_time() // 10) for name in self.node_by_name.keys() - silent}
        return dict.fromkeys(self.node_by_name, "") | self.reported

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark it; whether it carries our mark now."""
        await self.ask("cordon")
        found = self.node_by_name[node]
        if found.unschedulable:
            return MARK in found.annotations
        if self.dry_run:
            return True
        self.node_by_name[node] = replace(found, unschedulable=True, annotations={MARK: outage})
        self.acts.append(Act(loop_time(), f"cordon {node}"))
        return True

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable if it carries our mark."""
        await self.ask("uncordon")
        found = self.node_by_name[node]
        if MARK not in found.annotations or self.dry_run:
            return MARK in found.annotations
        self.node_by_name[node] = replace(found, unschedulable=False, annotations={})
        self.acts.append(Act(loop_time(), f"uncordon {node}"))
        return True

    async def attachments(self) -> Sequence[Attachment]:
        """The volumes that are attached to nodes."""
        await self.ask("attachments")
        return tuple(self.attached)

    async def pods(self, node: str | None = None) -> Sequence[Pod]:
        """The pods bound to the node, or to any."""
        await self.ask("pods")
        return self.on(node)

    async def evict(self, pod: Pod, grace_s: int | None = None) -> EvictionAnswer:
        """Ask for the pod's end."""
        await self._meet("evict", pod)
        if self.busy_until > loop_time():
            raise ServerBusyError("too many requests", self.busy_until - loop_time())
        if pod.full_name in self.never:
            return self.never[pod.full_name]
        if self.refused.get(pod.full_name, -math.inf) > loop_time():
            return EvictionAnswer.BUDGET
        grace_s = pod.grace_s if grace_s is None else grace_s
        return EvictionAnswer.ACCEPTED if self._terminate("evict", pod, grace_s) else EvictionAnswer.GONE

    async def delete(self, pod: Pod, grace_s: int) -> None:
        """Delete the pod."""
        await self._meet("delete", pod)
        self._terminate("delete", pod, grace_s)

    async def workloads(self) -> Mapping[str, int]:
        """How many pods of each controller are Ready."""
        await self.ask("workloads")
        return self.ready_pods()

    async def scale_to_zero(self, workload: Workload) -> bool:
        """Let its controller keep no pods."""
        await self.ask("scale_to_zero")
        name = workload.full_name
        if name not in self.replicas:
            raise RackError(f"{name}: not found")
        if name in self.scaled or not self.replicas[name] or self.dry_run:
            return name in self.scaled or self.replicas[name] > 0
        self.acts.append(Act(loop_time(), f"scale {name} 0"))
        self.scaled[name], self.replicas[name] = self.replicas[name], 0
        for entry in self.pod_by_uid.values():
            if entry.controller == name:
                entry.ends_at = min(entry.ends_at, loop_time() + min(entry.stop_s, entry.pod.grace_s))
        return True

    async def scale_back(self, workload: Workload) -> bool:
        """Let its controller keep as many pods as before."""
        await self.ask("scale_back")
        name = workload.full_name
        if name not in self.scaled or self.dry_run:
            return name in self.scaled
        self.replicas[name] = self.scaled.pop(name)
        self.acts.append(Act(loop_time(), f"scale {name} {self.replicas[name]}"))
        return True

    async def file_servers(self) -> Mapping[str, str]:
        """The file server behind each claim."""
        await self.ask("file_servers")
        return self.shares

    def ready_pods(self) -> Mapping[str, int]:
        """The same, seen without asking the API."""
        self.reconcile()
        return Counter(
            pod.controller
            for pod in self.pod_by_uid.values()
            if pod.controller and pod.ready_at <= loop_time() and math.isinf(pod.ends_at) and pod.node not in self.dead
        )

    def reconcile(self) -> None:
        """Let pods end, and controllers replace those that end, as far as a node takes them."""
        for uid, pod in list(self.pod_by_uid.items()):
            if pod.ends_at <= loop_time() and pod.node not in self.dead and pod.pod.full_name not in self.stuck:
                del self.pod_by_uid[uid]
        for controller, wanted in self.replicas.items():
            kept = sum(pod.controller == controller and math.isinf(pod.ends_at) for pod in self.pod_by_uid.values())
            nodes = self._taking() if wanted > kept else []
            for _ in range(wanted - kept if nodes else 0):
                self._start_pod(controller, nodes)

    def _taking(self) -> list[str]:
        return [node.name for node in self.node_by_name.values() if node.ready and not node.unschedulable]

    def _start_pod(self, controller: str, nodes: Sequence[str]) -> None:
        on = Counter(pod.node for pod in self.pod_by_uid.values())
        node = min(nodes, key=lambda name: on[name])
        self.started += 1
        namespace, name = controller.split("/")
        pod = Pod(namespace, f"{name}-{self.started}", uid=f"{controller}-{self.started}", node=node)
        self.pod_by_uid[pod.uid] = _MemoryPod(
            pod, node, 1.0, controller=controller, ready_at=loop_time() + self.start_s
        )

    async def _meet(self, operation: str, pod: Pod) -> None:
        await self.ask(operation)
        if pod.full_name in self.broken:
            raise RackError(f"{pod.full_name}: internal error")

    def _terminate(self, how: str, pod: Pod, grace_s: int) -> bool:
        entry = self.pod_by_uid.get(pod.uid)
        if entry is None or self.dry_run:
            return entry is not None
        entry.ends_at = min(entry.ends_at, loop_time() + min(entry.stop_s, grace_s))
        if self.date:
            entry.pod = replace(entry.pod, ends_by=self.date() + timedelta(seconds=grace_s))
        self.acts.append(Act(loop_time(), f"{how} {pod.full_name} {grace_s}s"))
        return True
