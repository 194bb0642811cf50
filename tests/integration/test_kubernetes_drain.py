"""What a drain asks of the adapter to the Kubernetes API, over HTTPS, against the simulated cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import PodTemplate, SimulatedKubernetes, objects
from tests.integration.kubeconfigs import plain_kubeconfig
from upsd.domain.rack import EvictionAnswer, Pod, ServerBusyError, Workload
from upsd.rack.kubernetes import KubernetesCluster
from upsd.rack.kubernetes.workloads import REPLICAS_MARK

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.domain.rack import Cluster

TIMEOUT_S = 5.0


async def pod_named(rack: Cluster, name: str) -> Pod:
    """The pod on `pi4-a` whose name begins so."""
    return next(pod for pod in await rack.pods("pi4-a") if pod.name.startswith(name))


def patches(api: SimulatedKubernetes) -> int:
    """How many changes to objects were asked for."""
    return sum(request.method == "PATCH" for request in api.requests)


async def test_the_pods_of_all_nodes_come_in_one_list(api: SimulatedKubernetes, rack: Cluster) -> None:
    """With the node of each, and without those that no node has taken."""
    for node in await rack.nodes():
        await rack.cordon(node.name, "outage-1")
    await rack.delete(await pod_named(rack, "nginx"), 1)
    await api.until(lambda: any(not objects.node_of(pod) for pod in api.cluster.store.items("pods")))
    asked = len(api.requests)
    pods = await rack.pods()
    assert len(api.requests) == asked + 1
    assert {pod.node for pod in pods} == {"pi4-a", "pi4-b"}
    assert sorted(pod.uid for pod in pods if pod.node == "pi4-a") == sorted(p.uid for p in await rack.pods("pi4-a"))


async def test_pods_show_what_a_tier_asks_of_them(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Labels, the priority class, and whether a StatefulSet keeps it."""
    template = PodTemplate(node="pi4-a", labels={"tier": "store"}, priority_class="system-cluster-critical")
    api.cluster.add_pod("storage", "csi", "pi4-a", template)
    csi = await pod_named(rack, "csi")
    assert (csi.labels, csi.priority_class) == ({"tier": "store", "app": "csi"}, "system-cluster-critical")
    assert [pod.name for pod in await rack.pods("pi4-a") if pod.stateful_set] == ["postgres-0"]


