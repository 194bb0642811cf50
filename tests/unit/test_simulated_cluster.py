from __future__ import annotations

import asyncio

import pytest

from hardware_sim.kubernetes import (
    PodTemplate,
    SimulatedCluster,
    SimulatedKubernetes,
    eviction,
    objects,
    patch,
    reference_cluster,
    selectors,
)
from hardware_sim.kubernetes.status import Refused


@pytest.fixture
def cluster() -> SimulatedCluster:
    """Two nodes, no pods."""
    made = SimulatedCluster(start_s=1.0, not_ready_after_s=40.0)
    made.add_node("pi4-a")
    made.add_node("pi4-b")
    return made


def cordon(cluster: SimulatedCluster, *names: str) -> None:
    """Make nodes unschedulable, as a PATCH does."""
    for name in names:
        node = cluster.node(name)
        node["spec"]["unschedulable"] = True
        cluster.node_changed(node)


def uncordon(cluster: SimulatedCluster, name: str) -> None:
    """Make the node schedulable."""
    node = cluster.node(name)
    node["spec"]["unschedulable"] = False
    cluster.node_changed(node)


def test_a_deleted_pod_ends_when_it_has_stopped(cluster: SimulatedCluster) -> None:
    """The pod stays as Terminating for its stop time, with the end of its grace as the date."""
    cluster.add_pod("home", "shell", "pi4-a", PodTemplate(stop_s=2.0, grace_s=30))
    cluster.advance(10.0)
    cluster.delete_pod(cluster.pod("home", "shell"))
    assert cluster.pod("home", "shell")["metadata"]["deletionTimestamp"] == cluster.date(40.0)
    cluster.advance(11.9)
    assert cluster.pods_on("pi4-a")
    cluster.advance(12.0)
    assert not cluster.pods_on("pi4-a")


def test_the_grace_period_cuts_a_slow_stop_short(cluster: SimulatedCluster) -> None:
    """A pod that ignores SIGTERM is killed at the end of its grace."""
    cluster.add_pod("home", "shell", "pi4-a", PodTemplate(stop_s=600.0))
    cluster.advance(10.0)
    cluster.delete_pod(cluster.pod("home", "shell"), 5)
    cluster.advance(15.0)
    assert not cluster.pods_on("pi4-a")


@pytest.mark.parametrize(("second_grace_s", "gone_at"), [(3, 15.0), (300, 30.0)])
def test_a_second_deletion_shortens_the_grace_and_never_extends_it(
    cluster: SimulatedCluster, second_grace_s: int, gone_at: float
) -> None:
    """The end counts from the second request if that is sooner."""
    cluster.add_pod("home", "shell", "pi4-a", PodTemplate(stop_s=600.0))
    cluster.advance(10.0)
    cluster.delete_pod(cluster.pod("home", "shell"), 20)
    cluster.advance(12.0)
    cluster.delete_pod(cluster.pod("home", "shell"), second_grace_s)
    cluster.advance(gone_at - 0.1)
    assert cluster.pods_on("pi4-a")
    cluster.advance(gone_at)
    assert not cluster.pods_on("pi4-a")


def test_a_stuck_pod_outlives_its_grace_and_leaves_only_by_force(cluster: SimulatedCluster) -> None:
    """As with a process that hangs on a dead NFS server."""
    cluster.add_pod("home", "shell", "pi4-a", PodTemplate(stuck=True, grace_s=5))
    cluster.delete_pod(cluster.pod("home", "shell"))
    cluster.advance(3600.0)
    assert cluster.pods_on("pi4-a")
    cluster.delete_pod(cluster.pod("home", "shell"), 0)
    assert not cluster.pods_on("pi4-a")


