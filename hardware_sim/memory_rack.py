"""The machines of a rack as plain objects in memory, on the event loop's time, with faults to switch on.

They fit the protocols of `upsd.domain.rack` by shape. Whatever they do goes into one list of `Act`s, so that a test can
say in which order things happened. A machine is *asked* at once and *acts* once the call's latency has passed, so that
a daemon killed in between has asked for nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from upsd.domain.rack import EvictionAnswer, Node, Pod, PortAnswer, RackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MARK = "cordoned-by-outage"
MASTER = "k3s-master"


def _now() -> float:
    return asyncio.get_running_loop().time()


class Act(NamedTuple):
    """Something that a machine did, at loop time `at`."""

    at: float
    what: str


@dataclass(slots=True)
class _Fault:
    until: float
    error: str | None = None
    hangs: bool = False
    slow_s: float = 0.0


@dataclass(slots=True)
class Faults:
    """What goes wrong with the operations of one machine, by the name of the method; all of them for `*`."""

    latency_s: float = 0.05
    by_operation: dict[str, _Fault] = field(default_factory=dict)

    def fail(self, operation: str, error: str = "connection refused", *, for_s: float = math.inf) -> None:
        """Let it raise `RackError`."""
        self.by_operation[operation] = _Fault(_now() + for_s, error=error)

    def hang(self, operation: str, *, for_s: float = math.inf) -> None:
        """Let calls of it never return, not even when the fault is over."""
        self.by_operation[operation] = _Fault(_now() + for_s, hangs=True)

    def slow(self, operation: str, by_s: float, *, for_s: float = math.inf) -> None:
        """Let it take so much longer."""
        self.by_operation[operation] = _Fault(_now() + for_s, slow_s=by_s)

    def mend(self) -> None:
        """Let everything work again."""
        self.by_operation.clear()

    async def meet(self, operation: str) -> None:
        """Pass the time that a call takes, and go wrong if it must."""
        fault = self.by_operation.get(operation) or self.by_operation.get("*")
        if fault is None or _now() >= fault.until:
            await asyncio.sleep(self.latency_s)
        elif fault.hangs:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self.latency_s + fault.slow_s)
            if fault.error is not None:
                raise RackError(fault.error)


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
        never: pods whose eviction is refused for good.
        broken: pods about which every call raises.
        dead: nodes that are off, on which no pod ends.
        replicas: how many pods each controller (`namespace/name`) keeps, on nodes that take them.
        start_s: how long such a pod takes to be Ready.
        dry_run: it judges as ever, and changes nothing.
    """

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)
    node_by_name: dict[str, Node] = field(default_factory=dict)
    pod_by_uid: dict[str, _MemoryPod] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    replicas: dict[str, int] = field(default_factory=dict)
    start_s: float = 3.0
    started: int = 0
    dry_run: bool = False

    def rehearsed(self) -> MemoryCluster:
        """The same nodes and pods, of which nothing is changed."""
        return replace(self, dry_run=True)

    def add_node(self, name: str, *, ready: bool = True, unschedulable: bool = False) -> None:
        """Put a node in."""
        self.node_by_name[name] = Node(name, ready=ready, unschedulable=unschedulable)

    def add_pod(self, node: str, pod: Pod, *, stop_s: float = 1.0, controller: str | None = None) -> Pod:
        """Put a pod on a node; it takes `stop_s` to stop, or its grace if that is less. A controller replaces it."""
        self.pod_by_uid[pod.uid] = _MemoryPod(pod, node, stop_s, controller=controller)
        if controller:
            self.replicas[controller] = self.replicas.get(controller, 0) + 1
        return pod

    def node_off(self, name: str) -> None:
        """Let a node's machine go off: it is not Ready, and its pods stay as they are."""
        self.dead.add(name)
        self.node_by_name[name] = replace(self.node_by_name[name], ready=False)

    def node_on(self, name: str) -> None:
        """Let a node's machine be back: it is Ready, and its pods go on."""
        self.dead.discard(name)
        self.node_by_name[name] = replace(self.node_by_name[name], ready=True)

    def cordoned(self) -> set[str]:
        """The names of the nodes that are unschedulable."""
        return {node.name for node in self.node_by_name.values() if node.unschedulable}

    def on(self, node: str) -> list[Pod]:
        """The pods on a node now."""
        self._reconcile()
        return [
            replace(entry.pod, terminating=entry.ends_at < math.inf)
            for entry in self.pod_by_uid.values()
            if entry.node == node
        ]

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""
        await self.faults.meet("nodes")
        return list(self.node_by_name.values())

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark it; whether it carries our mark now."""
        await self.faults.meet("cordon")
        found = self.node_by_name[node]
        if found.unschedulable:
            return MARK in found.annotations
        if self.dry_run:
            return True
        self.node_by_name[node] = replace(found, unschedulable=True, annotations={MARK: outage})
        self.acts.append(Act(_now(), f"cordon {node}"))
        return True

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable if it carries our mark."""
        await self.faults.meet("uncordon")
        found = self.node_by_name[node]
        if MARK not in found.annotations or self.dry_run:
            return MARK in found.annotations
        self.node_by_name[node] = replace(found, unschedulable=False, annotations={})
        self.acts.append(Act(_now(), f"uncordon {node}"))
        return True

    async def pods(self, node: str) -> Sequence[Pod]:
        """The pods bound to the node."""
        await self.faults.meet("pods")
        return self.on(node)

    async def evict(self, pod: Pod) -> EvictionAnswer:
        """Ask for the pod's end."""
        await self._meet("evict", pod)
        if pod.full_name in self.never:
            return EvictionAnswer.NEVER
        if self.refused.get(pod.full_name, -math.inf) > _now():
            return EvictionAnswer.NOT_NOW
        return EvictionAnswer.ACCEPTED if self._terminate("evict", pod, pod.grace_s) else EvictionAnswer.GONE

    async def delete(self, pod: Pod, grace_s: int) -> None:
        """Delete the pod."""
        await self._meet("delete", pod)
        self._terminate("delete", pod, grace_s)

    async def workloads(self) -> Mapping[str, int]:
        """How many pods of each controller are Ready."""
        await self.faults.meet("workloads")
        return self.ready_pods()

    def ready_pods(self) -> Mapping[str, int]:
        """The same, seen without asking the API."""
        self._reconcile()
        return Counter(
            pod.controller
            for pod in self.pod_by_uid.values()
            if pod.controller and pod.ready_at <= _now() and math.isinf(pod.ends_at) and pod.node not in self.dead
        )

    def _reconcile(self) -> None:
        """Let pods end, and controllers replace those that end, as far as a node takes them."""
        for uid, pod in list(self.pod_by_uid.items()):
            if pod.ends_at <= _now() and pod.node not in self.dead:
                del self.pod_by_uid[uid]
        for controller, wanted in self.replicas.items():
            kept = sum(pod.controller == controller and math.isinf(pod.ends_at) for pod in self.pod_by_uid.values())
            for _ in range(wanted - kept):
                self._start_pod(controller)

    def _start_pod(self, controller: str) -> None:
        nodes = [node.name for node in self.node_by_name.values() if node.ready and not node.unschedulable]
        if not nodes:
            return
        on = Counter(pod.node for pod in self.pod_by_uid.values())
        node = min(nodes, key=lambda name: on[name])
        self.started += 1
        namespace, name = controller.split("/")
        pod = Pod(namespace, f"{name}-{self.started}", uid=f"{controller}-{self.started}")
        self.pod_by_uid[pod.uid] = _MemoryPod(pod, node, 1.0, controller=controller, ready_at=_now() + self.start_s)

    async def _meet(self, operation: str, pod: Pod) -> None:
        await self.faults.meet(operation)
        if pod.full_name in self.broken:
            raise RackError(f"{pod.full_name}: internal error")

    def _terminate(self, how: str, pod: Pod, grace_s: int) -> bool:
        entry = self.pod_by_uid.get(pod.uid)
        if entry is None or self.dry_run:
            return entry is not None
        entry.ends_at = min(entry.ends_at, _now() + min(entry.stop_s, grace_s))
        self.acts.append(Act(_now(), f"{how} {pod.full_name} {grace_s}s"))
        return True


