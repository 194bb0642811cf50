"""Which steps, in which order? Pure.

A plan is built here and nowhere else: what `upsctl plan` prints is what an outage runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from upsd.domain.plan import WHOLE_CLUSTER, Plan, PlanPurpose, Step, StepKind
from upsd.domain.quorum import spare

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FORCED_S = 3.0
"""What a drain takes beside the grace when pods are deleted by force."""
K3S = "k3s"
"""The target of the steps about its server on the master."""

_WHOLE = {"rack", WHOLE_CLUSTER, "ups"}
_LOOKS = {StepKind.CONFIRM_OFF, StepKind.LAST_LOOK}
# To connect to a slow machine, log in and have a command accepted; to have two commands accepted at 1200 baud behind
# a poll.
_LOGIN_S = 6.0
_OUTLET_CYCLE_S = 5.0
_OUTLET_CYCLE_LIMIT_S = 20.0
_CORDON_MINIMUM_S = 3.0
_CONFIRM_MINIMUM_S = 3.0
# A machine that is silent is called for so long.
_LAST_LOOK_S = 2.0
_LAST_LOOK_LIMIT_S = 20.0
# Half of it is for trying, and half for giving up: to detach what hangs, to end what takes too long.
_TRY_S = 2.0
_STOP_S = 5.0
_STOP_LIMIT_S = 30.0
_START_LIMIT_S = 120.0
_MOUNT_LIMIT_S = 600.0
# A NAS that may still have to boot, and one that already answers.
_MOUNT_S = 30.0
_MOUNT_ANSWERING_S = 10.0
# What k3s takes to see a node that has booted, and the pods to start on it.
_READY_S = 30.0
_WORKLOADS_S = 30.0


@dataclass(frozen=True, slots=True)
class HostShape:
    """A machine that is powered off: how long that usually takes, and the most it gets (s).

    `wakes` is whether it can be switched on from afar, `server` whether it runs a k3s server beside the master's.
    """

    name: str
    poweroff_s: float
    limit_s: float
    wakes: bool = False
    server: bool = False


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
class DatastoreShape:
    """How long a snapshot usually takes, and the most it gets (s); and whether the server is stopped after it."""

    snapshot_s: float
    limit_s: float
    stops: bool


@dataclass(frozen=True, slots=True)
class RecoveryShape:
    """How long a machine usually takes to boot, and the most that each wait of the recovery gets (s)."""

    boot_s: float = 60.0
    boot_limit_s: float = 300.0
    battery_limit_s: float = 3600.0
    workloads_limit_s: float = 300.0


@dataclass(frozen=True, slots=True)
class RackShape:
    """What a plan is made from."""

    master: HostShape
    workers: tuple[HostShape, ...]
    cluster: ClusterShape | None
    storage: StorageShape | None
    outlet_off_delay_s: float
    """From the command to the UPS until it cuts the power."""
    recovery: RecoveryShape = field(default_factory=RecoveryShape)
    datastore: DatastoreShape | None = None

    @property
    def agents(self) -> tuple[HostShape, ...]:
        """The workers that run no k3s server."""
        return tuple(worker for worker in self.workers if not worker.server)

    @property
    def servers(self) -> tuple[HostShape, ...]:
        """The workers that run one. With the master's they hold the datastore together."""
        return tuple(worker for worker in self.workers if worker.server)

    def kept_for_quorum(self, wanted: Collection[str], down: Collection[str]) -> frozenset[str]:
        """Those of the workers who may not be off beside those that are `down`, or the datastore has no quorum."""
        servers = [server.name for server in self.servers]
        may_go = max(0, spare(len(servers) + 1) - sum(name in down for name in servers))
        return frozenset([name for name in servers if name in wanted and name not in down][may_go:])


