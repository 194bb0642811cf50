"""A table of clusters to drain, and in what kubectl's drain and ours differ on each.

The difference is counted by workload (`namespace/app`): pods that only we end, since an outage waits neither for a
budget that will never yield nor for a namespace's own end, and pods that only kubectl ends, since finished pods hold
neither processes nor volumes and are none of our business.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = ("pi4-a", "pi4-b")
QUICK = PodTemplate(stop_s=0.05)
SEEDS = range(8)


@dataclass(frozen=True)
class Case:
    """A cluster, and the intended difference."""

    name: str
    build: Callable[[SimulatedCluster], None]
    only_ours: Counter[str] = field(default_factory=Counter)
    only_theirs: Counter[str] = field(default_factory=Counter)
    yields: bool = True
    """Whether kubectl gets all that it asks for; if not, it waits until its time is over."""
    seed: int = 1

    def cluster(self) -> SimulatedCluster:
        """A copy of its own, the same each time, with everything Running."""
        cluster = SimulatedCluster(seed=self.seed, start_s=0.0)
        for node in NODES:
            cluster.add_node(node)
        self.build(cluster)
        cluster.advance(max(1.0, cluster.now))
        return cluster


def nothing(_: SimulatedCluster) -> None:
    """Nodes without pods."""


def daemon_sets(cluster: SimulatedCluster) -> None:
    """They tolerate a cordon and would be back at once."""
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter", QUICK)
    cluster.add_workload("DaemonSet", "kube-system", "svclb-traefik", QUICK)


def mirror_pods(cluster: SimulatedCluster) -> None:
    """The kubelet's own."""
    cluster.add_mirror_pod("kube-system", "kube-vip", "pi4-a")
    cluster.add_workload("Deployment", "web", "nginx", QUICK)


def finished_pods(cluster: SimulatedCluster) -> None:
    """What Jobs have left behind, on both nodes."""
    cluster.add_finished_job("web", "migrate", "pi4-a")
    cluster.add_finished_job("kube-system", "helm-install", "pi4-b")
    cluster.add_workload("Deployment", "web", "nginx", QUICK)


def terminating_pods(cluster: SimulatedCluster) -> None:
    """One is on its way out already, and gets there in a second."""
    cluster.add_workload("Deployment", "web", "nginx", PodTemplate(stop_s=2.0))
    cluster.advance(1.0)
    cluster.delete_pod(cluster.pod_of("nginx"))
    cluster.advance(2.0)


def terminating_pod_with_a_budget(cluster: SimulatedCluster) -> None:
    """No budget is asked for a pod that goes anyway, and its successor is bound to no node."""
    cluster.add_workload("StatefulSet", "data", "postgres", PodTemplate(stop_s=8.0))
    cluster.add_budget("data", "postgres", app="postgres")
    cluster.advance(1.0)
    cluster.delete_pod(cluster.pod_of("postgres"))
    cluster.advance(2.0)


def bare_pods(cluster: SimulatedCluster) -> None:
    """Nobody will make another."""
    cluster.add_pod("web", "shell", "pi4-a", QUICK)
    cluster.add_pod("home", "debug", "pi4-b", QUICK)


def empty_dirs(cluster: SimulatedCluster) -> None:
    """Their data goes with them."""
    cluster.add_workload("Deployment", "web", "cache", PodTemplate(stop_s=0.05, empty_dir=True), replicas=2)


def stateful_sets(cluster: SimulatedCluster) -> None:
    """The successor, Pending for ever, has the name of the pod before it."""
    cluster.add_workload("StatefulSet", "data", "postgres", QUICK, replicas=3)
    cluster.add_workload("StatefulSet", "home", "mosquitto", QUICK)


