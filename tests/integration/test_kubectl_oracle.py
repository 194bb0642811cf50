"""Real kubectl against the simulated API: what kubectl takes for a cluster is one, and we drain as it does."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes, reference_cluster
from tests.integration.kubectl import COMMAND_DEADLINE_S, DRAIN, Kubectl, installed_kubectl
from upsd.rack.kubernetes import KubernetesCluster

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    """With a home of its own."""
    return installed_kubectl(tmp_path)


def small_cluster() -> SimulatedCluster:
    """One pod of each sort on `pi4-a`, quick to stop; `pi4-b` is free."""
    cluster = SimulatedCluster(start_s=0.0)
    cluster.add_node("pi4-a")
    cluster.add_node("pi4-b")
    here = PodTemplate(node="pi4-a", stop_s=0.05)
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    cluster.add_workload("Deployment", "web", "nginx", here, replicas=2)
    cluster.add_workload("StatefulSet", "data", "postgres", here)
    cluster.add_workload("Deployment", "web", "cache", PodTemplate(node="pi4-a", stop_s=0.05, empty_dir=True))
    cluster.add_mirror_pod("kube-system", "kube-vip", "pi4-a")
    cluster.add_finished_job("web", "migrate", "pi4-a")
    cluster.add_pod("web", "shell", "pi4-a", PodTemplate(stop_s=0.05))
    cluster.advance(1.0)
    return cluster


def apps_on(cluster: SimulatedCluster, node: str) -> list[str]:
    """What runs on the node, by the label `app`."""
    return sorted(pod["metadata"]["labels"]["app"] for pod in cluster.pods_on(node))


async def test_get_lists_the_rack_as_people_know_it(kubectl: Kubectl) -> None:
    """Nodes with status, roles and version; pods of all namespaces with readiness."""
    async with SimulatedKubernetes(reference_cluster()) as api:
        code, nodes = await kubectl.run(api, "get", "nodes")
        assert code == 0
        assert re.search(r"^NAME +STATUS +ROLES +AGE +VERSION$", nodes, re.MULTILINE)
        assert re.search(r"^k3s-master +Ready +control-plane,master +\d+\w +v1\.31", nodes, re.MULTILINE)
        assert len(nodes.splitlines()) == 1 + 5
        code, pods = await kubectl.run(api, "get", "pods", "-A")
        assert code == 0
        assert re.search(r"^data +postgres-0 +1/1 +Running +0 ", pods, re.MULTILINE)
        assert re.search(r"^kube-system +helm-install-traefik-\w+ +0/1 +Completed", pods, re.MULTILINE)
        assert len(pods.splitlines()) == 1 + len(api.cluster.store.items("pods"))


async def test_plain_http_will_do_for_kubectl(kubectl: Kubectl) -> None:
    """Selectors and JSON output work there as well."""
    async with SimulatedKubernetes(reference_cluster(), tls=False, token=None) as api:
        command = ("get", "pods", "-A", "-l", "app=nginx", "-o", "jsonpath={.items[*].metadata.namespace}")
        assert await kubectl.run(api, *command) == (0, "web web web")


async def test_cordon_and_uncordon_show_in_the_node(kubectl: Kubectl) -> None:
    """Each says what it did, and the node's status follows."""
    async with SimulatedKubernetes(small_cluster()) as api:
        assert await kubectl.run(api, "cordon", "pi4-a") == (0, "node/pi4-a cordoned\n")
        assert api.cluster.is_cordoned("pi4-a")
        _, nodes = await kubectl.run(api, "get", "nodes", "pi4-a")
        assert "Ready,SchedulingDisabled" in nodes
        assert await kubectl.run(api, "uncordon", "pi4-a") == (0, "node/pi4-a uncordoned\n")
        assert not api.cluster.is_cordoned("pi4-a")


async def test_describe_tells_when_a_node_was_last_heard_of(kubectl: Kubectl) -> None:
    """By its Lease, which kubectl reads with the types of Kubernetes."""
    async with SimulatedKubernetes(small_cluster()) as api:
        code, said = await kubectl.run(api, "describe", "node", "pi4-a")
        renewed = api.cluster.store.get("leases", "kube-node-lease", "pi4-a")["spec"]["renewTime"]
    assert code == 0, said
    (shown,) = re.findall(
        r"^Lease:\n +HolderIdentity: +pi4-a\n +AcquireTime: .*\n +RenewTime: +(.*)$", said, re.MULTILINE
    )
    expected = dt.datetime.fromisoformat(renewed)
    assert dt.datetime.strptime(shown, "%a, %d %b %Y %H:%M:%S %z") == expected


