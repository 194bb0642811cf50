"""How long it takes to drain a whole cluster, and how many calls: the daemon's drain beside the real kubectl's.

Both face the same simulated cluster, made anew for each. Time counts from the first call to the last eviction.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes
from tests.bench.daemon import as_installed
from tests.bench.drain_process import ORDERS
from tests.bench.figures import report, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

_SMALL = 5
_LARGE = 100
_PODS_PER_NODE = {_SMALL: 12, _LARGE: 30}
_FLAGS = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")
_LONGEST_S = 1800.0
# What a real pod has of conditions, probes, environment and managed fields, which are not simulated.
_REST_OF_A_POD = "x" * 5_000


@dataclass(slots=True)
class _Meter:
    """What the API server was asked: when first, and when the last of so many pods was asked to go."""

    api: SimulatedKubernetes
    pods: int
    seen: int = 0
    evicted: set[str] = field(default_factory=set)
    began_at: float | None = None

    async def last_eviction_s(self) -> float:
        """How long (s) it took from the first call until each pod was asked to go."""
        loop = asyncio.get_running_loop()
        await self.api.until(self._all_asked, within_s=_LONGEST_S)
        return loop.time() - (self.began_at or 0.0)

    def _all_asked(self) -> bool:
        new, self.seen = self.api.requests[self.seen :], len(self.api.requests)
        if new and self.began_at is None:
            self.began_at = asyncio.get_running_loop().time()
        self.evicted.update(request.path for request in new if request.path.endswith("/eviction"))
        return len(self.evicted) >= self.pods


async def measure_drain(directory: Path) -> None:
    """Print all figures; kubectl is left out where there is none."""
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    for count, made in ((_SMALL, _small_cluster), (_LARGE, _large_cluster)):
        nodes = [f"node-{number}" for number in range(count)]
        pods = count * _PODS_PER_NODE[count]
        for order in ORDERS:
            command = (sys.executable, "-m", "tests.bench.drain_process", str(directory / "kubeconfig"), order, *nodes)
            tell(f"draining {count} nodes with {pods} pods: upsd, {order}")
            said = await _measure(directory, made(nodes), pods, f"upsd_{order}_{pods}_pods", [command])
            most_mib, before_mib = said.split()
            report(f"upsd_{order}_{pods}_pods_most_memory", float(most_mib), "MiB")
            report(f"upsd_{order}_{pods}_pods_memory_before", float(before_mib), "MiB")
        if kubectl is None:
            tell("kubectl is left out: it is not installed")
            continue
        tell(f"draining {count} nodes with {pods} pods: kubectl, all nodes in one command")
        drain = (kubectl, f"--kubeconfig={directory / 'kubeconfig'}", "drain", *_FLAGS)
        await _measure(directory, made(nodes), pods, f"kubectl_at_once_{pods}_pods", [(*drain, *nodes)])
        tell("... kubectl, one command after another")
        one_by_one = [(*drain, node) for node in nodes]
        await _measure(directory, made(nodes), pods, f"kubectl_one_by_one_{pods}_pods", one_by_one)


async def _measure(
    directory: Path, cluster: SimulatedCluster, pods: int, name: str, commands: Sequence[Sequence[str]]
) -> str:
    """Run the commands one after another and report; what the last one printed."""
    said = b""
    environment = {**os.environ, **as_installed(directory), "HOME": str(directory)}
    environment["PYTHONPATH"] += f"{os.pathsep}{Path.cwd()}"
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(directory / "kubeconfig")
        meter = asyncio.create_task(_Meter(api, pods).last_eviction_s())
        for command in commands:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            said, complaint = await process.communicate()
            if process.returncode:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}: {complaint.decode()}")
        report(f"{name}_last_eviction", await meter, "s")
        report(f"{name}_calls", len(api.requests), "calls")
    return said.decode()


def _small_cluster(nodes: Sequence[str]) -> SimulatedCluster:
    """On each node eight pods of Deployments, three of StatefulSets, a bare one, and one of a DaemonSet beside."""
    cluster = SimulatedCluster(start_s=0.0)
    for node in nodes:
        cluster.add_node(node)
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    for node in nodes:
        cluster.add_workload("Deployment", "web", f"app-{node}", PodTemplate(node=node, stop_s=1.0), replicas=8)
        cluster.add_workload("StatefulSet", "data", f"store-{node}", PodTemplate(node=node, stop_s=2.0), replicas=3)
        cluster.add_pod("web", f"shell-{node}", node, PodTemplate(stop_s=0.2))
    return _settled(cluster)


def _large_cluster(nodes: Sequence[str]) -> SimulatedCluster:
    """Thirty pods on each node, without controllers: the simulated ones look at all pods after each change."""
    cluster = SimulatedCluster(start_s=0.0)
    for node in nodes:
        cluster.add_node(node)
        for number in range(_PODS_PER_NODE[_LARGE]):
            cluster.add_pod("web", f"pod-{node}-{number}", node, PodTemplate(stop_s=1.0))
    return _settled(cluster)


def _settled(cluster: SimulatedCluster) -> SimulatedCluster:
    cluster.advance(1.0)
    for pod in cluster.store.items("pods"):
        pod["metadata"]["annotations"]["bench/rest"] = _REST_OF_A_POD
    return cluster
