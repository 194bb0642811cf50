"""The arithmetic of the simulated PodDisruptionBudgets: that of the real controller and the real eviction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, eviction, objects
from hardware_sim.kubernetes.status import Refused

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object


@pytest.fixture
def cluster() -> SimulatedCluster:
    """Two nodes and seven Ready pods of one workload."""
    made = SimulatedCluster(start_s=1.0)
    made.add_node("pi4-a")
    made.add_node("pi4-b")
    made.add_workload("Deployment", "web", "nginx", PodTemplate(stop_s=600.0, grace_s=900), replicas=7)
    made.advance(10.0)
    return made


def evicted(cluster: SimulatedCluster, pods: list[Object]) -> int:
    """How many of the pods may go one after the other."""
    return sum(_is_granted(cluster, pod) for pod in pods)


def _is_granted(cluster: SimulatedCluster, pod: Object) -> bool:
    try:
        eviction.evict(cluster, *objects.full_name(pod), {})
    except Refused as refused:
        if refused.code != 429:
            raise
        return False
    return True


def status_of(cluster: SimulatedCluster) -> list[int]:
    """Expected, desired, healthy, allowed."""
    status = cluster.store.items("poddisruptionbudgets")[0]["status"]
    return [status[key] for key in ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")]


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"min_available": 0}, [7, 0, 7, 7]),
        ({"min_available": 5}, [7, 5, 7, 2]),
        ({"min_available": 9}, [7, 9, 7, 0]),
        ({"min_available": "50%"}, [7, 4, 7, 3]),
        ({"min_available": "100%"}, [7, 7, 7, 0]),
        ({"max_unavailable": 2}, [7, 5, 7, 2]),
        ({"max_unavailable": 9}, [7, 0, 7, 7]),
        ({"max_unavailable": "30%"}, [7, 4, 7, 3]),
        ({"max_unavailable": "0%"}, [7, 7, 7, 0]),
    ],
)
def test_numbers_and_percentages_are_counted(
    cluster: SimulatedCluster, limits: dict[str, int | str], status: list[int]
) -> None:
    """Percentages of what the controller wants, rounded up; while nobody comes back, so many evictions are granted."""
    cluster.add_budget("web", "nginx", app="nginx", **limits)  # type: ignore[arg-type]
    assert status_of(cluster) == status
    for node in ("pi4-a", "pi4-b"):
        found = cluster.node(node)
        found["spec"]["unschedulable"] = True
        cluster.node_changed(found)
    assert evicted(cluster, cluster.pods_on("pi4-a") + cluster.pods_on("pi4-b")) == status[-1]


def test_only_ready_pods_count_as_healthy(cluster: SimulatedCluster) -> None:
    """Neither one that is still starting nor one that is on its way out, though both are there."""
    cluster.add_budget("web", "nginx", app="nginx", min_available=6)
    assert status_of(cluster) == [7, 6, 7, 1]
    cluster.delete_pod(cluster.pod_of("nginx"))
    assert status_of(cluster) == [8, 6, 6, 0]
    cluster.advance(20.0)
    assert status_of(cluster) == [8, 6, 7, 1]


def test_pods_without_a_controller_do_not_count_where_one_is_asked(cluster: SimulatedCluster) -> None:
    """So that a percentage of them is a percentage of nothing, which allows nothing."""
    cluster.add_pod("home", "shell", "pi4-a")
    cluster.add_budget("home", "shell", app="shell", max_unavailable="100%")
    cluster.advance(20.0)
    assert status_of(cluster) == [0, 0, 1, 0]
    assert evicted(cluster, [cluster.pod("home", "shell")]) == 0


@pytest.mark.parametrize(
    ("healthy", "needed", "unready_may_go", "granted"),
    [(2, 2, False, 1), (1, 2, False, 0), (1, 2, True, 1), (0, 0, False, 0), (0, 0, True, 1)],
)
def test_an_unready_pod_may_go_when_the_others_are_enough(
    healthy: int,
    needed: int,
    unready_may_go: bool,  # noqa: FBT001 -- a column of the table
    granted: int,
) -> None:
    """Or always, if the budget says so; a budget that needs none has none to give while nothing is healthy."""
    cluster = SimulatedCluster(start_s=0.0)
    cluster.add_node("pi4-a")
    for number in range(healthy):
        cluster.add_workload("StatefulSet", "data", f"db-{number}")
    cluster.add_workload("StatefulSet", "data", "sick")
    cluster.advance(1.0)
    for pod in cluster.pods_on("pi4-a"):
        pod["metadata"]["labels"]["app"] = "db"
    sick = cluster.pod("data", "sick-0")
    objects.set_ready(sick, "False", "ContainersNotReady", cluster.date())
    cluster.store.put("pods", sick)
    cluster.add_budget("data", "db", app="db", min_available=needed, unready_may_go=unready_may_go)
    assert status_of(cluster)[1:3] == [needed, healthy]
    assert evicted(cluster, [sick]) == granted
