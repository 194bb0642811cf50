"""The drain of a whole cluster over HTTPS, where an outage needs something else than what kubectl does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes, objects
from tests.drains import drained
from upsd.domain.plan import StepState
from upsd.rack.kubernetes import KubernetesCluster
from upsd.shutdown.steps.node_drain import DrainRules

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.domain.plan import StepProgress

TIMEOUT_S = 5.0
NAS = "192.168.7.20"


def two_nodes() -> SimulatedCluster:
    """Without pods yet."""
    cluster = SimulatedCluster(start_s=0.0)
    for name in ("pi4-a", "pi4-b"):
        cluster.add_node(name)
    return cluster


def nodes_of(cluster: SimulatedCluster) -> list[str]:
    """The names of all nodes."""
    return [node["metadata"]["name"] for node in cluster.store.items("nodes")]


def bound(cluster: SimulatedCluster) -> list[tuple[str, ...]]:
    """Node and full name of all pods that a node has and that are not over."""
    pods = cluster.store.items("pods")
    return sorted(
        (objects.node_of(pod), *objects.full_name(pod))
        for pod in pods
        if objects.node_of(pod) and not objects.is_finished(pod)
    )


async def drain_all(api: SimulatedKubernetes, kubeconfig: Path, *, limit_s: float = 60.0) -> dict[str, StepProgress]:
    """Drain all nodes as an outage does."""
    api.write_kubeconfig(kubeconfig)
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    rules = DrainRules(delete_grace_s=1, budget_patience_s=1.0, nas=NAS)
    return await drained(rack, rules, nodes_of(api.cluster), limit_s=limit_s)


async def test_a_whole_cluster_costs_few_calls(tmp_path: Path) -> None:
    """One eviction for each pod, two calls to cordon each node, and one list for all in each second."""
    cluster = two_nodes()
    cluster.add_workload("Deployment", "web", "app", PodTemplate(stop_s=0.1), replicas=20)
    cluster.advance(1.0)
    async with SimulatedKubernetes(cluster) as api:
        await drain_all(api, tmp_path / "kubeconfig")
        paths = [request.path for request in api.requests]
    assert sum(path.endswith("/eviction") for path in paths) == 20
    assert sum(request.method == "GET" and request.path.endswith("/pods") for request in api.requests) <= 4
    assert len(paths) <= 20 + 2 * 2 + 2 + 1 + 4


async def test_what_kubectl_waits_for_in_vain_is_ended_and_named(tmp_path: Path) -> None:
    """A budget, two budgets, a namespace that goes away; each pod with its own grace, and its reason in the step."""
    cluster = two_nodes()
    here = PodTemplate(node="pi4-a", stop_s=0.1, grace_s=25)
    for namespace, name in (("data", "one"), ("data", "two"), ("old", "gone")):
        cluster.add_workload("StatefulSet", namespace, name, here)
    cluster.add_budget("data", "one", app="one")
    for name in ("two-a", "two-b"):
        cluster.add_budget("data", name, app="two")
    cluster.advance(1.0)
    cluster.terminate_namespace("old")
    async with SimulatedKubernetes(cluster) as api:
        progress = await drain_all(api, tmp_path / "kubeconfig")
        deletions = {request.path: request.body for request in api.requests if request.method == "DELETE"}
    assert progress["drain pi4-a"].state is StepState.FORCED
    assert progress["drain pi4-a"].detail == (
        "3 pods ended, deleted by force: data/one-0 (a budget), data/two-0 (two budgets), old/gone-0"
        " (a namespace in deletion)"
    )
    assert {body["gracePeriodSeconds"] for body in deletions.values()} == {25}
    assert all("uid" in body["preconditions"] for body in deletions.values())
    assert bound(cluster) == []


async def test_a_pod_that_does_not_end_is_named_with_its_volume_on_the_nas(tmp_path: Path) -> None:
    """It hangs on a dead server even when it is killed, and the step says so when its time is over."""
    cluster = two_nodes()
    stuck = PodTemplate(node="pi4-a", stuck=True, volumes=(objects.claim_volume("photos"),))
    cluster.add_workload("Deployment", "media", "immich", stuck)
    cluster.add_volume("pv-photos", ("media", "photos"), {"nfs": {"server": NAS, "path": "/photos"}})
    cluster.advance(1.0)
    name = cluster.pod_of("immich")["metadata"]["name"]
    async with SimulatedKubernetes(cluster) as api:
        progress = await drain_all(api, tmp_path / "kubeconfig", limit_s=6.0)
    drain = progress["drain pi4-a"]
    assert drain.state is StepState.TIMED_OUT
    assert drain.detail == f"1 of 1 pods left: media/{name}; with volumes on the NAS: media/{name}"


async def test_without_the_right_to_see_volumes_a_drain_goes_on(tmp_path: Path) -> None:
    """Whoever has not applied the new manifest loses no more than names."""
    cluster = two_nodes()
    cluster.add_workload("Deployment", "web", "app", PodTemplate(stop_s=0.1), replicas=3)
    cluster.advance(1.0)
    async with SimulatedKubernetes(cluster) as api:
        api.faults.refuse(403, path="persistentvolumes")
        progress = await drain_all(api, tmp_path / "kubeconfig")
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert bound(cluster) == []


async def test_a_server_that_turns_everybody_away_for_a_moment_costs_no_pod_its_grace(tmp_path: Path) -> None:
    """It does so in plain text, which is no Status: that is no budget, and no reason for force."""
    cluster = two_nodes()
    cluster.add_workload("Deployment", "web", "nginx", PodTemplate(stop_s=0.05), replicas=3)
    cluster.advance(1.0)
    async with SimulatedKubernetes(cluster) as api:
        api.faults.throttled = 4
        progress = await drain_all(api, tmp_path / "kubeconfig")
        assert api.faults.throttled == 0
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert bound(cluster) == []
