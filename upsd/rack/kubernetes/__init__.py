"""The Kubernetes API through lightkube: what `upsd.domain.rack.Cluster` asks of a k3s cluster."""

from upsd.rack.kubernetes.cluster import KubernetesCluster
from upsd.rack.kubernetes.objects import CORDON_MARK

__all__ = ["CORDON_MARK", "KubernetesCluster"]