def budget_that_allows_all(cluster: SimulatedCluster) -> None:
    """It asks for none."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK, replicas=3)
    cluster.add_budget("web", "nginx", app="nginx", min_available=0)


def budget_that_yields_later(cluster: SimulatedCluster) -> None:
    """Somebody takes it away a second after the drain has begun."""
    cluster.add_workload("StatefulSet", "data", "postgres", QUICK)
    cluster.add_budget("data", "postgres", app="postgres")
    cluster.at(2.0, lambda: cluster.remove_budget("data", "postgres"))


def budget_that_never_yields(cluster: SimulatedCluster) -> None:
    """The only pod of a database."""
    cluster.add_workload("StatefulSet", "data", "postgres", QUICK)
    cluster.add_budget("data", "postgres", app="postgres")
    cluster.add_workload("Deployment", "web", "nginx", QUICK)


def budget_that_yields_in_part(cluster: SimulatedCluster) -> None:
    """One of three may go, and with every node cordoned none comes back for it."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK, replicas=3)
    cluster.add_budget("web", "nginx", app="nginx", min_available=2)


def budget_of_a_percentage(cluster: SimulatedCluster) -> None:
    """Half of three is two, rounded up."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK, replicas=3)
    cluster.add_budget("web", "nginx", app="nginx", min_available="50%")


def one_missing_at_a_time(cluster: SimulatedCluster) -> None:
    """The first may go."""
    cluster.add_workload("StatefulSet", "data", "etcd", QUICK, replicas=3)
    cluster.add_budget("data", "etcd", app="etcd", max_unavailable=1)


def all_may_be_missing(cluster: SimulatedCluster) -> None:
    """As a percentage."""
    cluster.add_workload("StatefulSet", "data", "etcd", QUICK, replicas=3)
    cluster.add_budget("data", "etcd", app="etcd", max_unavailable="100%")


def two_budgets(cluster: SimulatedCluster) -> None:
    """An eviction gets past one, and never past two."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK)
    cluster.add_budget("web", "nginx", app="nginx", min_available=0)
    cluster.add_budget("web", "also-nginx", app="nginx", min_available=0)


def budget_of_another_namespace(cluster: SimulatedCluster) -> None:
    """Which says nothing about these pods."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK)
    cluster.add_budget("data", "nginx", app="nginx")


def terminating_namespace(cluster: SimulatedCluster) -> None:
    """It takes no evictions any more, and its pods are not deleted yet."""
    cluster.add_workload("Deployment", "old", "nginx", QUICK)
    cluster.advance(1.0)
    cluster.terminate_namespace("old")


def terminating_namespace_and_pods(cluster: SimulatedCluster) -> None:
    """Its pods are on their way out as well."""
    cluster.add_pod("old", "shell", "pi4-a", PodTemplate(stop_s=2.0))
    cluster.advance(1.0)
    cluster.terminate_namespace("old")
    cluster.delete_pod(cluster.pod_of("shell"))


def slow_pods(cluster: SimulatedCluster) -> None:
    """They take most of their grace period."""
    cluster.add_workload("Deployment", "web", "gitea", PodTemplate(stop_s=2.5, grace_s=30))
    cluster.add_workload("StatefulSet", "data", "redis", PodTemplate(stop_s=1.5, grace_s=30))


def pods_that_ignore_sigterm(cluster: SimulatedCluster) -> None:
    """They end by SIGKILL when their grace period is over."""
    cluster.add_workload("Deployment", "web", "gitea", PodTemplate(stop_s=600.0, grace_s=2), replicas=2)


def pods_without_grace(cluster: SimulatedCluster) -> None:
    """Of which the API forgets at once."""
    cluster.add_workload("Deployment", "web", "gitea", PodTemplate(stop_s=1.0, grace_s=0))


def stuck_pods(cluster: SimulatedCluster) -> None:
    """Neither drain gets rid of a process that not even SIGKILL ends."""
    cluster.add_pod("media", "immich", "pi4-a", PodTemplate(stuck=True, grace_s=1))
    cluster.add_workload("Deployment", "web", "nginx", QUICK)


def an_empty_node(cluster: SimulatedCluster) -> None:
    """Beside one that has all."""
    cluster.add_workload("Deployment", "web", "nginx", PodTemplate(stop_s=0.05, node="pi4-b"), replicas=3)


def cordoned_before(cluster: SimulatedCluster) -> None:
    """One node by somebody else; it is drained all the same."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK, replicas=4)
    node = cluster.node("pi4-a")
    node["spec"]["unschedulable"] = True
    cluster.node_changed(node)