@dataclass(slots=True)
class MemoryHost:
    """A machine that is reached over SSH, goes off some time after it was told to, and can be woken.

    Attributes:
        deaf: how many more commands it takes without doing anything.
        sshd_s: from the command until its sshd accepts no more.
        boot_s: from its power-on until it answers.
        wakes: whether Wake-on-LAN switches it on.
        starts_with_power: whether it boots by itself when its outlet gets power.
        up_at: since when it answers, or until when it boots.
        forced: whether its sshd runs the power-off, whatever is asked for.
    """

    name: str
    acts: list[Act]
    poweroff_s: float = 5.0
    faults: Faults = field(default_factory=Faults)
    deaf: int = 0
    forced: bool = False
    off_at: float = math.inf
    cluster: MemoryCluster | None = None
    boot_s: float = 20.0
    sshd_s: float = 0.0
    wakes: bool = True
    starts_with_power: bool = True
    up_at: float = -math.inf
    powered: bool = True

    @property
    def off(self) -> bool:
        """Whether it is off by now."""
        return _now() >= self.off_at

    async def run(self, command: str) -> str:
        """Take the command as one to power off."""
        await self.faults.meet("run")
        if self.off or _now() < self.up_at:
            raise RackError(f"{self.name}: no route to host")
        self.acts.append(Act(_now(), f"{command} {self.name}"))
        if self.deaf:
            self.deaf -= 1
        elif math.isinf(self.off_at):
            self.off_at = _now() + self.poweroff_s
            asyncio.get_running_loop().call_at(self.off_at, self._went_off)
        return ""

    async def run_unforced(self, command: str) -> str:  # noqa: ARG002
        """Take the command as one that changes nothing."""
        await self.faults.meet("run_unforced")
        if self.off:
            raise RackError(f"{self.name}: no route to host")
        if self.forced:
            raise RackError(f"{self.name}: authorized_keys there has a forced command")
        return ""

    async def call_port(self) -> PortAnswer:
        """Its sshd ends first; once it is off it is silent."""
        await self.faults.meet("call_port")
        if self.off or _now() < self.up_at:
            return PortAnswer.SILENT
        ends_at = self.off_at - self.poweroff_s + self.sshd_s
        return PortAnswer.ACCEPTS if _now() < ends_at else PortAnswer.REFUSES

    async def wake(self) -> None:
        """Hear the signal, if it is off and has power; fits `Waker`."""
        await self.faults.meet("wake")
        self.acts.append(Act(_now(), f"wake {self.name}"))
        if self.wakes:
            self.power_on()

    def power_on(self) -> None:
        """Boot, if it is off and its outlet has power."""
        if not self.off or not self.powered:
            return
        self.off_at, self.up_at = math.inf, _now() + self.boot_s
        self.acts.append(Act(_now(), f"on {self.name}"))
        asyncio.get_running_loop().call_at(self.up_at, self._came_up)

    def outlet(self, on: bool) -> None:  # noqa: FBT001 - as the outlet says it
        """Lose power, however unready, or get it again."""
        self.powered = on
        if on and self.starts_with_power:
            self.power_on()
        elif not on and not self.off:
            self.off_at = _now()
            self._went_off()

    def _came_up(self) -> None:
        if self.cluster and not self.off and _now() >= self.up_at:
            self.cluster.node_on(self.name)

    def _went_off(self) -> None:
        self.acts.append(Act(_now(), f"off {self.name}"))
        if self.cluster:
            self.cluster.node_off(self.name)


