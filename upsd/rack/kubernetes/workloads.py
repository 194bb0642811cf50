"""Deployments and StatefulSets, as far as they are scaled."""

from __future__ import annotations

import msgspec
from lightkube.core.resource import ApiInfo, NamespacedResource, ResourceDef

from upsd.rack.kubernetes.objects import Metadata

REPLICAS_MARK = "upsd.io/replicas-before-outage"
"""Annotation on a workload that we scaled to zero; its value is how many replicas it had."""


class WorkloadSpec(msgspec.Struct, frozen=True):
    """What is read of a workload's spec; a server that says nothing means one replica."""

    replicas: int = 1


class DeploymentResource(NamespacedResource, msgspec.Struct, frozen=True):
    """A Deployment."""

    metadata: Metadata
    spec: WorkloadSpec = WorkloadSpec()

    _api_info = ApiInfo(ResourceDef("apps", "v1", "Deployment"), "deployments", ["get", "patch"])


class StatefulSetResource(NamespacedResource, msgspec.Struct, frozen=True):
    """A StatefulSet."""

    metadata: Metadata
    spec: WorkloadSpec = WorkloadSpec()

    _api_info = ApiInfo(ResourceDef("apps", "v1", "StatefulSet"), "statefulsets", ["get", "patch"])


WORKLOAD_RESOURCES: dict[str, type[DeploymentResource | StatefulSetResource]] = {
    "Deployment": DeploymentResource,
    "StatefulSet": StatefulSetResource,
}
