"""What is read of the API's objects, in just as much detail as is used, and what it means for a shutdown.

lightkube's own models refuse an object that lacks any field which they know.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from lightkube.core.resource import ApiInfo, GlobalResource, NamespacedResourceG, ResourceDef

from upsd.domain.rack import Node, Pod

if TYPE_CHECKING:
    from collections.abc import Iterator

CORDON_MARK = "upsd.io/cordoned-by-outage"
"""Annotation on a node that we cordoned; its value is the outage."""

NOT_REPLACED = frozenset({"DaemonSet", "Job", "Node"})
"""Kinds of controllers whose pods stay on their node, or end by themselves."""

MIRROR_MARK = "kubernetes.io/config.mirror"


class Owner(msgspec.Struct, frozen=True):
    """An owner reference."""

    kind: str
    name: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True):
    """What is read of an object's metadata."""

    name: str
    uid: str
    resourceVersion: str  # noqa: N815 -- the API's name
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ownerReferences: list[Owner] = []  # noqa: N815
    deletionTimestamp: datetime | None = None  # noqa: N815


class Condition(msgspec.Struct, frozen=True):
    """One condition of a node or a pod."""

    type: str
    status: str


class State(msgspec.Struct, frozen=True):
    """What is read of a node's or pod's status."""

    phase: str = ""
    conditions: list[Condition] = []


class NfsVolume(msgspec.Struct, frozen=True):
    """An NFS export, as a pod or a PersistentVolume names it."""

    server: str = ""


class ClaimVolume(msgspec.Struct, frozen=True):
    """A claim that a pod mounts."""

    claimName: str = ""  # noqa: N815


class EphemeralVolume(msgspec.Struct, frozen=True):
    """A claim of the pod's own, named `<pod>-<volume>`."""


class Volume(msgspec.Struct, frozen=True):
    """One volume of a pod."""

    name: str = ""
    nfs: NfsVolume | None = None
    persistentVolumeClaim: ClaimVolume | None = None  # noqa: N815
    ephemeral: EphemeralVolume | None = None


class Spec(msgspec.Struct, frozen=True):
    """What is read of a node's or pod's spec."""

    unschedulable: bool = False
    nodeName: str = ""  # noqa: N815
    terminationGracePeriodSeconds: int = 30  # noqa: N815
    priorityClassName: str = ""  # noqa: N815
    volumes: list[Volume] = []


class NodeResource(GlobalResource, msgspec.Struct, frozen=True):
    """A node."""

    metadata: Metadata
    spec: Spec = Spec()
    status: State = State()

    _api_info = ApiInfo(ResourceDef("", "v1", "Node"), "nodes", ["get", "list", "patch"])


class PodResource(NamespacedResourceG, msgspec.Struct, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: Spec = Spec()
    status: State = State()

    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["get", "global_list", "delete"])


def node_of(found: NodeResource) -> Node:
    """The node, as far as a shutdown cares."""
    return Node(
        name=found.metadata.name,
        ready=is_ready(found),
        unschedulable=found.spec.unschedulable,
        annotations=found.metadata.annotations,
    )


def is_ready(found: NodeResource | PodResource) -> bool:
    """Whether its Ready condition is true."""
    return any(entry.type == "Ready" and entry.status == "True" for entry in found.status.conditions)


def replaced_by(pod: PodResource) -> str | None:
    """The controller (`namespace/name`) that puts another pod in the place of this one, on whichever node."""
    if pod.metadata.deletionTimestamp is not None:
        return None
    owners = (owner for owner in pod.metadata.ownerReferences if owner.controller and owner.kind not in NOT_REPLACED)
    return next((f"{pod.metadata.namespace}/{owner.name}" for owner in owners), None)


def pod_of(found: PodResource) -> Pod:
    """The pod, as far as a shutdown cares."""
    metadata, spec = found.metadata, found.spec
    kinds = {owner.kind for owner in metadata.ownerReferences if owner.controller}
    return Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        node=spec.nodeName,
        daemonset="DaemonSet" in kinds,
        stateful_set="StatefulSet" in kinds,
        mirror=MIRROR_MARK in metadata.annotations,
        finished=found.status.phase in ("Succeeded", "Failed"),
        terminating=metadata.deletionTimestamp is not None,
        ends_by=metadata.deletionTimestamp,
        grace_s=spec.terminationGracePeriodSeconds,
        priority_class=spec.priorityClassName,
        labels=metadata.labels,
        file_servers=tuple(volume.nfs.server for volume in spec.volumes if volume.nfs),
        claims=tuple(f"{metadata.namespace}/{claim}" for claim in _claims_of(found)),
    )


def _claims_of(found: PodResource) -> Iterator[str]:
    for volume in found.spec.volumes:
        if volume.persistentVolumeClaim:
            yield volume.persistentVolumeClaim.claimName
        elif volume.ephemeral is not None:
            yield f"{found.metadata.name}-{volume.name}"