def shutdown_plan(rack: RackShape) -> Plan:
    """The plan that powers the rack off: workers drained and off, NAS flushed, outlets scheduled, master off.

    Workers that are k3s servers go off after all others, and after the last step that asks the API or the datastore.
    None of them goes earlier, though the quorum could spare some: one may have been down before the outage, or be off
    already, and nothing would be over sooner. From then on nothing needs the quorum, and they go all at once.

    No power-off in it has an inverse, not even that of a machine that could be woken: the first one is the point of no
    return. The plan ends with an outlet cycle that cold-starts everything, so to go on is sure to bring every machine
    back, and to turn round would leave it to signals that nobody answers.
    """
    master = rack.master
    steps = [_step(StepKind.ANNOUNCE, "rack", (), 0.5, 0.2, 1.0, harmless=True)]
    if rack.cluster:
        steps += _cluster_steps(rack.cluster, [host.name for host in (*rack.workers, master)])
    for agent in rack.agents:
        steps += _host_off(agent, (f"drain {agent.name}",) if rack.cluster else ("announce",))

    # The workloads of every machine have ended, and every agent is off, before what they write to goes.
    quiet = tuple(f"confirm-off {agent.name}" for agent in rack.agents)
    quiet += tuple(f"drain {server.name}" for server in (*rack.servers, master)) if rack.cluster else ()
    last = quiet or ("announce",)
    if rack.datastore:
        steps.append(_snapshot(rack.datastore, last))
        last = (steps[-1].id,)
    stops = [_stop(last)] if rack.datastore and rack.datastore.stops else []
    steps += stops
    for server in rack.servers:
        steps += _host_off(server, last)
    last = (*_ids(stops), *(f"confirm-off {server.name}" for server in rack.servers)) or last
    if rack.storage:
        steps += _storage_steps(rack.storage, last)
        last = (steps[-1].id,)
    if any(step.kind is StepKind.CONFIRM_OFF for step in steps):
        steps.append(_step(StepKind.LAST_LOOK, "rack", last, _LAST_LOOK_S, _LAST_LOOK_S, _LAST_LOOK_LIMIT_S))
        last = (steps[-1].id,)
    steps.append(_outlet_cycle(rack, last))
    steps.append(
        _step(
            StepKind.HOST_POWEROFF, master.name, ("outlet-cycle",), master.poweroff_s, master.poweroff_s, master.limit_s
        )
    )
    return Plan(PlanPurpose.SHUTDOWN, tuple(steps))


def shed_plan(rack: RackShape, workers: Collection[str]) -> Plan:
    """The plan that powers these workers off early, so that the battery lasts longer for the rest.

    Their nodes are cordoned before the first is drained, so that pods move only to machines that stay. No outlet cycle
    follows, so a power-off has an inverse only where the machine can be woken; the others have to be switched on by a
    person, unless a shutdown comes after it and cycles the outlets. That does not keep the rest from being undone.
    """
    chosen = [worker for worker in rack.workers if worker.name in workers]
    cordons = [_cordon(rack.cluster, worker.name, ()) for worker in chosen] if rack.cluster else []
    steps = cordons.copy()
    for worker in chosen:
        needs: tuple[str, ...] = ()
        if rack.cluster:
            steps.append(_drain(rack.cluster, worker.name, _ids(cordons)))
            needs = (steps[-1].id,)
        steps += _host_off(worker, needs, inverse=StepKind.WAIT_HOST if worker.wakes else None)
    return Plan(PlanPurpose.SHED, tuple(steps))


def undo_plan(plan: Plan, started: Collection[str], rack: RackShape, *, shed: Collection[str] = ()) -> Plan:
    """The plan that undoes what a shutdown began, as far as it began it, before its point of no return.

    The workers in `shed` were powered off early, before it or without it: each is waited for by itself, so that one
    that stays off keeps nobody else waiting. One that the settings name no more is waited for by nobody, and takes pods
    again. Nothing waits for the battery: most of the rack has never gone off, and pods that wait for a node are no less
    exposed than pods that run.
    """
    inverses = {step.inverse for step in plan.steps if step.id in started and step.target not in shed}
    steps: list[Step] = []
    if rack.storage and StepKind.WAIT_STORAGE in inverses:
        steps.append(_wait_storage(rack.storage.name, (), _MOUNT_S))
    if rack.datastore and StepKind.START in inverses:
        steps.append(_start(_ids(steps), rack))
    before = _ids(steps)
    if rack.cluster and StepKind.UNCORDON in inverses:
        steps.append(_uncordon(rack.cluster, WHOLE_CLUSTER, before))
    for worker in rack.workers:
        if worker.name in shed:
            steps += _undo_shed(rack, worker.name, started, before)
    unknown = set(shed) - {worker.name for worker in rack.workers}
    left = any(f"{StepKind.CORDON} {name}" in started for name in unknown)
    if rack.cluster and left and StepKind.UNCORDON not in inverses:
        steps.append(_uncordon(rack.cluster, WHOLE_CLUSTER, _ids(steps)))
    uncordons = tuple(step.id for step in steps if step.kind is StepKind.UNCORDON)
    if uncordons:
        steps.append(_workloads(rack.recovery, uncordons))
    return Plan(PlanPurpose.ABORT, tuple(steps))