def pending_pods(cluster: SimulatedCluster) -> None:
    """No node will have it, so no drain meets it."""
    cluster.add_workload("Deployment", "web", "nginx", PodTemplate(node="pi9"))
    cluster.add_workload("Deployment", "home", "grocy", QUICK)


def more_pods_than_a_page(cluster: SimulatedCluster) -> None:
    """The tests ask for pages of five."""
    cluster.add_workload("Deployment", "web", "nginx", QUICK, replicas=16)


def drawn(seed: int) -> Case:
    """Pods of every sort and budgets of every strictness, drawn from the seed."""
    draw = random.Random(seed)
    only_ours, only_theirs = Counter[str](), Counter[str]()
    acts: list[Callable[[SimulatedCluster], object]] = []
    for number in range(draw.randint(1, 4)):
        app, replicas = f"app-{number}", draw.randint(1, 3)
        kind = draw.choice(("Deployment", "StatefulSet"))
        template = PodTemplate(
            stop_s=draw.uniform(0.0, 1.0), grace_s=draw.choice((1, 30)), empty_dir=draw.random() < 0.3
        )
        acts.append(_workload(kind, app, template, replicas))
        budgets = draw.choice((0, 0, 1, 2))
        needed = draw.randint(0, replicas)
        acts.extend(_budget(f"{app}-{budget}", app, needed) for budget in range(budgets))
        only_ours[f"web/{app}"] = (0, needed, replicas)[budgets]
    for number in range(draw.randint(0, 2)):
        only_theirs[f"jobs/job-{number}"] = 1
        acts.append(_job(f"job-{number}", draw.choice(NODES)))
    if draw.random() < 0.5:
        acts.append(daemon_sets)
    if draw.random() < 0.5:
        acts.append(bare_pods)

    def build(cluster: SimulatedCluster) -> None:
        for act in acts:
            act(cluster)

    return Case(f"drawn {seed}", build, +only_ours, only_theirs, not +only_ours, seed)


def _workload(kind: str, app: str, template: PodTemplate, replicas: int) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.add_workload(kind, "web", app, template, replicas=replicas)


def _budget(name: str, app: str, needed: int) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.add_budget("web", name, app=app, min_available=needed)


def _job(name: str, node: str) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.add_finished_job("jobs", name, node)


CASES = (
    Case("nothing", nothing),
    Case("DaemonSets", daemon_sets),
    Case("mirror pods", mirror_pods),
    Case(
        "finished pods",
        finished_pods,
        only_theirs=Counter({"web/migrate": 1, "kube-system/helm-install": 1}),
    ),
    Case("terminating pods", terminating_pods),
    Case("a terminating pod with a budget", terminating_pod_with_a_budget),
    Case("bare pods", bare_pods),
    Case("emptyDirs", empty_dirs),
    Case("StatefulSets", stateful_sets),
    Case("a budget that allows all", budget_that_allows_all),
    Case("a budget that yields later", budget_that_yields_later),
    Case("a budget that never yields", budget_that_never_yields, only_ours=Counter({"data/postgres": 1}), yields=False),
    Case("a budget that yields in part", budget_that_yields_in_part, only_ours=Counter({"web/nginx": 2}), yields=False),
    Case("a budget of a percentage", budget_of_a_percentage, only_ours=Counter({"web/nginx": 2}), yields=False),
    Case("one missing at a time", one_missing_at_a_time, only_ours=Counter({"data/etcd": 2}), yields=False),
    Case("all may be missing", all_may_be_missing),
    Case("two budgets", two_budgets, only_ours=Counter({"web/nginx": 1}), yields=False),
    Case("a budget of another namespace", budget_of_another_namespace),
    Case("a terminating namespace", terminating_namespace, only_ours=Counter({"old/nginx": 1}), yields=False),
    Case("a terminating namespace and its pods", terminating_namespace_and_pods),
    Case("slow pods", slow_pods),
    Case("pods that ignore SIGTERM", pods_that_ignore_sigterm),
    Case("pods without grace", pods_without_grace),
    Case("stuck pods", stuck_pods, yields=False),
    Case("an empty node", an_empty_node),
    Case("a node cordoned before", cordoned_before),
    Case("pending pods", pending_pods),
    Case("more pods than a page", more_pods_than_a_page),
    *map(drawn, SEEDS),
)