@dataclass(slots=True)
class MemoryStorage:
    """A NAS: what is written to it is safe once it is flushed."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)
    mounted: bool = True
    flushed: bool = False

    async def flush(self) -> None:
        """Write everything out."""
        await self.faults.meet("flush")
        self.flushed = True
        self.acts.append(Act(_now(), "flush"))

    async def unmount(self) -> None:
        """Unmount it."""
        await self.faults.meet("unmount")
        self.mounted = False
        self.acts.append(Act(_now(), "unmount"))

    async def is_mounted(self) -> bool:
        """Whether it is mounted."""
        await self.faults.meet("is_mounted")
        return self.mounted

    def rehearsed(self) -> MemoryStorage:
        """The same."""
        return self

    async def check_unmount(self) -> None:
        """Say that it could be unmounted."""
        await self.faults.meet("check_unmount")

    async def mount(self) -> None:
        """Mount it."""
        await self.faults.meet("mount")
        self.mounted = True
        self.acts.append(Act(_now(), "mount"))


@dataclass(slots=True)
class MemoryOutlets:
    """The outlets of a UPS, which write down what they were told."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Schedule the cycle."""
        await self.faults.meet("cycle")
        self.acts.append(Act(_now(), f"cycle {off_after_s}s {restore_after_min}min"))
        return True

    async def check_cycle(self) -> str:
        """Say that it could be scheduled."""
        await self.faults.meet("check_cycle")
        return "the UPS answers"


@dataclass(slots=True)
class MemoryLocalHost:
    """The machine that the daemon runs on; it lives on, so that a test sees what the daemon would do then."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)

    async def poweroff(self) -> None:
        """Take the request."""
        await self.faults.meet("poweroff")
        self.acts.append(Act(_now(), f"poweroff {MASTER}"))

    async def check_poweroff(self) -> str:
        """Say that it would power off."""
        await self.faults.meet("check_poweroff")
        return "it would power off"


@dataclass(slots=True)
class MemoryRack:
    """A whole rack and everything that it did."""

    acts: list[Act]
    cluster: MemoryCluster
    hosts: dict[str, MemoryHost]
    storage: MemoryStorage
    outlets: MemoryOutlets
    local_host: MemoryLocalHost

    def did(self) -> list[str]:
        """What the machines did, in order."""
        return [act.what for act in self.acts]

    def first(self, what: str) -> float:
        """When something was first done; infinite if it was not."""
        return min((act.at for act in self.acts if act.what == what), default=math.inf)


def memory_rack(
    workers: Iterable[str] = ("pi4-a", "pi4-b"), *, pods: int = 2, controller: str | None = None
) -> MemoryRack:
    """A master and workers, each a node with so many ordinary pods and one of a DaemonSet, and a NAS.

    The ordinary pods belong to `controller` (`namespace/name`), if there is one.
    """
    acts: list[Act] = []
    cluster = MemoryCluster(acts)
    hosts = {name: MemoryHost(name, acts, cluster=cluster) for name in workers}
    for node in (*hosts, MASTER):
        cluster.add_node(node)
        for number in range(pods):
            cluster.add_pod(node, Pod("web", f"{node}-{number}", uid=f"{node}-{number}"), controller=controller)
        cluster.add_pod(node, Pod("kube-system", f"proxy-{node}", uid=f"proxy-{node}", daemonset=True))
    return MemoryRack(acts, cluster, hosts, MemoryStorage(acts), MemoryOutlets(acts), MemoryLocalHost(acts))
