"""Kubernetes objects as the JSON that the API serves, and the few questions that are asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

KUBELET_VERSION = "v1.31.4+k3s1"
LEASE_NAMESPACE = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"
STOP_SECONDS = "simulation.upsd.io/stop-seconds"
"""Annotation: how long the pod takes to stop after SIGTERM."""
STUCK = "simulation.upsd.io/stuck"
"""Annotation: the pod does not even end on SIGKILL, as with a process that hangs on a dead NFS server."""


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What the pods of a workload are like."""

    grace_s: int = 30
    stop_s: float = 0.3
    """From SIGTERM to the end of the pod; the grace period cuts it short."""
    stuck: bool = False
    empty_dir: bool = False
    node: str = ""
    """The only node it can run on (as with a local-path volume); any, if empty."""
    labels: dict[str, str] = field(default_factory=dict)
    """Beside `app`."""
    priority_class: str = ""
    volumes: tuple[Object, ...] = ()


def metadata(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    """The metadata of a new object; the cluster adds the UID and the dates."""
    found: Object = {"name": name, "labels": labels or {}, "annotations": {}}
    return found | {"namespace": namespace} if namespace else found


def node(name: str, architecture: str, address: str, labels: dict[str, str]) -> Object:
    """A node that is Ready."""
    own = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": architecture,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "k3s",
    }
    room = {"cpu": "4", "memory": "3884364Ki", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata(name, labels=own | labels),
        "spec": {"providerID": f"k3s://{name}"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "capacity": room,
            "allocatable": room,
            "conditions": [],
            "nodeInfo": {
                "architecture": architecture,
                "operatingSystem": "linux",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "kernelVersion": "6.6.62",
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": KUBELET_VERSION,
                "machineID": name,
                "systemUUID": name,
                "containerRuntimeVersion": "containerd://1.7.23-k3s2",
            },
        },
    }


def pod(namespace: str, name: str, template: PodTemplate, labels: dict[str, str]) -> Object:
    """A pod that no node runs yet."""
    described = metadata(name, namespace, template.labels | labels)
    described["annotations"][STOP_SECONDS] = str(template.stop_s)
    if template.stuck:
        described["annotations"][STUCK] = "true"
    spec: Object = {
        "containers": [{"name": "main", "image": f"registry.local/{labels.get('app', name)}:1"}],
        "terminationGracePeriodSeconds": template.grace_s,
        "volumes": [{"name": "scratch", "emptyDir": {}}] * template.empty_dir + list(template.volumes),
    }
    if template.priority_class:
        spec["priorityClassName"] = template.priority_class
    if template.node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": template.node}
    status = {"phase": "Pending", "conditions": []}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": described, "spec": spec, "status": status}


def workload(kind: str, namespace: str, name: str, replicas: int | None) -> Object:
    """A controller of pods in the group `apps`; `replicas` is `None` for a DaemonSet."""
    labels = {"app": name}
    spec: Object = {"selector": {"matchLabels": labels}}
    if replicas is not None:
        spec["replicas"] = replicas
    described = metadata(name, namespace, labels)
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": described, "spec": spec, "status": {}}


def budget(namespace: str, name: str, app: str, limits: Object) -> Object:
    """A PodDisruptionBudget for the pods labelled `app=…`; `limits` are the other fields of its spec."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, namespace),
        "spec": limits | {"selector": {"matchLabels": {"app": app}}},
        "status": {},
    }


def volume_attachment(volume: str, node: str) -> Object:
    """A VolumeAttachment of a PersistentVolume."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": metadata(f"csi-{volume}"),
        "spec": {"attacher": "nfs.csi.k8s.io", "nodeName": node, "source": {"persistentVolumeName": volume}},
        "status": {"attached": True},
    }


def lease(node: str, duration_s: int) -> Object:
    """The Lease that a node's kubelet renews."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata(node, LEASE_NAMESPACE),
        "spec": {"holderIdentity": node, "leaseDurationSeconds": duration_s},
    }


def persistent_volume(name: str, claim: tuple[str, str], source: Object) -> Object:
    """A PersistentVolume bound to a claim (namespace and name); `source` is its `nfs`, its `csi` or another one."""
    namespace, claimed = claim
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claimed}
    spec = {"capacity": {"storage": "8Gi"}, "accessModes": ["ReadWriteMany"], "claimRef": reference} | source
    described = metadata(name)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": described,
        "spec": spec,
        "status": {"phase": "Bound"},
    }


def claim_volume(claim: str) -> Object:
    """A pod's volume that is a claim."""
    return {"name": claim, "persistentVolumeClaim": {"claimName": claim}}


def owned_by(child: Object, owner: Object) -> Object:
    """The child with the owner as its controller."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    child["metadata"]["ownerReferences"] = [reference]
    return child


def is_owned_by(child: Object, owner: Object) -> bool:
    """Whether the owner controls the child."""
    return any(
        reference["uid"] == owner["metadata"]["uid"] for reference in child["metadata"].get("ownerReferences", ())
    )


def node_of(found: Object) -> str:
    """The node that the pod is bound to, or nothing."""
    return str(found["spec"].get("nodeName", ""))


def is_finished(found: Object) -> bool:
    """Whether all containers of the pod have ended for good."""
    return found["status"]["phase"] in ("Succeeded", "Failed")


def is_terminating(found: Object) -> bool:
    """Whether the object's deletion was asked for."""
    return "deletionTimestamp" in found["metadata"]


def is_ready(found: Object) -> bool:
    """Whether the pod or the node has the condition Ready."""
    conditions = found["status"]["conditions"]
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def set_ready(found: Object, status: str, reason: str, date: str) -> None:
    """Set the condition Ready to `True`, `False` or `Unknown`."""
    others = [entry for entry in found["status"]["conditions"] if entry["type"] != "Ready"]
    ready = {"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": date}
    found["status"]["conditions"] = [*others, ready]


def has_labels(found: Object, wanted: dict[str, str]) -> bool:
    """Whether the object carries all these labels."""
    labels: dict[str, str] = found["metadata"]["labels"]
    return wanted.items() <= labels.items()


def full_name(found: Object) -> tuple[str, str]:
    """Namespace (empty for a node) and name."""
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]