def test_a_replica_set_replaces_at_once_under_a_new_name(cluster: SimulatedCluster) -> None:
    """The successor does not wait for the pod that is on its way out."""
    cluster.add_workload("Deployment", "web", "nginx", PodTemplate(stop_s=5.0))
    cluster.advance(10.0)
    old = cluster.pod_of("nginx")
    cluster.delete_pod(old)
    names = {pod["metadata"]["name"] for pod in cluster.store.items("pods")}
    assert len(names) == 2
    assert old["metadata"]["name"] in names


def test_a_stateful_set_replaces_under_the_same_name_when_the_pod_is_gone(cluster: SimulatedCluster) -> None:
    """Only the UID tells the successor from the pod before it."""
    cluster.add_workload("StatefulSet", "data", "postgres", PodTemplate(stop_s=5.0))
    cluster.advance(10.0)
    old = cluster.pod("data", "postgres-0")
    cluster.delete_pod(old)
    cluster.advance(14.9)
    assert cluster.pod("data", "postgres-0") is old
    cluster.advance(15.0)
    assert cluster.pod("data", "postgres-0")["metadata"]["uid"] != old["metadata"]["uid"]


def test_a_daemon_set_comes_back_on_its_node_in_spite_of_a_cordon(cluster: SimulatedCluster) -> None:
    """Which is why a drain leaves its pods alone."""
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    cluster.advance(10.0)
    cordon(cluster, "pi4-a")
    (pod,) = cluster.pods_on("pi4-a")
    cluster.delete_pod(pod)
    cluster.advance(20.0)
    (successor,) = cluster.pods_on("pi4-a")
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]


def test_nothing_is_scheduled_while_every_node_is_cordoned(cluster: SimulatedCluster) -> None:
    """Evicted workloads wait as Pending for the uncordon, and start then."""
    cluster.add_workload("Deployment", "web", "nginx")
    cluster.advance(10.0)
    cordon(cluster, "pi4-a", "pi4-b")
    cluster.delete_pod(cluster.pod_of("nginx"))
    cluster.advance(3600.0)
    pod = cluster.pod_of("nginx")
    assert (pod["status"]["phase"], objects.node_of(pod)) == ("Pending", "")
    uncordon(cluster, "pi4-b")
    cluster.advance(3601.0)
    assert objects.is_ready(cluster.pod_of("nginx"))
    assert objects.node_of(cluster.pod_of("nginx")) == "pi4-b"


def test_a_node_without_power_ends_no_pods_until_it_is_back(cluster: SimulatedCluster) -> None:
    """The API goes on showing what the kubelet said last."""
    cluster.add_pod("home", "shell", "pi4-a", PodTemplate(stop_s=1.0, grace_s=5))
    cluster.advance(10.0)
    cluster.node_down("pi4-a")
    cluster.delete_pod(cluster.pod("home", "shell"))
    cluster.advance(600.0)
    assert cluster.pods_on("pi4-a")
    cluster.node_up("pi4-a")
    cluster.advance(600.0)
    assert not cluster.pods_on("pi4-a")


def test_a_dead_node_is_noticed_after_a_while(cluster: SimulatedCluster) -> None:
    """Ready turns to unknown with the configured delay, and back when the machine has booted."""
    cluster.advance(10.0)
    booted = cluster.node("pi4-a")["status"]["nodeInfo"]["bootID"]
    cluster.node_down("pi4-a")
    cluster.advance(49.9)
    assert objects.is_ready(cluster.node("pi4-a"))
    cluster.advance(50.0)
    assert not objects.is_ready(cluster.node("pi4-a"))
    cluster.node_up("pi4-a")
    assert objects.is_ready(cluster.node("pi4-a"))
    assert cluster.node("pi4-a")["status"]["nodeInfo"]["bootID"] != booted


def test_a_quick_reboot_is_never_noticed(cluster: SimulatedCluster) -> None:
    """The first absence does not count for the second."""
    cluster.node_down("pi4-a")
    cluster.advance(30.0)
    cluster.node_up("pi4-a")
    cluster.advance(39.0)
    cluster.node_down("pi4-a")
    cluster.advance(45.0)
    assert objects.is_ready(cluster.node("pi4-a"))


