"""The end of pods as the API server decides it: evictions within budgets, deletions past them, preconditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware_sim.kubernetes import objects, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.kubernetes.cluster import SimulatedCluster
    from hardware_sim.kubernetes.objects import Object


def evict(cluster: SimulatedCluster, namespace: str, name: str, eviction: Mapping[str, Any]) -> None:
    """POST `pods/NAME/eviction`; a body without `apiVersion` and `kind` will do, as with a real server.

    Raises:
        Refused: by a budget (429), two budgets (500), the namespace (403), the UID (409), or for want of the pod (404).
    """
    pod = cluster.store.get("pods", namespace, name)
    if eviction.get("metadata", {}).get("name", name) != name:
        raise status.Refused(400, "name in URL does not match name in Eviction object")
    if objects.is_terminating(cluster.store.get("namespaces", "", namespace)):
        raise status.namespace_terminating(name, namespace)
    options = eviction.get("deleteOptions") or {}
    check_preconditions(pod, options)
    if not _leaves_anyway(pod):
        _check_budgets(cluster, pod)
    if "All" not in options.get("dryRun", ()):
        cluster.delete_pod(pod, options.get("gracePeriodSeconds"))


def delete(cluster: SimulatedCluster, namespace: str, name: str, options: Mapping[str, Any]) -> Object:
    """DELETE a pod; budgets and the namespace's own end are not asked.

    Raises:
        Refused: by the preconditions (409) or for want of the pod (404).
    """
    pod = cluster.store.get("pods", namespace, name)
    check_preconditions(pod, options)
    if "All" not in options.get("dryRun", ()):
        cluster.delete_pod(pod, options.get("gracePeriodSeconds"))
    return pod


def check_preconditions(pod: Object, options: Mapping[str, Any]) -> None:
    """Compare the UID and the resource version that the caller has in mind.

    Raises:
        Refused: 409.
    """
    preconditions = options.get("preconditions") or {}
    for key, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, found = preconditions.get(key), pod["metadata"][key]
        if wanted not in (None, found):
            why = f"Precondition failed: {title} in precondition: {wanted}, {title} in object meta: {found}"
            raise status.conflict("pods", pod["metadata"]["name"], why)


def _leaves_anyway(pod: Object) -> bool:
    return objects.is_finished(pod) or objects.is_terminating(pod) or pod["status"]["phase"] == "Pending"


def _check_budgets(cluster: SimulatedCluster, pod: Object) -> None:
    budgets = [
        budget
        for budget in cluster.store.items("poddisruptionbudgets", pod["metadata"]["namespace"])
        if objects.has_labels(pod, budget["spec"]["selector"]["matchLabels"])
    ]
    if len(budgets) > 1:
        raise status.two_budgets()
    for budget in budgets:
        found = budget["status"]
        healthy, needed = found["currentHealthy"], found["desiredHealthy"]
        if found["disruptionsAllowed"] > 0 or _may_go_unready(pod, budget):
            continue
        raise status.disruption_budget(budget["metadata"]["name"], healthy, needed)


def _may_go_unready(pod: Object, budget: Object) -> bool:
    """A pod that is not Ready takes nothing from a budget that is healthy, and needs at least one pod to be that."""
    if objects.is_ready(pod):
        return False
    healthy, needed = int(budget["status"]["currentHealthy"]), int(budget["status"]["desiredHealthy"])
    return budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow" or healthy >= needed > 0
