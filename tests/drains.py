"""The cordon and the drains of a shutdown, run as the daemon runs them, and nothing else of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, StepKind
from upsd.shutdown.engine import Engine
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, shutdown_plan
from upsd.shutdown.steps.cordon import Cordon
from upsd.shutdown.steps.drain import Drain, NasUsers
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from upsd.domain.plan import StepProgress
    from upsd.domain.power import Scalar
    from upsd.domain.rack import Cluster
    from upsd.shutdown.steps.node_drain import DrainRules


async def drained(
    cluster: Cluster, rules: DrainRules, nodes: Sequence[str], *, limit_s: float
) -> dict[str, StepProgress]:
    """Cordon all nodes and drain these; how each step ended."""
    plan = _plan(nodes, rules.delete_grace_s, limit_s)

    async def record(_: Mapping[str, Scalar]) -> None:
        """Write nothing down."""

    engine = Engine(
        {
            StepKind.CORDON: Cordon(cluster, WorkloadMemory()),
            StepKind.DRAIN: Drain(cluster, rules, NasUsers()),
        },
        record=record,
        report=lambda _: None,
        battery_end_at=lambda: math.inf,
    )
    return await engine.run(plan, outage="drained", ended={"announce"})


def _plan(nodes: Sequence[str], delete_grace_s: float, limit_s: float) -> Plan:
    master, *workers = (HostShape(node, 20, 120) for node in nodes)
    cluster = ClusterShape(
        cordon_s=1, drain_s=5, drain_limit_s=limit_s, delete_grace_s=delete_grace_s, ready_limit_s=600
    )
    shape = RackShape(master, tuple(workers), cluster, storage=None, outlet_off_delay_s=180)
    wanted = {StepKind.ANNOUNCE, StepKind.CORDON, StepKind.DRAIN}
    return Plan(PlanPurpose.SHUTDOWN, tuple(step for step in shutdown_plan(shape).steps if step.kind in wanted))