async def test_time_passes_by_itself_while_the_cluster_is_served() -> None:
    """A dead node is noticed without anybody asking the API, and not while the API is off."""
    cluster = SimulatedCluster(not_ready_after_s=0.05)
    cluster.add_node("pi3")
    async with SimulatedKubernetes(cluster, tls=False) as api:
        cluster.node_down("pi3")
        await api.until(lambda: not objects.is_ready(cluster.node("pi3")))
    stopped_at = cluster.now
    assert stopped_at >= 0.05
    await asyncio.sleep(0)
    assert cluster.now == stopped_at


def refusal_of_eviction(cluster: SimulatedCluster, namespace: str, name: str) -> Refused:
    """The answer to an eviction that must be refused."""
    with pytest.raises(Refused) as caught:
        eviction.evict(cluster, namespace, name, {})
    return caught.value


def test_a_budget_refuses_as_a_real_server_does(cluster: SimulatedCluster) -> None:
    """429 with the cause DisruptionBudget."""
    cluster.add_workload("StatefulSet", "data", "postgres")
    cluster.add_budget("data", "postgres", app="postgres")
    cluster.advance(10.0)
    refused = refusal_of_eviction(cluster, "data", "postgres-0")
    assert refused.code == 429
    assert refused.status["details"]["causes"][0]["reason"] == "DisruptionBudget"


def test_a_budget_with_room_lets_one_pod_go_at_a_time(cluster: SimulatedCluster) -> None:
    """The second eviction waits until the first one's successor is Ready."""
    cluster.add_workload("StatefulSet", "data", "postgres", replicas=2)
    cluster.add_budget("data", "postgres", app="postgres", min_available=1)
    cluster.advance(10.0)
    eviction.evict(cluster, "data", "postgres-0", {})
    assert refusal_of_eviction(cluster, "data", "postgres-1").code == 429
    cluster.advance(20.0)
    eviction.evict(cluster, "data", "postgres-1", {})
    assert objects.is_terminating(cluster.pod("data", "postgres-1"))


def test_two_budgets_for_one_pod_are_an_error_without_a_reason(cluster: SimulatedCluster) -> None:
    """The one answer that is told from a server's failure by what it lacks."""
    cluster.add_workload("StatefulSet", "data", "postgres")
    cluster.add_budget("data", "one", app="postgres")
    cluster.add_budget("data", "two", app="postgres")
    cluster.advance(10.0)
    refused = refusal_of_eviction(cluster, "data", "postgres-0")
    assert refused.code == 500
    assert "reason" not in refused.status
    assert "details" not in refused.status


def test_a_terminating_namespace_refuses_evictions_but_no_deletions(cluster: SimulatedCluster) -> None:
    """An eviction is a creation; a deletion is not."""
    cluster.add_workload("StatefulSet", "data", "postgres")
    cluster.advance(10.0)
    cluster.terminate_namespace("data")
    refused = refusal_of_eviction(cluster, "data", "postgres-0")
    assert refused.code == 403
    assert refused.status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    eviction.delete(cluster, "data", "postgres-0", {})
    assert objects.is_terminating(cluster.pod("data", "postgres-0"))


def test_finished_pods_leave_at_once_whatever_the_budget_says(cluster: SimulatedCluster) -> None:
    """There is nothing left of them that could be disrupted."""
    cluster.add_finished_job("data", "backup", "pi4-a")
    cluster.add_budget("data", "backup", app="backup")
    eviction.evict(cluster, "data", cluster.pod_of("backup")["metadata"]["name"], {})
    assert not cluster.pods_on("pi4-a")