async def test_volumes_are_traced_to_their_file_servers(api: SimulatedKubernetes, rack: Cluster) -> None:
    """By an NFS volume, by a driver for NFS or SMB; what is on no file server is not listed."""
    volumes = api.cluster.add_volume
    volumes("a", ("web", "photos"), {"nfs": {"server": "192.168.7.20", "path": "/photos"}})
    volumes("b", ("web", "films"), {"csi": {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas.lan"}}})
    volumes("c", ("web", "books"), {"csi": {"driver": "smb.csi.k8s.io", "volumeAttributes": {"source": "//nas/books"}}})
    volumes("d", ("data", "postgres"), {"hostPath": {"path": "/var/lib/rancher"}})
    volumes("e", ("data", "longhorn"), {"csi": {"driver": "driver.longhorn.io"}})
    assert await rack.file_servers() == {"web/photos": "192.168.7.20", "web/films": "nas.lan", "web/books": "nas"}


async def test_a_pods_volumes_are_seen_in_each_form(api: SimulatedKubernetes, rack: Cluster) -> None:
    """An export of its own, a claim, and a claim that is made for it."""
    own = {"name": "own", "nfs": {"server": "192.168.7.20", "path": "/music"}}
    template = PodTemplate(volumes=(own, objects.claim_volume("films"), {"name": "scratch", "ephemeral": {}}))
    api.cluster.add_pod("media", "jellyfin", "pi4-a", template)
    pod = await pod_named(rack, "jellyfin")
    assert pod.file_servers == ("192.168.7.20",)
    assert pod.claims == ("media/films", "media/jellyfin-scratch")


@pytest.mark.parametrize(
    ("workload", "plural"),
    [
        (Workload("Deployment", "web", "nginx"), "deployments"),
        (Workload("StatefulSet", "data", "postgres"), "statefulsets"),
    ],
)
async def test_a_workload_is_scaled_to_zero_and_back_with_its_replicas_written_on_it(
    api: SimulatedKubernetes, rack: Cluster, workload: Workload, plural: str
) -> None:
    """In one change each way; a second time there is nothing to do."""
    found = api.cluster.store.get(plural, workload.namespace, workload.name)
    found["spec"]["replicas"] = 3
    for _ in range(2):
        assert await rack.scale_to_zero(workload)
        found = api.cluster.store.get(plural, workload.namespace, workload.name)
        assert (found["spec"]["replicas"], found["metadata"]["annotations"]) == (0, {REPLICAS_MARK: "3"})
    assert await rack.scale_back(workload)
    assert not await rack.scale_back(workload)
    found = api.cluster.store.get(plural, workload.namespace, workload.name)
    assert (found["spec"]["replicas"], found["metadata"]["annotations"]) == (3, {})
    assert patches(api) == 2


async def test_a_workload_that_ran_no_pods_is_not_ours_to_scale_back(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Nor one that is no more, nor one that somebody has scaled since: there only the mark goes."""
    nginx = Workload("Deployment", "web", "nginx")
    found = api.cluster.store.get("deployments", "web", "nginx")
    found["spec"]["replicas"] = 0
    assert not await rack.scale_to_zero(nginx)
    assert not await rack.scale_back(nginx)
    assert not await rack.scale_back(Workload("Deployment", "web", "gone"))
    assert patches(api) == 0
    found["spec"]["replicas"], found["metadata"]["annotations"] = 5, {REPLICAS_MARK: "3"}
    assert await rack.scale_back(nginx)
    found = api.cluster.store.get("deployments", "web", "nginx")
    assert (found["spec"]["replicas"], found["metadata"]["annotations"]) == (5, {})


async def test_an_eviction_can_carry_a_grace_of_its_own(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Where there is less time than the pod would like."""
    assert await rack.evict(await pod_named(rack, "postgres"), 12) is EvictionAnswer.ACCEPTED
    assert api.cluster.pod("data", "postgres-0")["metadata"]["deletionGracePeriodSeconds"] == 12


async def test_a_server_with_too_much_to_do_is_told_from_a_budget(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Its 429 names no budget: the pod is not refused, and nothing may escalate because of it."""
    pod = await pod_named(rack, "postgres")
    api.faults.refuse(429)
    with pytest.raises(ServerBusyError, match="is too busy to evict pods") as evicting:
        await rack.evict(pod)
    assert evicting.value.retry_after_s == 1.0
    with pytest.raises(ServerBusyError, match="is too busy to list pods"):
        await rack.pods()


@pytest.mark.parametrize(
    ("header", "details", "retry_after_s"),
    [("Retry-After: 7\r\n", "", 7.0), ("", '"details":{"retryAfterSeconds":4},', 4.0)],
)
async def test_a_busy_server_says_for_how_long(tmp_path: Path, header: str, details: str, retry_after_s: float) -> None:
    """In the header, as the API server does it, or in the body."""
    status = f'{{"kind":"Status","apiVersion":"v1","status":"Failure",{details}"reason":"TooManyRequests","code":429}}'
    head = f"HTTP/1.1 429 Too Many Requests\r\n{header}Content-Type: application/json\r\n"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}Content-Length: {len(status)}\r\n\r\n{status}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        rack = KubernetesCluster(plain_kubeconfig(tmp_path, server), TIMEOUT_S)
        with pytest.raises(ServerBusyError) as caught:
            await rack.pods()
    assert caught.value.retry_after_s == retry_after_s