def _undo_shed(rack: RackShape, name: str, started: Collection[str], before: tuple[str, ...]) -> list[Step]:
    steps: list[Step] = []
    if f"{StepKind.POWEROFF} {name}" in started:
        steps.append(_wait_host(name, rack.recovery, before))
        if rack.cluster:
            steps.append(_wait_ready(name, rack.cluster, _ids(steps)))
    if rack.cluster and f"{StepKind.CORDON} {name}" in started:
        steps.append(_uncordon(rack.cluster, name, (steps[-1].id,) if steps else before))
    return steps


def recovery_plan(rack: RackShape) -> Plan:
    """The plan that brings everything back after a boot.

    The battery first: below its floor nothing is started that would have to be undone in a hurry (what starts by
    itself when its outlet has power is not ours to hold back). Then what the others need: the NAS before the workers
    that mount it, the workers before the question whether their nodes are Ready, because k3s takes a node for Ready for
    some time after its machine has gone. Pods may move only when all of that is over. Where we stop the server, it is
    started before that: this machine may never have gone off. With several servers, these come first, and the agents
    when the API answers, for which a quorum is enough: a server that stays off keeps no agent waiting.
    """
    limits = rack.recovery
    battery = _step(StepKind.WAIT_BATTERY, "ups", (), 1.0, 1.0, limits.battery_limit_s, harmless=True)
    steps = [battery]
    if rack.storage:
        if rack.storage.host:
            steps.append(_wait_host(rack.storage.host.name, limits, (battery.id,)))
        expected_s = _MOUNT_ANSWERING_S if rack.storage.host else _MOUNT_S
        steps.append(_wait_storage(rack.storage.name, (steps[-1].id,), expected_s))
    before = (steps[-1].id,)
    back = [_start(before, rack)] if rack.datastore and rack.datastore.stops else []
    servers = [_wait_host(server.name, limits, before) for server in rack.servers]
    quorum = [_wait_quorum(limits, before)] if rack.cluster and servers else []
    agents = [_wait_host(agent.name, limits, _ids(quorum or servers) or before) for agent in rack.agents]
    back += servers + quorum + agents
    steps += back
    if rack.cluster:
        ready = _wait_ready(WHOLE_CLUSTER, rack.cluster, _ids(back) or before)
        uncordon = _uncordon(rack.cluster, WHOLE_CLUSTER, (ready.id,))
        steps += [ready, uncordon, _workloads(limits, (uncordon.id,))]
    return Plan(PlanPurpose.RECOVERY, tuple(steps))


def rehearsal_plan(plan: Plan) -> Plan:
    """The plan that proves a shutdown's steps: the very same ones."""
    return replace(plan, purpose=PlanPurpose.REHEARSAL)


def point_of_no_return(plan: Plan) -> str | None:
    """The first step that can't be undone."""
    return next((step.id for step in plan.steps if step.commits), None)


def over_before(
    plan: Plan, tried: Collection[str], ended: Collection[str], *, shed: Collection[str] = ()
) -> frozenset[str]:
    """The steps that a shutdown which is taken up again does not try once more.

    What ended well, and what had to be over for something that began: a node is not drained again once its machine was
    told to go off. What only looks commits to nothing: a power-off or a flush that failed before it is tried again.
    The workers in `shed` went off early, for which nothing but their own steps had to be over.
    And the outlet cycle is always asked for anew: the UPS has counted down since, and would cut the power of a master
    that begins too late to go off.
    """
    needed: set[str] = set()
    for index, step in reversed([*enumerate(plan.steps)]):
        if step.id in needed or (step.id in tried and step.kind not in _LOOKS):
            own = (other.id for other in plan.steps[:index] if other.target == step.target)
            needed.update(own if step.target in shed else step.needs)
    renewed = {step.id for step in plan.steps if step.kind is StepKind.OUTLET_CYCLE}
    return frozenset(needed.union(ended) - renewed)


