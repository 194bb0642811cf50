"""The Leases of the nodes: each kubelet renews its own every ten seconds, and Kubernetes judges a node by it.

Kubernetes' documentation, "Leases" and "Node heartbeats".
"""

from __future__ import annotations

import msgspec
from lightkube.core.resource import ApiInfo, NamespacedResourceG, ResourceDef

from upsd.rack.kubernetes.objects import Metadata

NODE_NAMESPACE = "kube-node-lease"


class LeaseSpec(msgspec.Struct, frozen=True):
    """What is read of a Lease's spec; the date stays as it is written, since it is only compared."""

    renewTime: str = ""  # noqa: N815 -- the API's name


class LeaseResource(NamespacedResourceG, msgspec.Struct, frozen=True):
    """A Lease; a node's has its name."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()

    _api_info = ApiInfo(ResourceDef("coordination.k8s.io", "v1", "Lease"), "leases", ["list"])
