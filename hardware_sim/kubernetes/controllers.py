"""The controllers of the simulated cluster: they keep the number of pods, bind them, and count disruptions.

Each reads the whole cluster and does what is missing, so that calling `reconcile` once too often changes nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import objects

if TYPE_CHECKING:
    from hardware_sim.kubernetes.cluster import SimulatedCluster
    from hardware_sim.kubernetes.objects import Object

PLURALS = {
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "StatefulSet": "statefulsets",
}


def reconcile(cluster: SimulatedCluster) -> None:
    """One round of all controllers and the scheduler."""
    for owner in cluster.store.items("replicasets"):
        _keep_replicas(cluster, owner)
    for owner in cluster.store.items("statefulsets"):
        _keep_ordinals(cluster, owner)
    for owner in cluster.store.items("daemonsets"):
        _keep_one_per_node(cluster, owner)
    for pod in cluster.store.items("pods"):
        _schedule(cluster, pod)
    for budget in cluster.store.items("poddisruptionbudgets"):
        _count_disruptions(cluster, budget)


def _pods_of(cluster: SimulatedCluster, owner: Object) -> list[Object]:
    pods = cluster.store.items("pods", owner["metadata"]["namespace"])
    return [pod for pod in pods if objects.is_owned_by(pod, owner)]


def _create_pod(cluster: SimulatedCluster, owner: Object, name: str) -> Object:
    template = cluster.templates[owner["metadata"]["uid"]]
    labels = dict(owner["metadata"]["labels"])
    pod = objects.owned_by(objects.pod(owner["metadata"]["namespace"], name, template, labels), owner)
    cluster.create("pods", pod)
    return pod


def _keep_replicas(cluster: SimulatedCluster, owner: Object) -> None:
    """A pod that is on its way out counts no more, so that its successor comes at once under a new name."""
    pods = _pods_of(cluster, owner)
    kept = [pod for pod in pods if not objects.is_terminating(pod) and not objects.is_finished(pod)]
    for _ in range(owner["spec"]["replicas"] - len(kept)):
        _create_pod(cluster, owner, f"{owner['metadata']['name']}-{cluster.suffix(5)}")


def _keep_ordinals(cluster: SimulatedCluster, owner: Object) -> None:
    """A successor takes the name of the pod before it, so it comes only when that one is gone."""
    namespace, name = objects.full_name(owner)
    for ordinal in range(owner["spec"]["replicas"]):
        if not cluster.store.find("pods", namespace, f"{name}-{ordinal}"):
            _create_pod(cluster, owner, f"{name}-{ordinal}")


def _keep_one_per_node(cluster: SimulatedCluster, owner: Object) -> None:
    """A cordon does not stop a DaemonSet: its pods tolerate that taint."""
    served = {objects.node_of(pod) for pod in _pods_of(cluster, owner)}
    for node in cluster.store.items("nodes"):
        name = node["metadata"]["name"]
        if name not in served and objects.is_ready(node):
            pod = _create_pod(cluster, owner, f"{owner['metadata']['name']}-{cluster.suffix(5)}")
            cluster.bind(pod, name)


def _schedule(cluster: SimulatedCluster, pod: Object) -> None:
    """Bind a Pending pod to the emptiest node that will have it."""
    if objects.node_of(pod):
        return
    wanted = pod["spec"].get("nodeSelector", {})
    names = [
        node["metadata"]["name"]
        for node in cluster.store.items("nodes")
        if objects.is_ready(node) and "taints" not in node["spec"] and objects.has_labels(node, wanted)
    ]
    if names:
        cluster.bind(pod, min(names, key=lambda name: len(cluster.pods_on(name))))


def _count_disruptions(cluster: SimulatedCluster, budget: Object) -> None:
    """Keep the budget's status, by which evictions are granted."""
    labels, namespace = budget["spec"]["selector"]["matchLabels"], budget["metadata"]["namespace"]
    pods = cluster.store.items("pods", namespace)
    matching = [pod for pod in pods if objects.has_labels(pod, labels) and not objects.is_finished(pod)]
    healthy = sum(objects.is_ready(pod) and not objects.is_terminating(pod) for pod in matching)
    expected, needed = _needed(cluster, budget["spec"], namespace, matching)
    status = {
        "currentHealthy": healthy,
        "desiredHealthy": needed,
        "disruptionsAllowed": max(0, healthy - needed) if expected else 0,
        "expectedPods": expected,
    }
    if status != budget["status"]:
        budget["status"] = status
        cluster.store.put("poddisruptionbudgets", budget)


def _needed(cluster: SimulatedCluster, limits: Object, namespace: str, pods: list[Object]) -> tuple[int, int]:
    """How many pods there should be, and how many of them must be healthy.

    A number of pods that must be available counts against the pods there are; everything else against what their
    controllers want, so that pods without a controller do not count.
    """
    available = limits.get("minAvailable")
    if isinstance(available, int):
        return len(pods), available
    owners = {
        (PLURALS[owner["kind"]], owner["name"])
        for pod in pods
        for owner in pod["metadata"].get("ownerReferences", ())
        if owner["kind"] in PLURALS
    }
    expected = sum(cluster.store.get(plural, namespace, name)["spec"].get("replicas", 0) for plural, name in owners)
    if available is not None:
        return expected, _scaled(available, expected)
    return expected, max(0, expected - _scaled(limits["maxUnavailable"], expected))


def _scaled(limit: int | str, expected: int) -> int:
    """A number as it is; a percentage of what is expected, rounded up."""
    return limit if isinstance(limit, int) else math.ceil(expected * int(limit.removesuffix("%")) / 100)