async def test_a_node_that_is_unknown_is_an_error(kubectl: Kubectl) -> None:
    """With the server's own words."""
    async with SimulatedKubernetes(small_cluster()) as api:
        code, output = await kubectl.run(api, "cordon", "pi9")
    assert code == 1
    assert 'nodes "pi9" not found' in output


async def test_our_evictions_leave_the_node_as_kubectl_drain_does(kubectl: Kubectl, tmp_path: Path) -> None:
    """All but DaemonSet and mirror pods are gone from it; kubectl does away with finished pods too, we leave them."""
    async with SimulatedKubernetes(small_cluster()) as theirs:
        code, output = await kubectl.run(theirs, "drain", "pi4-a", *DRAIN, "--timeout=20s")
        assert code == 0
        assert re.fullmatch("node/pi4-a (drained|evicted)", output.splitlines()[-1])
        assert apps_on(theirs.cluster, "pi4-a") == ["kube-vip", "node-exporter"]
        assert theirs.cluster.is_cordoned("pi4-a")
    async with SimulatedKubernetes(small_cluster()) as ours:
        ours.write_kubeconfig(tmp_path / "ours")
        adapter = KubernetesCluster(tmp_path / "ours", 5.0)
        assert await adapter.cordon("pi4-a", "outage-1")
        for pod in await adapter.pods("pi4-a"):
            if not (pod.daemonset or pod.mirror or pod.finished):
                await adapter.evict(pod)
        await ours.until(lambda: apps_on(ours.cluster, "pi4-a") == ["kube-vip", "migrate", "node-exporter"])
        assert ours.cluster.is_cordoned("pi4-a")


async def test_drain_waits_for_a_budget_until_its_timeout(kubectl: Kubectl) -> None:
    """The pod behind the budget stays, the others are gone, the node stays cordoned, and the exit code says so."""
    cluster = small_cluster()
    cluster.add_budget("data", "postgres", app="postgres")
    async with SimulatedKubernetes(cluster) as api:
        code, output = await kubectl.run(api, "drain", "pi4-a", *DRAIN, "--timeout=2s")
    assert code == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in output
    assert "global timeout reached: 2s" in output
    assert apps_on(cluster, "pi4-a") == ["kube-vip", "node-exporter", "postgres"]
    assert cluster.is_cordoned("pi4-a")


async def test_drain_refuses_what_it_was_not_told_to_lose(kubectl: Kubectl) -> None:
    """Without its flags it evicts nothing at all, since the simulated pods look like what they are."""
    cluster = small_cluster()
    async with SimulatedKubernetes(cluster) as api:
        before = apps_on(cluster, "pi4-a")
        code, output = await kubectl.run(api, "drain", "pi4-a", "--timeout=2s")
    assert code == 1
    for flag in DRAIN:
        assert f"(use {flag} to override)" in output or f"(use {flag} to ignore)" in output
    assert apps_on(cluster, "pi4-a") == before


async def test_a_dry_run_changes_nothing_for_kubectl_either(kubectl: Kubectl) -> None:
    """It says of each command what it would have done, and the cluster is as it was."""
    cluster = small_cluster()
    async with SimulatedKubernetes(cluster) as api:
        before, version = apps_on(cluster, "pi4-a"), cluster.store.version
        pod = cluster.pod_of("nginx")["metadata"]["name"]
        for command, said in (
            (("cordon", "pi4-a"), "node/pi4-a cordoned (server dry run)"),
            (("drain", "pi4-a", *DRAIN, "--timeout=20s"), "(server dry run)"),
            (("delete", "pod", "--namespace", "web", pod, "--wait=false"), "(server dry run)"),
        ):
            code, output = await kubectl.run(api, *command, "--dry-run=server")
            assert code == 0, output
            assert said in output
        asked = [request for request in api.requests if request.method in {"PATCH", "POST", "DELETE"}]
        assert {request.method for request in asked} >= {"PATCH", "DELETE"}
        assert (apps_on(cluster, "pi4-a"), cluster.store.version) == (before, version)
        assert not cluster.is_cordoned("pi4-a")
        code, output = await kubectl.run(api, "delete", "pod", "--namespace", "web", pod, "--dry-run=client")
        assert (code, cluster.store.version) == (0, version)