def test_a_precondition_protects_the_successor(cluster: SimulatedCluster) -> None:
    """An eviction that means another UID is a conflict."""
    cluster.add_workload("StatefulSet", "data", "postgres")
    cluster.advance(10.0)
    body = {"deleteOptions": {"preconditions": {"uid": "another"}}}
    with pytest.raises(Refused) as caught:
        eviction.evict(cluster, "data", "postgres-0", body)
    assert caught.value.code == 409
    assert not objects.is_terminating(cluster.pod("data", "postgres-0"))


def test_a_dry_run_evicts_nothing(cluster: SimulatedCluster) -> None:
    """It answers as the eviction would."""
    cluster.add_workload("StatefulSet", "data", "postgres")
    cluster.advance(10.0)
    eviction.evict(cluster, "data", "postgres-0", {"deleteOptions": {"dryRun": ["All"]}})
    assert not objects.is_terminating(cluster.pod("data", "postgres-0"))


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("merge-patch", {"metadata": {"resourceVersion": "1"}}, 409),
        ("strategic-merge-patch", {"metadata": {"uid": "another"}}, 422),
        ("json-patch", [{"op": "test", "path": "/metadata/name", "value": "pi3"}], 422),
        ("json-patch", [{"op": "remove", "path": "/spec/unschedulable"}], 422),
        ("apply-patch", {}, 415),
    ],
)
def test_patches_are_refused_as_a_real_server_refuses_them(
    cluster: SimulatedCluster, kind: str, body: object, code: int
) -> None:
    """And the node stays as it was."""
    before = dict(cluster.node("pi4-a")["metadata"])
    with pytest.raises(Refused) as caught:
        patch.patched("nodes", cluster.node("pi4-a"), f"application/{kind}+json", body)
    assert caught.value.code == code
    assert cluster.node("pi4-a")["metadata"] == before


def test_a_json_patch_changes_what_its_tests_allow(cluster: SimulatedCluster) -> None:
    """Keys with a slash are escaped in its paths."""
    body = [
        {"op": "test", "path": "/metadata/name", "value": "pi4-a"},
        {"op": "add", "path": "/metadata/annotations/upsd.io~1mark", "value": "yes"},
        {"op": "replace", "path": "/spec/providerID", "value": "other"},
    ]
    result = patch.patched("nodes", cluster.node("pi4-a"), patch.JSON_TYPE, body)
    assert result["metadata"]["annotations"] == {"upsd.io/mark": "yes"}
    assert result["spec"]["providerID"] == "other"


def test_selectors_pick_by_fields_and_labels() -> None:
    """Equality, inequality and presence, as kubectl writes them."""
    pods = reference_cluster().store.items("pods")

    def count(**query: str) -> int:
        return len(selectors.selected(pods, query))

    assert count(fieldSelector="spec.nodeName=pi3,metadata.name=shell") == 1
    assert count(labelSelector="app=nginx") == 3
    assert count(labelSelector="app!=nginx") == len(pods) - 3
    assert count(labelSelector="app") == len(pods)
    with pytest.raises(Refused):
        count(fieldSelector="spec.hostname=pi3")


def test_pages_together_are_the_whole_list() -> None:
    """No pod is lost or doubled between pages."""
    pods = reference_cluster().store.items("pods")
    first, token = selectors.page(pods, {"limit": "30"})
    second, end = selectors.page(pods, {"limit": "30", "continue": token})
    assert first + second == pods
    assert (len(first), end) == (30, "")


def test_the_reference_rack_is_all_running() -> None:
    """Five nodes and some forty pods, among them each sort that a drain treats differently."""
    cluster = reference_cluster()
    assert len(cluster.store.items("nodes")) == 5
    pods = cluster.store.items("pods")
    assert 40 <= len(pods) <= 50
    assert all(objects.is_ready(pod) or objects.is_finished(pod) for pod in pods)
    assert any(objects.MIRROR in pod["metadata"]["annotations"] for pod in pods)
    assert any(objects.is_finished(pod) for pod in pods)
    assert refusal_of_eviction(cluster, "data", "postgres-0").code == 429