def _cluster_steps(cluster: ClusterShape, nodes: list[str]) -> list[Step]:
    cordon = _cordon(cluster, WHOLE_CLUSTER, ("announce",))
    return [cordon, *(_drain(cluster, node, (cordon.id,)) for node in nodes)]


def _cordon(cluster: ClusterShape, target: str, needs: tuple[str, ...]) -> Step:
    limit_s = max(15.0, 3 * cluster.cordon_s)
    return _step(
        StepKind.CORDON, target, needs, cluster.cordon_s, _CORDON_MINIMUM_S, limit_s, inverse=StepKind.UNCORDON
    )


def _drain(cluster: ClusterShape, node: str, needs: tuple[str, ...]) -> Step:
    forced_s, limit_s = cluster.delete_grace_s + FORCED_S, cluster.drain_limit_s
    return _step(StepKind.DRAIN, node, needs, cluster.drain_s, forced_s, limit_s, inverse=StepKind.UNCORDON)


def _host_off(host: HostShape, needs: tuple[str, ...], *, inverse: StepKind | None = None) -> list[Step]:
    limit_s = min(30.0, host.limit_s)
    poweroff = _step(StepKind.POWEROFF, host.name, needs, _LOGIN_S, _LOGIN_S, limit_s, inverse=inverse)
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


def _snapshot(datastore: DatastoreShape, needs: tuple[str, ...]) -> Step:
    return _step(StepKind.SNAPSHOT, K3S, needs, datastore.snapshot_s, _TRY_S, datastore.limit_s, harmless=True)


def _stop(needs: tuple[str, ...]) -> Step:
    return _step(StepKind.STOP, K3S, needs, _STOP_S, _STOP_S, _STOP_LIMIT_S, inverse=StepKind.START)


def _start(needs: tuple[str, ...], rack: RackShape) -> Step:
    # It is started when it has a quorum.
    limit_s = _START_LIMIT_S + (rack.recovery.boot_limit_s if rack.servers else 0.0)
    return _step(StepKind.START, K3S, needs, _STOP_S, 1.0, limit_s, harmless=True)


def _storage_steps(storage: StorageShape, needs: tuple[str, ...]) -> list[Step]:
    expected_s, limit_s = storage.flush_s, storage.limit_s
    unmount = _step(StepKind.UNMOUNT, storage.name, needs, expected_s, _TRY_S, limit_s, inverse=StepKind.WAIT_STORAGE)
    flush = _step(StepKind.FLUSH, storage.name, (unmount.id,), expected_s, 2.0, limit_s, harmless=True)
    return [unmount, flush, *(_host_off(storage.host, (flush.id,)) if storage.host else ())]


def _wait_host(name: str, limits: RecoveryShape, needs: tuple[str, ...]) -> Step:
    return _step(StepKind.WAIT_HOST, name, needs, limits.boot_s, 1.0, limits.boot_limit_s, harmless=True)


def _wait_quorum(limits: RecoveryShape, needs: tuple[str, ...]) -> Step:
    usual_s, limit_s = limits.boot_s + _READY_S, limits.boot_limit_s + _START_LIMIT_S
    return _step(StepKind.WAIT_QUORUM, WHOLE_CLUSTER, needs, min(usual_s, limit_s), 1.0, limit_s, harmless=True)


def _wait_storage(name: str, needs: tuple[str, ...], expected_s: float) -> Step:
    return _step(StepKind.WAIT_STORAGE, name, needs, expected_s, 1.0, _MOUNT_LIMIT_S, harmless=True)


def _wait_ready(target: str, cluster: ClusterShape, needs: tuple[str, ...]) -> Step:
    limit_s = cluster.ready_limit_s
    return _step(StepKind.WAIT_READY, target, needs, min(_READY_S, limit_s), 1.0, limit_s, harmless=True)


def _uncordon(cluster: ClusterShape, target: str, needs: tuple[str, ...]) -> Step:
    return _step(StepKind.UNCORDON, target, needs, cluster.cordon_s, 1.0, cluster.ready_limit_s, harmless=True)


def _workloads(limits: RecoveryShape, needs: tuple[str, ...]) -> Step:
    limit_s = limits.workloads_limit_s
    return _step(StepKind.WORKLOADS, WHOLE_CLUSTER, needs, min(_WORKLOADS_S, limit_s), 1.0, limit_s, harmless=True)


def _ids(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.id for step in steps)


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
