"""`python -m tests.bench.drain_process KUBECONFIG ORDER NODE...`: cordon and drain these nodes as the daemon does it.

A process of its own, with nothing in it but what the daemon has, so that its memory can be measured. It says in MiB how
much it had at most, and how much before it began.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, StepKind, StepState
from upsd.rack.kubernetes import KubernetesCluster
from upsd.shutdown.engine import Engine
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, shutdown_plan
from upsd.shutdown.steps.cordon import Cordon
from upsd.shutdown.steps.drain import Drain, NasUsers
from upsd.shutdown.steps.node_drain import DrainRules
from upsd.shutdown.tiers import DEFAULT_TIERS, Tier
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from upsd.domain.power import Scalar

_LIMIT_S = 900.0
ORDERS = {"tiers": DEFAULT_TIERS, "unordered": (Tier("all"),)}


def _plan(nodes: Sequence[str]) -> Plan:
    """The cordon and the drains of a shutdown."""
    master, *workers = (HostShape(node, 20, 120) for node in nodes)
    cluster = ClusterShape(cordon_s=3, drain_s=60, drain_limit_s=_LIMIT_S, delete_grace_s=5, ready_limit_s=600)
    shape = RackShape(master, tuple(workers), cluster, storage=None, outlet_off_delay_s=180)
    wanted = {StepKind.ANNOUNCE, StepKind.CORDON, StepKind.DRAIN}
    return Plan(PlanPurpose.SHUTDOWN, tuple(step for step in shutdown_plan(shape).steps if step.kind in wanted))


async def _drain(kubeconfig: Path, order: str, nodes: Sequence[str]) -> bool:
    cluster = KubernetesCluster(kubeconfig, request_timeout_s=5.0)

    async def record(_: Mapping[str, Scalar]) -> None:
        """Write nothing down."""

    cordon = Cordon(cluster, WorkloadMemory())
    drain = Drain(cluster, DrainRules(tiers=ORDERS[order], nas=""), NasUsers())
    engine = Engine(
        {StepKind.CORDON: cordon, StepKind.DRAIN: drain},
        record=record,
        report=lambda _: None,
        battery_end_at=None,
    )
    ended = await engine.run(_plan(nodes), outage="bench", ended={"announce"})
    return all(progress.state is StepState.DONE for progress in ended.values())


def _most_mib() -> float:
    # What getrusage says is also of the process that this one was forked from.
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return next(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


def main() -> None:
    """Drain, and exit with 1 if a step did not end well."""
    kubeconfig, order, *nodes = sys.argv[1:]
    before_mib = _most_mib()
    done = asyncio.run(_drain(Path(kubeconfig), order, nodes))
    sys.stdout.write(f"{_most_mib():.1f} {before_mib:.1f}\n")
    sys.exit(not done)


if __name__ == "__main__":
    main()
