"""The drain of a whole cluster over HTTPS: against kubectl's, and where an outage needs something else."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes, objects
from tests.drains import drained
from tests.integration.test_kubectl_oracle import DRAIN, Kubectl
from upsd.domain.plan import StepState
from upsd.rack.kubernetes import KubernetesCluster
from upsd.shutdown.steps.node_drain import DrainRules

if TYPE_CHECKING:
    from upsd.domain.plan import StepProgress

TIMEOUT_S = 5.0
AT_ONCE = 5
NAS = "192.168.7.20"


def two_nodes() -> SimulatedCluster:
    """Without pods yet."""
    cluster = SimulatedCluster(start_s=0.0)
    for name in ("pi4-a", "pi4-b"):
        cluster.add_node(name)
    return cluster


def drawn_cluster(seed: int) -> SimulatedCluster:
    """Two to four nodes with pods of every sort, drawn from the seed; no budget stands in the way."""
    draw, cluster = random.Random(seed), SimulatedCluster(seed=seed, start_s=0.0)
    nodes = [f"node-{number}" for number in range(draw.randint(2, 4))]
    for node in nodes:
        cluster.add_node(node)
    if draw.random() < 0.7:
        cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    for number in range(draw.randint(1, 5)):
        kind, name = draw.choice(["Deployment", "StatefulSet"]), f"app-{number}"
        template = PodTemplate(
            stop_s=draw.uniform(0.0, 0.6), grace_s=draw.choice([1, 30]), empty_dir=draw.random() < 0.3
        )
        cluster.add_workload(kind, draw.choice(["web", "data"]), name, template, replicas=draw.randint(1, 3))
        if draw.random() < 0.3:
            cluster.add_budget("data", name, app=name, min_available=0)
    for number in range(draw.randint(0, 2)):
        cluster.add_pod("web", f"shell-{number}", draw.choice(nodes), PodTemplate(stop_s=draw.uniform(0.0, 0.6)))
    if draw.random() < 0.5:
        cluster.add_mirror_pod("kube-system", "kube-vip", nodes[0])
    if draw.random() < 0.5:
        cluster.add_finished_job("web", "migrate", draw.choice(nodes))
    cluster.advance(1.0)
    if draw.random() < 0.5:
        cluster.delete_pod(draw.choice(cluster.pods_on(draw.choice(nodes)) or [cluster.pod_of("app-0")]))
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


async def test_we_leave_what_kubectl_drain_leaves(tmp_path: Path) -> None:
    """On twenty clusters that were drawn; kubectl does away with finished pods too, we leave them."""
    program = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    assert program, "kubectl is missing: install the package kubernetes-client"
    limit = asyncio.Semaphore(AT_ONCE)

    async def compare(seed: int) -> tuple[int, list[tuple[str, ...]], list[tuple[str, ...]], set[StepState]]:
        home = tmp_path / str(seed)
        home.mkdir()
        async with (
            limit,
            SimulatedKubernetes(drawn_cluster(seed)) as theirs,
            SimulatedKubernetes(drawn_cluster(seed)) as ours,
        ):
            kubectl = Kubectl(program, home)
            (code, output), progress = await asyncio.gather(
                kubectl.run(theirs, "drain", *nodes_of(theirs.cluster), *DRAIN, "--timeout=20s"),
                drain_all(ours, home / "ours"),
            )
            assert code == 0, output
            return seed, bound(theirs.cluster), bound(ours.cluster), {step.state for step in progress.values()}

    for seed, theirs, ours, states in await asyncio.gather(*map(compare, range(20))):
        assert (seed, ours) == (seed, theirs)
        assert states == {StepState.DONE}


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
