"""The simulated cluster: what kubelets, scheduler and controllers make of what the API was asked for.

Nothing happens by itself but in `advance(now)`. An evicted pod ends when
its stop time or its grace period is over; its controller makes another one, which stays Pending while no Ready and
schedulable node will have it. Not simulated: images, probes, preStop hooks, taints other than those of a cordon and
of a dead node, and the eviction of pods from nodes that stay dead for minutes.
"""

from __future__ import annotations

import heapq
import itertools
import random
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import controllers, objects
from hardware_sim.kubernetes.objects import PodTemplate
from hardware_sim.kubernetes.status import not_found
from hardware_sim.kubernetes.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.kubernetes.objects import Object

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
LEASE_S = 40
RENEWAL_S = 10
"""How often a kubelet renews its Lease: a quarter of how long that lasts."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a pod: asked for at one instant, forced at another (both on the cluster's own time line)."""

    asked_at: float
    deadline: float


class SimulatedCluster:
    """Nodes, pods, their controllers and budgets in memory."""

    def __init__(
        self,
        *,
        epoch: datetime | None = None,
        seed: int = 1,
        start_s: float = 1.0,
        not_ready_after_s: float = 40.0,
    ) -> None:
        """Start empty at `now` 0.

        Args:
            epoch: The date of `now` 0; today, if not given.
            seed: Of the names and UIDs.
            start_s: From the binding of a pod to its being Ready.
            not_ready_after_s: From a node's going down to the cluster's noticing it.
        """
        self.clock: Callable[[], float] = lambda: 0.0
        """Time that passes by itself; by default none does, but by `advance`."""
        self.store = Store()
        self.templates: dict[str, PodTemplate] = {}
        """By the UID of the workload."""
        self._now = 0.0
        self._epoch = epoch or datetime.now(tz=UTC)
        self._random = random.Random(seed)
        self._start_s = start_s
        self._not_ready_after_s = not_ready_after_s
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._endings: dict[str, Ending] = {}
        self._down_since: dict[str, float] = {}

    # Time

    @property
    def now(self) -> float:
        """The instant on the cluster's own time line, in seconds."""
        return max(self._now, self.clock())

    def advance(self, now: float) -> None:
        """Let everything happen that is due by `now`; time never goes back."""
        while self._agenda and self._agenda[0][0] <= now:
            when, _, action = heapq.heappop(self._agenda)
            self._now = max(self._now, when)
            action()
        self._now = max(self._now, now)

    def next_due(self) -> float | None:
        """The next instant at which something happens by itself."""
        return self._agenda[0][0] if self._agenda else None

    def date(self, instant: float | None = None) -> str:
        """The instant (or `now`) as Kubernetes writes it."""
        found = self._epoch + timedelta(seconds=self.now if instant is None else instant)
        return found.strftime("%Y-%m-%dT%H:%M:%SZ")

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Let something happen at an instant of the cluster's own time line."""
        heapq.heappush(self._agenda, (when, next(self._tickets), action))
        self.store.changed()  # whoever lets time pass may have a sooner instant to wait for

    # Building

    def add_node(self, name: str, *, architecture: str = "arm64", labels: dict[str, str] | None = None) -> None:
        """Add a Ready node."""
        address = f"192.168.10.{len(self.store.items('nodes')) + 10}"
        added = objects.node(name, architecture, address, labels or {})
        objects.set_ready(added, "True", "KubeletReady", self.date())
        added["status"]["nodeInfo"]["bootID"] = self._uid()
        self.create("nodes", added)
        self.renew_leases()
        self.reconcile()

    def add_workload(
        self,
        kind: str,
        namespace: str,
        name: str,
        template: PodTemplate | None = None,
        *,
        replicas: int = 1,
    ) -> None:
        """Add a `Deployment`, `StatefulSet` or `DaemonSet`; its pods, labelled `app=NAME`, come by themselves."""
        owner = objects.workload(kind, namespace, name, None if kind == "DaemonSet" else replicas)
        self.create(controllers.PLURALS[kind], owner)
        if kind == "Deployment":
            owner = objects.owned_by(
                objects.workload("ReplicaSet", namespace, f"{name}-{self.suffix(10)}", replicas), owner
            )
            owner["metadata"]["labels"] = {"app": name}
            self.create("replicasets", owner)
        self.templates[owner["metadata"]["uid"]] = template or PodTemplate()
        self.reconcile()

    def add_pod(self, namespace: str, name: str, node: str, template: PodTemplate | None = None) -> None:
        """Add a pod without a controller."""
        added = objects.pod(namespace, name, template or PodTemplate(), {"app": name})
        self.create("pods", added)
        self.bind(added, node)

    def add_mirror_pod(self, namespace: str, name: str, node: str) -> None:
        """Add the mirror of a static pod, which belongs to its node."""
        added = objects.pod(namespace, f"{name}-{node}", PodTemplate(), {"app": name})
        added["metadata"]["annotations"][objects.MIRROR] = self.suffix(32)
        owner = self.store.get("nodes", "", node)
        self.create("pods", objects.owned_by(added, owner))
        self.bind(added, node)

    def add_finished_job(self, namespace: str, name: str, node: str) -> None:
        """Add the pod that a completed Job left behind."""
        job = objects.workload("Job", namespace, name, None) | {"apiVersion": "batch/v1"}
        self.create("jobs", job)
        added = objects.pod(namespace, f"{name}-{self.suffix(5)}", PodTemplate(), {"app": name})
        added["spec"]["nodeName"] = node
        added["status"]["phase"] = "Succeeded"
        self.create("pods", objects.owned_by(added, job))

    def add_budget(
        self,
        namespace: str,
        name: str,
        *,
        app: str,
        min_available: int | str = 1,
        max_unavailable: int | str | None = None,
        unready_may_go: bool = False,
    ) -> None:
        """Add a PodDisruptionBudget for the pods of the workload `app`.

        Args:
            namespace: Of the budget and the pods.
            name: Of the budget.
            app: Of the workload.
            min_available: How many must be healthy, as a number or a percentage ("50%").
            max_unavailable: How many may be missing, instead of that.
            unready_may_go: Pods that are not Ready are always evicted (`AlwaysAllow`).
        """
        limits: Object = {"minAvailable": min_available}
        if max_unavailable is not None:
            limits = {"maxUnavailable": max_unavailable}
        if unready_may_go:
            limits["unhealthyPodEvictionPolicy"] = "AlwaysAllow"
        self.create("poddisruptionbudgets", objects.budget(namespace, name, app, limits))
        self.reconcile()

    def add_volume(self, name: str, claim: tuple[str, str], source: Object) -> None:
        """Add a PersistentVolume bound to a claim (namespace and name), on this `nfs` or `csi`."""
        self.create("persistentvolumes", objects.persistent_volume(name, claim, source))

    def attach_volume(self, name: str, node: str) -> None:
        """Attach a PersistentVolume to a node, as the attach-detach controller does."""
        self.create("volumeattachments", objects.volume_attachment(name, node))

    def remove_budget(self, namespace: str, name: str) -> None:
        """Take the PodDisruptionBudget away."""
        self.store.remove("poddisruptionbudgets", self.store.get("poddisruptionbudgets", namespace, name))

    def create(self, plural: str, item: Object) -> None:
        """Store a new object with a UID and a date, and its namespace with it."""
        item["metadata"] |= {"uid": self._uid(), "creationTimestamp": self.date()}
        namespace = item["metadata"].get("namespace")
        if namespace and not self.store.find("namespaces", "", namespace):
            self.create(
                "namespaces",
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": objects.metadata(namespace),
                    "spec": {},
                    "status": {"phase": "Active"},
                },
            )
        self.store.put(plural, item)

    def suffix(self, length: int) -> str:
        """A random end of a name, in the letters that Kubernetes uses for it."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    # Questions

    def node(self, name: str) -> Object:
        """The node as the API shows it."""
        return self.store.get("nodes", "", name)

    def pods_on(self, node: str) -> list[Object]:
        """The pods bound to the node."""
        return [pod for pod in self.store.items("pods") if objects.node_of(pod) == node]

    def pod(self, namespace: str, name: str) -> Object:
        """The pod as the API shows it."""
        return self.store.get("pods", namespace, name)

    def pod_of(self, app: str) -> Object:
        """The first pod labelled `app=…`."""
        for pod in self.store.items("pods"):
            if objects.has_labels(pod, {"app": app}):
                return pod
        raise not_found("pods", app)

    def is_cordoned(self, node: str) -> bool:
        """Whether the node is unschedulable."""
        return bool(self.node(node)["spec"].get("unschedulable"))

    # Nodes and their kubelets

    def node_down(self, name: str) -> None:
        """The machine loses its power: its kubelet reports nothing more, and in a while the node is not Ready."""
        self.node(name)
        self.renew_leases()
        since = self._down_since[name] = self.now
        self.at(since + self._not_ready_after_s, partial(self._miss, name, since))

    def node_up(self, name: str) -> None:
        """The machine has booted: its kubelet reports, ends what had to end and starts what it has."""
        if self._down_since.pop(name, None) is None:
            return
        found = self.node(name)
        found["status"]["nodeInfo"]["bootID"] = self._uid()
        self._report(found, "True", "KubeletReady")
        for pod in self.pods_on(name):
            uid = pod["metadata"]["uid"]
            self.at(self.now, partial(self._end if objects.is_terminating(pod) else self._run, uid))
        self.reconcile()

    def renew_leases(self) -> None:
        """Write down what the kubelets have reported by now; to be called before somebody reads it."""
        renewed = self.date(self.now // RENEWAL_S * RENEWAL_S).replace("Z", ".000000Z")
        for node in self.store.items("nodes"):
            name = node["metadata"]["name"]
            lease = self.store.find("leases", objects.LEASE_NAMESPACE, name)
            if lease is None:
                lease = objects.lease(name, LEASE_S)
                self.create("leases", lease)
            if name not in self._down_since and lease["spec"].get("renewTime") != renewed:
                lease["spec"]["renewTime"] = renewed
                self.store.put("leases", lease)

    def terminate_namespace(self, namespace: str) -> None:
        """Let the namespace be in deletion, for ever."""
        found = self.store.get("namespaces", "", namespace)
        found["metadata"]["deletionTimestamp"] = self.date()
        found["status"]["phase"] = "Terminating"
        self.store.put("namespaces", found)

    def _miss(self, name: str, since: float) -> None:
        if self._down_since.get(name) != since:
            return
        self._report(self.node(name), "Unknown", "NodeStatusUnknown")
        for pod in self.pods_on(name):
            if objects.is_ready(pod):
                objects.set_ready(pod, "False", "NodeNotReady", self.date())
                self.store.put("pods", pod)
        self.reconcile()

    def _report(self, node: Object, status: str, reason: str) -> None:
        objects.set_ready(node, status, reason, self.date())
        self.node_changed(node)

    def node_changed(self, node: Object) -> None:
        """Store a node that was patched; the taints follow its state, and the scheduler looks again."""
        if not node["spec"].get("unschedulable"):
            node["spec"].pop("unschedulable", None)
        cordoned = "unschedulable" in node["spec"]
        taints = [CORDONED] * cordoned + [UNREACHABLE] * (not objects.is_ready(node))
        node["spec"].pop("taints", None)
        if taints:
            node["spec"]["taints"] = taints
        self.store.put("nodes", node)
        self.reconcile()

    # Pods

    def bind(self, pod: Object, node: str) -> None:
        """Give the pod to the node's kubelet."""
        pod["spec"]["nodeName"] = node
        pod["status"]["conditions"].append({"type": "PodScheduled", "status": "True"})
        self.store.put("pods", pod)
        self.at(self.now + self._start_s, partial(self._run, pod["metadata"]["uid"]))

    def delete_pod(self, pod: Object, grace_s: int | None = None) -> None:
        """Begin the end of a pod: its own grace period if none is given; a later call can only shorten it."""
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        grace = spec["terminationGracePeriodSeconds"] if grace_s is None else grace_s
        if grace == 0 or not objects.node_of(pod) or objects.is_finished(pod):
            self._remove(pod)
            return
        now = self.now
        ending = Ending(now, now + grace)
        before = self._endings.get(uid, ending)
        if ending.deadline <= before.deadline:
            self._endings[uid] = replace(before, deadline=ending.deadline)
            pod["metadata"] |= {
                "deletionTimestamp": self.date(ending.deadline),
                "deletionGracePeriodSeconds": grace,
            }
            self.store.put("pods", pod)
            self.at(self._end_of(pod), partial(self._end, uid))
            self.reconcile()

    def reconcile(self) -> None:
        """Let the controllers and the scheduler do what is to be done right now."""
        controllers.reconcile(self)

    def _end_of(self, pod: Object) -> float:
        ending = self._endings[pod["metadata"]["uid"]]
        return min(ending.asked_at + float(pod["metadata"]["annotations"][objects.STOP_SECONDS]), ending.deadline)

    def _end(self, uid: str) -> None:
        pod = self._with_uid(uid)
        if (
            pod is not None
            and objects.node_of(pod) not in self._down_since
            and objects.STUCK not in pod["metadata"]["annotations"]
            and self._end_of(pod) <= self.now
        ):
            self._remove(pod)

    def _run(self, uid: str) -> None:
        pod = self._with_uid(uid)
        if pod is None or objects.node_of(pod) in self._down_since or objects.is_terminating(pod):
            return
        if not objects.is_finished(pod):
            pod["status"]["phase"] = "Running"
            pod["status"].setdefault("startTime", self.date())
            pod["status"].setdefault("podIP", f"10.42.0.{self._random.randrange(2, 250)}")
            objects.set_ready(pod, "True", "", self.date())
            self.store.put("pods", pod)
            self.reconcile()

    def _remove(self, pod: Object) -> None:
        self._endings.pop(pod["metadata"]["uid"], None)
        self.store.remove("pods", pod)
        self.reconcile()

    def _with_uid(self, uid: str) -> Object | None:
        return next((pod for pod in self.store.items("pods") if pod["metadata"]["uid"] == uid), None)
