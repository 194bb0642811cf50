"""The cluster of the reference rack: one k3s server, four ARM workers, and some forty pods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hardware_sim.kubernetes.cluster import SimulatedCluster
from hardware_sim.kubernetes.objects import PodTemplate

SETTLED_S = 60.0
MASTER = "k3s-master"
WORKERS = ("pi4-a", "pi4-b", "pi3", "bananapi")

DEPLOYMENTS = (
    ("home", "zigbee2mqtt", 1),
    ("home", "node-red", 1),
    ("home", "esphome", 1),
    ("home", "grocy", 1),
    ("media", "immich", 1),
    ("media", "jellyfin", 1),
    ("media", "navidrome", 1),
    ("monitoring", "grafana", 1),
    ("web", "nginx", 3),
    ("web", "vaultwarden", 1),
    ("web", "gitea", 1),
    ("web", "miniflux", 1),
    ("web", "paperless", 1),
)
STATEFUL_SETS = (
    ("home", "home-assistant", 5.0),
    ("home", "mosquitto", 0.5),
    ("monitoring", "loki", 2.0),
    ("monitoring", "alertmanager", 0.5),
    ("web", "redis", 0.8),
)


def reference_cluster(*, epoch: datetime | None = None, not_ready_after_s: float = 40.0) -> SimulatedCluster:
    """The rack with everything Running.

    The pod `data/postgres-0` stands behind a budget that never yields, `monitoring/prometheus-0` takes 8 s to stop
    and `web/shell` has no controller.
    """
    epoch = epoch or datetime.now(tz=UTC) - timedelta(seconds=SETTLED_S)
    cluster = SimulatedCluster(epoch=epoch, not_ready_after_s=not_ready_after_s)
    _add_nodes(cluster)
    _add_system(cluster)
    for namespace, name, replicas in DEPLOYMENTS:
        cluster.add_workload("Deployment", namespace, name, PodTemplate(stop_s=0.4), replicas=replicas)
    for namespace, name, stop_s in STATEFUL_SETS:
        cluster.add_workload("StatefulSet", namespace, name, PodTemplate(stop_s=stop_s, grace_s=60))
    _add_special(cluster)
    cluster.advance(SETTLED_S)
    return cluster


def _add_nodes(cluster: SimulatedCluster) -> None:
    roles = ("control-plane", "master")
    server = {f"node-role.kubernetes.io/{role}": "true" for role in roles}
    cluster.add_node(MASTER, architecture="amd64", labels=server)
    for worker in WORKERS:
        cluster.add_node(worker, architecture="arm" if worker == "bananapi" else "arm64")


def _add_system(cluster: SimulatedCluster) -> None:
    on_master = PodTemplate(node=MASTER, stop_s=1.0)
    for name in ("coredns", "local-path-provisioner", "metrics-server", "traefik"):
        cluster.add_workload("Deployment", "kube-system", name, on_master)
    cluster.add_workload("DaemonSet", "kube-system", "svclb-traefik")
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    cluster.add_mirror_pod("kube-system", "kube-vip", MASTER)
    cluster.add_finished_job("kube-system", "helm-install-traefik", MASTER)


def _add_special(cluster: SimulatedCluster) -> None:
    cluster.add_workload("StatefulSet", "data", "postgres", PodTemplate(node="pi4-b", stop_s=3.0, grace_s=120))
    cluster.add_budget("data", "postgres", app="postgres", min_available=1)
    cluster.add_workload("StatefulSet", "monitoring", "prometheus", PodTemplate(node="pi4-a", stop_s=8.0, grace_s=300))
    cluster.add_workload("Deployment", "web", "nextcloud", PodTemplate(empty_dir=True), replicas=2)
    cluster.add_pod("web", "shell", "pi3", PodTemplate(stop_s=0.1))
