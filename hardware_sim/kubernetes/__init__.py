"""A k3s cluster without machines: nodes, pods and controllers in memory, behind a real Kubernetes API over HTTPS.

`SimulatedCluster` is the rack's software as a model in which time is an argument; `SimulatedKubernetes` serves it to
`kubectl` and to the daemon; `reference_cluster()` is the rack that the demo and the tests run on.
"""

from __future__ import annotations

from hardware_sim.kubernetes.api import SimulatedKubernetes
from hardware_sim.kubernetes.cluster import SimulatedCluster
from hardware_sim.kubernetes.faults import Faults, LoggedRequest
from hardware_sim.kubernetes.objects import PodTemplate
from hardware_sim.kubernetes.rack import reference_cluster

__all__ = [
    "Faults",
    "LoggedRequest",
    "PodTemplate",
    "SimulatedCluster",
    "SimulatedKubernetes",
    "reference_cluster",
]
