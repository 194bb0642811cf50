"""One step at a time: a rack in memory, and an engine that runs a plan of a single step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind, StepProgress
from upsd.domain.rack import Pod, Workload
from upsd.shutdown.engine import Engine
from upsd.shutdown.floor import AMPLE, BatteryLevel
from upsd.shutdown.steps import DrainRules, GoingOff, NasUsers, Rack, RemoteMachine, performers, rehearsers
from upsd.shutdown.tiers import DEFAULT_TIERS, Tier
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.memory_rack import MemoryRack
    from upsd.domain.power import Event, OutputLoad, Scalar
    from upsd.shutdown.engine import Performer

DELETE_GRACE_S = 5
COMMAND = "poweroff"
NAS = "192.168.7.20"


@dataclass
class Workbench:
    """Runs single steps on a rack in memory, as the engine does."""

    rack: MemoryRack
    events: list[Event] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    machines: dict[str, RemoteMachine] = field(init=False)
    level: BatteryLevel = AMPLE
    battery_end_at: float = float("inf")
    workloads: WorkloadMemory = field(default_factory=WorkloadMemory)
    going_off: GoingOff = field(default_factory=GoingOff)
    tiers: tuple[Tier, ...] = DEFAULT_TIERS
    scaled: tuple[Workload, ...] = ()
    nas_users: NasUsers = field(default_factory=NasUsers)
    records: list[Mapping[str, Scalar]] = field(default_factory=list)
    load: OutputLoad | None = None
    watts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know the machines."""
        self.machines = {
            name: RemoteMachine(host, COMMAND, host if host.wakes else None) for name, host in self.rack.hosts.items()
        }

    @cached_property
    def parts(self) -> Rack:
        """What the steps act on, the same in all of a test."""
        return Rack(
            emit=self.events.append,
            outlets=self.rack.outlets,
            outlet_off_delay_s=120,
            outlet_restore_delay_min=1,
            local_host=self.rack.local_host,
            machines=self.machines,
            cluster=self.rack.cluster,
            scaled=self.scaled,
            drain=DrainRules(DELETE_GRACE_S, tiers=self.tiers, nas=NAS),
            nas_users=self.nas_users,
            storage=self.rack.storage,
            datastore=self.rack.datastore,
            battery=lambda: self.level,
            workloads=self.workloads,
            going_off=self.going_off,
            load=lambda: self.load,
            watts=self.watts,
        )

    @cached_property
    def table(self) -> dict[StepKind, Performer]:
        """Who does each kind of step."""
        return performers(self.parts)

    async def do(
        self,
        kind: StepKind,
        target: str = "x",
        *,
        limit_s: float = 60.0,
        minimum_s: float = 8.0,
        expected_s: float = 10,
        told: bool = False,
    ) -> StepProgress:
        """Run one step to its end; `told` is whether its machine took the power-off in an earlier run of the daemon."""
        if told:
            self.going_off.acknowledged.add(target)
        step = _step("step", kind, target, (expected_s, minimum_s, limit_s))
        return (await self._run(step))["step"]

    async def drain(self, *nodes: str, limit_s: float = 60.0, minimum_s: float = 8.0) -> dict[str, StepProgress]:
        """Drain these nodes at the same time; how each drain ended."""
        steps = [_step(node, StepKind.DRAIN, node, (minimum_s, minimum_s, limit_s)) for node in nodes]
        return await self._run(*steps)

    async def rehearse(self, kind: StepKind, target: str = "x") -> StepProgress:
        """Prove one step."""
        step = _step("step", kind, target, (10.0, 8.0, 60.0))
        return (await self._run(step, table=rehearsers(self.parts)))["step"]

    async def _run(self, *steps: Step, table: dict[StepKind, Performer] | None = None) -> dict[str, StepProgress]:
        async def record(made: Mapping[str, Scalar]) -> None:
            self.records.append(made)

        engine = Engine(
            table or self.table,
            record=record,
            report=lambda progress: self.said.append(progress.detail),
            battery_end_at=lambda: self.battery_end_at,
        )
        return await engine.run(Plan(PlanPurpose.SHUTDOWN, steps), outage="o1")


def _step(name: str, kind: StepKind, target: str, times_s: tuple[float, float, float]) -> Step:
    expected_s, minimum_s, limit_s = times_s
    return Step(
        id=name,
        kind=kind,
        target=target,
        needs=(),
        expected_s=expected_s,
        minimum_s=minimum_s,
        limit_s=limit_s,
    )


def took_s(progress: StepProgress) -> float:
    """How long a step took."""
    assert progress.started_at is not None
    assert progress.ended_at is not None
    return progress.ended_at - progress.started_at


def add_pod(rack: MemoryRack, name: str, *, stop_s: float = 1.0, node: str = "pi4-a", **more: Any) -> Pod:
    """One more pod, in the namespace `web` unless told; `more` is what else the pod is."""
    return rack.cluster.add_pod(node, Pod(**{"namespace": "web", "name": name, "uid": name, **more}), stop_s=stop_s)


def acts_on(rack: MemoryRack, name: str) -> list[str]:
    """What was done to a pod."""
    return [what for what in rack.did() if f"web/{name} " in what]
