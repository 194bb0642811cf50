"""What an API server says about itself: its resources, their groups, and its version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.kubernetes.objects import KUBELET_VERSION

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object that is served."""

    root: str
    plural: str
    kind: str
    short_name: str
    namespaced: bool = True

    @property
    def group_version(self) -> str:
        """`v1`, or `apps/v1`."""
        return self.root.split("/", 1)[1]


RESOURCES = {
    resource.plural: resource
    for resource in (
        Resource("api/v1", "namespaces", "Namespace", "ns", namespaced=False),
        Resource("api/v1", "nodes", "Node", "no", namespaced=False),
        Resource("api/v1", "persistentvolumes", "PersistentVolume", "pv", namespaced=False),
        Resource("api/v1", "pods", "Pod", "po"),
        Resource("api/v1", "secrets", "Secret", ""),
        Resource("api/v1", "serviceaccounts", "ServiceAccount", "sa"),
        Resource("apis/apps/v1", "daemonsets", "DaemonSet", "ds"),
        Resource("apis/apps/v1", "deployments", "Deployment", "deploy"),
        Resource("apis/apps/v1", "replicasets", "ReplicaSet", "rs"),
        Resource("apis/apps/v1", "statefulsets", "StatefulSet", "sts"),
        Resource("apis/batch/v1", "jobs", "Job", "job"),
        Resource("apis/coordination.k8s.io/v1", "leases", "Lease", ""),
        Resource("apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb"),
        Resource(
            "apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", "", namespaced=False
        ),
        Resource("apis/rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", "", namespaced=False),
        Resource("apis/storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", "", namespaced=False),
    )
}
ROOTS = tuple(dict.fromkeys(resource.root for resource in RESOURCES.values()))

VERSION: Object = {
    "major": "1",
    "minor": "31",
    "gitVersion": KUBELET_VERSION,
    "gitTreeState": "clean",
    "goVersion": "go1.22.9",
    "compiler": "gc",
    "platform": "linux/arm64",
}
CORE_VERSIONS: Object = {"kind": "APIVersions", "versions": ["v1"]}


def groups() -> Object:
    """The answer to `/apis`."""
    found = []
    for root in ROOTS[1:]:
        _, name, version = root.split("/")
        entry = {"groupVersion": f"{name}/{version}", "version": version}
        found.append({"name": name, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def resources(root: str) -> Object:
    """The answer to `/api/v1` and its like. The entry for `pods/eviction` tells kubectl that it can evict."""
    found = [
        {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "shortNames": [resource.short_name] * bool(resource.short_name),
            "verbs": ["get", "list", "patch", "watch"] + ["delete"] * (resource.plural == "pods"),
        }
        for resource in RESOURCES.values()
        if resource.root == root
    ]
    if root == "api/v1":
        found.append(
            {
                "name": "pods/eviction",
                "singularName": "",
                "namespaced": True,
                "group": "policy",
                "version": "v1",
                "kind": "Eviction",
                "verbs": ["create"],
            }
        )
    group_version = root.split("/", 1)[1]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": found,
    }
