"""Which steps, in which order? Pure.

A plan is built here and nowhere else: what `upsctl plan` prints is what an outage runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind

if TYPE_CHECKING:
    from collections.abc import Collection

_WHOLE = {"rack", "cluster", "ups"}
# To connect to a slow machine, log in and have a command accepted; to have two commands accepted at 1200 baud behind
# a poll.
_LOGIN_S = 6.0
_OUTLET_CYCLE_S = 5.0
_OUTLET_CYCLE_LIMIT_S = 20.0
_CORDON_MINIMUM_S = 3.0
_CONFIRM_MINIMUM_S = 3.0
_MOUNT_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class HostShape:
    """A machine that is powered off: how long that usually takes, and the most it gets (s)."""

    name: str
    poweroff_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """How long Kubernetes usually takes to be cordoned and drained, and the most it gets (s)."""

    cordon_s: float
    drain_s: float
    drain_limit_s: float
    delete_grace_s: float
    ready_limit_s: float


@dataclass(frozen=True, slots=True)
class StorageShape:
    """The NAS as the master mounts it (s); `host` if it is powered off too."""

    name: str
    flush_s: float
    limit_s: float
    host: HostShape | None


@dataclass(frozen=True, slots=True)
class RackShape:
    """What a plan is made from."""

    master: HostShape
    workers: tuple[HostShape, ...]
    cluster: ClusterShape | None
    storage: StorageShape | None
    outlet_off_delay_s: float
    """From the command to the UPS until it cuts the power."""


def shutdown_plan(rack: RackShape) -> Plan:
    """The plan that powers the rack off: workers drained and off, NAS flushed, outlets scheduled, master off."""
    master = rack.master
    steps = [_step(StepKind.ANNOUNCE, "rack", (), 0.5, 0.2, 1.0, harmless=True)]
    if rack.cluster:
        steps += _cluster_steps(rack.cluster, [host.name for host in (*rack.workers, master)])
    for worker in rack.workers:
        steps += _host_off(worker, (f"drain {worker.name}",) if rack.cluster else ("announce",))

    # The workloads of every machine have ended, and every worker is off, before what they write to goes.
    quiet = tuple(f"confirm-off {worker.name}" for worker in rack.workers)
    quiet += (f"drain {master.name}",) if rack.cluster else ()
    last = quiet or ("announce",)
    if rack.storage:
        steps += _storage_steps(rack.storage, last)
        last = (steps[-1].id,)
    steps.append(_outlet_cycle(rack, last))
    steps.append(
        _step(
            StepKind.HOST_POWEROFF, master.name, ("outlet-cycle",), master.poweroff_s, master.poweroff_s, master.limit_s
        )
    )
    return Plan(PlanPurpose.SHUTDOWN, tuple(steps))


def undo_plan(plan: Plan, started: Collection[str], rack: RackShape) -> Plan:
    """The plan that undoes what a shutdown began, as far as it began it."""
    inverses = {step.inverse for step in plan.steps if step.id in started}
    return Plan(
        PlanPurpose.ABORT,
        _bring_back(
            rack,
            storage=StepKind.WAIT_STORAGE in inverses,
            ready=False,
            uncordon=StepKind.UNCORDON in inverses,
        ),
    )


def recovery_plan(rack: RackShape) -> Plan:
    """The plan that brings the workloads back after a boot: NAS, nodes ready, uncordon what we cordoned."""
    return Plan(PlanPurpose.RECOVERY, _bring_back(rack, storage=True, ready=True, uncordon=True))


def rehearsal_plan(plan: Plan) -> Plan:
    """The plan that proves a shutdown's steps: the very same ones."""
    return replace(plan, purpose=PlanPurpose.REHEARSAL)


def point_of_no_return(plan: Plan) -> str | None:
    """The first step that can't be undone."""
    return next((step.id for step in plan.steps if step.commits), None)


def _cluster_steps(cluster: ClusterShape, nodes: list[str]) -> list[Step]:
    cordon = _step(
        StepKind.CORDON,
        "cluster",
        ("announce",),
        cluster.cordon_s,
        _CORDON_MINIMUM_S,
        max(15.0, 3 * cluster.cordon_s),
        inverse=StepKind.UNCORDON,
    )
    forced_s = cluster.delete_grace_s + 3.0
    drains = (
        _step(
            StepKind.DRAIN,
            node,
            ("cordon",),
            cluster.drain_s,
            forced_s,
            cluster.drain_limit_s,
            inverse=StepKind.UNCORDON,
        )
        for node in nodes
    )
    return [cordon, *drains]


def _host_off(host: HostShape, needs: tuple[str, ...]) -> list[Step]:
    poweroff = _step(StepKind.POWEROFF, host.name, needs, _LOGIN_S, _LOGIN_S, min(30.0, host.limit_s))
    confirm = _step(
        StepKind.CONFIRM_OFF,
        host.name,
        (poweroff.id,),
        host.poweroff_s,
        _CONFIRM_MINIMUM_S,
        host.limit_s,
        harmless=True,
    )
    return [poweroff, confirm]


def _outlet_cycle(rack: RackShape, after: tuple[str, ...]) -> Step:
    # The UPS may have heard a command whose answer is lost, and counts from then on: the master has to be off in time.
    at_most_s = max(1.0, rack.outlet_off_delay_s - rack.master.poweroff_s)
    usual_s = min(_OUTLET_CYCLE_S, at_most_s)
    return _step(StepKind.OUTLET_CYCLE, "ups", after, usual_s, usual_s, min(_OUTLET_CYCLE_LIMIT_S, at_most_s))


def _storage_steps(storage: StorageShape, needs: tuple[str, ...]) -> list[Step]:
    expected_s, limit_s = storage.flush_s, storage.limit_s
    unmount = _step(StepKind.UNMOUNT, storage.name, needs, expected_s, 2.0, limit_s, inverse=StepKind.WAIT_STORAGE)
    flush = _step(StepKind.FLUSH, storage.name, (unmount.id,), expected_s, 2.0, limit_s, harmless=True)
    return [unmount, flush, *(_host_off(storage.host, (flush.id,)) if storage.host else ())]


def _bring_back(rack: RackShape, *, storage: bool, ready: bool, uncordon: bool) -> tuple[Step, ...]:
    steps: list[Step] = []
    if storage and rack.storage:
        steps.append(_step(StepKind.WAIT_STORAGE, rack.storage.name, (), 30.0, 1.0, _MOUNT_LIMIT_S, harmless=True))
    if rack.cluster:
        limit_s = rack.cluster.ready_limit_s
        before = tuple(step.id for step in steps)
        if ready:
            steps.append(_step(StepKind.WAIT_READY, "cluster", before, limit_s / 5, 1.0, limit_s, harmless=True))
            before = (steps[-1].id,)
        if uncordon:
            steps.append(
                _step(StepKind.UNCORDON, "cluster", before, rack.cluster.cordon_s, 1.0, limit_s, harmless=True)
            )
    return tuple(steps)


def _step(
    kind: StepKind,
    target: str,
    needs: tuple[str, ...],
    expected_s: float,
    minimum_s: float,
    limit_s: float,
    *,
    inverse: StepKind | None = None,
    harmless: bool = False,
) -> Step:
    return Step(
        id=kind.value if target in _WHOLE else f"{kind.value} {target}",
        kind=kind,
        target=target,
        needs=needs,
        expected_s=max(expected_s, minimum_s),
        minimum_s=minimum_s,
        limit_s=max(limit_s, minimum_s),
        inverse=inverse,
        harmless=harmless,
    )
