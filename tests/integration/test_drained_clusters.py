"""The same clusters before kubectl's drain and before ours: the same pods are gone, but for what we intend."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from hardware_sim.memory_rack import MemoryLocalHost, MemoryOutlets
from tests.integration.drained_clusters import CASES, NODES, Case
from tests.integration.kubectl import DRAIN, installed_kubectl
from upsd.domain.plan import WHOLE_CLUSTER, Plan, PlanPurpose, Step, StepKind
from upsd.rack.kubernetes import KubernetesCluster
from upsd.shutdown.engine import Engine
from upsd.shutdown.steps import Rack, performers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

AT_ONCE = 12
PAGE_SIZE = 5
REQUEST_TIMEOUT_S = 10.0
PATIENCE_S, LIMIT_S, FORCED_S = 3, 25, 3.0
AFTERWARDS_S = 60.0
"""So long what was asked to go may still take; not so long that anything ends which nobody has asked."""


async def test_our_drain_ends_the_pods_that_kubectl_drain_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each cluster of the table, with all nodes drained; where we differ, by exactly the pods that the case says."""
    monkeypatch.setattr("upsd.rack.kubernetes.cluster.PAGE_SIZE", PAGE_SIZE)
    limit = asyncio.Semaphore(AT_ONCE)

    async def both(number: int, case: Case) -> tuple[Counter[str], Counter[str]]:
        async with limit:
            home = tmp_path / str(number)
            home.mkdir()
            return await asyncio.gather(drained_by_kubectl(case, home), drained_by_us(case, home / "ours"))

    async with asyncio.TaskGroup() as group:
        played = [group.create_task(both(number, case)) for number, case in enumerate(CASES)]
    results = [task.result() for task in played]
    for case, (theirs, ours) in zip(CASES, results, strict=True):
        assert (case.name, ours - theirs, theirs - ours) == (case.name, case.only_ours, case.only_theirs)
    assert sum(bool(ours) for _, ours in results) >= len(CASES) - 5, "next to nothing was drained"


async def drained_by_kubectl(case: Case, home: Path) -> Counter[str]:
    """What is gone after its drain of all nodes, by workload."""
    cluster = case.cluster()
    before = workloads(cluster)
    patience_s = LIMIT_S if case.yields else PATIENCE_S
    async with SimulatedKubernetes(cluster) as api:
        options = (*DRAIN, f"--chunk-size={PAGE_SIZE}", f"--timeout={patience_s}s")
        code, output = await installed_kubectl(home).run(api, "drain", *NODES, *options)
    assert (code == 0) is case.yields, f"{case.name}: {output}"
    return gone(cluster, before)


async def drained_by_us(case: Case, kubeconfig: Path) -> Counter[str]:
    """What is gone after the steps of an outage, by workload."""
    cluster = case.cluster()
    before = workloads(cluster)
    limit_s = LIMIT_S if case.yields else PATIENCE_S + FORCED_S
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(kubeconfig)
        await drain_all(KubernetesCluster(kubeconfig, REQUEST_TIMEOUT_S), limit_s)
    assert all(map(cluster.is_cordoned, NODES)), case.name
    return gone(cluster, before)


async def drain_all(cluster: KubernetesCluster, limit_s: float) -> None:
    """Cordon all nodes, then drain them side by side."""

    async def record(_: object) -> None: ...

    rack = Rack(
        emit=lambda _: None,
        outlets=MemoryOutlets([]),
        outlet_off_delay_s=120,
        outlet_restore_delay_min=1,
        local_host=MemoryLocalHost([]),
        machines={},
        cluster=cluster,
    )
    engine = Engine(performers(rack), record=record, report=lambda _: None, battery_end_at=lambda: float("inf"))
    cordon = step("cordon", StepKind.CORDON, WHOLE_CLUSTER, limit_s)
    drains = (step(f"drain {node}", StepKind.DRAIN, node, limit_s, needs=(cordon.id,)) for node in NODES)
    await engine.run(Plan(PlanPurpose.SHUTDOWN, (cordon, *drains)), outage="outage-1")


def step(name: str, kind: StepKind, target: str, limit_s: float, needs: tuple[str, ...] = ()) -> Step:
    """A step of the plan that must use force in time."""
    return Step(id=name, kind=kind, target=target, needs=needs, expected_s=1.0, minimum_s=FORCED_S, limit_s=limit_s)


def workloads(cluster: SimulatedCluster) -> dict[str, str]:
    """The workload (`namespace/app`) of each pod by its UID."""
    described = (pod["metadata"] for pod in cluster.store.items("pods"))
    return {pod["uid"]: f"{pod['namespace']}/{pod['labels']['app']}" for pod in described}


def gone(cluster: SimulatedCluster, before: dict[str, str]) -> Counter[str]:
    """What was there before and is no more, as soon as all that was asked to go has gone."""
    cluster.advance(cluster.now + AFTERWARDS_S)
    return Counter(before[uid] for uid in before.keys() - workloads(cluster).keys())