async def test_kubectl_sees_in_a_watch_what_happens(kubectl: Kubectl) -> None:
    """What is there, and then each change as it comes."""
    async with SimulatedKubernetes(small_cluster()) as api:
        command = ("get", "pods", "--namespace", "data", "--watch", "--no-headers", "--output-watch-events")
        async with kubectl.running(api, *command) as process:
            assert process.stdout
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                first = (await process.stdout.readline()).decode().split()
                assert first[:4] == ["ADDED", "postgres-0", "1/1", "Running"]
                api.cluster.delete_pod(api.cluster.pod("data", "postgres-0"))
                seen = [(await process.stdout.readline()).decode().split() for _ in range(3)]
        assert [(line[0], line[3]) for line in seen] == [
            ("MODIFIED", "Terminating"),
            ("DELETED", "Terminating"),
            ("ADDED", "Pending"),
        ]


async def test_kubectl_waits_for_what_comes_and_for_what_goes(kubectl: Kubectl) -> None:
    """A condition that is fulfilled later, a deletion, and one that does not come in time."""
    cluster = small_cluster()
    cluster.at(2.5, partial(cluster.add_pod, "web", "late", "pi4-b"))
    cluster.at(3.5, lambda: cluster.delete_pod(cluster.pod("web", "shell"), 0))
    cluster.node_down("pi4-b")
    cluster.at(4.0, lambda: cluster.node_up("pi4-b"))
    async with SimulatedKubernetes(cluster) as api:
        await api.until(lambda: cluster.store.find("pods", "web", "late") is not None)
        ready = ("wait", "--namespace", "web", "pod/late", "--for=condition=Ready", "--timeout=20s")
        gone = ("wait", "--namespace", "web", "pod/shell", "--for=delete", "--timeout=20s")
        never = ("wait", "node/pi4-a", "--for=condition=Ready=False", "--timeout=1s")
        assert await kubectl.run(api, *ready) == (0, "pod/late condition met\n")
        assert (await kubectl.run(api, *gone))[0] == 0
        code, output = await kubectl.run(api, *never)
        assert (code, "timed out waiting for the condition" in output) == (1, True)
        watches = [call for call in api.requests if call.query.get("watch") in ("1", "true")]
        assert watches, "kubectl has waited without a watch"


async def test_kubectl_patches_as_it_says(kubectl: Kubectl) -> None:
    """A strategic merge changes one container of its list and leaves the rest of it; a JSON patch keeps to its test."""
    cluster = small_cluster()
    async with SimulatedKubernetes(cluster) as api:
        image = '{"spec":{"containers":[{"name":"main","image":"registry.local/shell:2"}]}}'
        patch = ("patch", "pod", "shell", "--namespace", "web")
        assert (await kubectl.run(api, *patch, "--patch", '{"metadata":{"labels":{"tier":"one"}}}'))[0] == 0
        assert (await kubectl.run(api, *patch, "--type=strategic", "--patch", image))[0] == 0
        side = '{"spec":{"containers":[{"name":"side","image":"side:1"}]}}'
        assert (await kubectl.run(api, *patch, "--type=strategic", "--patch", side))[0] == 0
        wrong = '[{"op":"test","path":"/metadata/labels/tier","value":"two"},{"op":"remove","path":"/metadata/labels"}]'
        code, output = await kubectl.run(api, *patch, "--type=json", "--patch", wrong)
        assert (code, "the server rejected our request" in output) == (1, True)
        pod = cluster.pod("web", "shell")
        assert {entry["name"]: entry["image"] for entry in pod["spec"]["containers"]} == {
            "main": "registry.local/shell:2",
            "side": "side:1",
        }
        assert pod["metadata"]["labels"] == {"app": "shell", "tier": "one"}
        assert (await kubectl.run(api, "annotate", "node", "pi4-a", "upsd.io/test=yes"))[0] == 0
        assert cluster.node("pi4-a")["metadata"]["annotations"] == {"upsd.io/test": "yes"}
