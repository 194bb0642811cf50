"""One step at a time: a rack in memory, and an engine that runs a plan of a single step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind, StepProgress
from upsd.domain.rack import Pod
from upsd.shutdown.engine import Engine
from upsd.shutdown.floor import AMPLE, BatteryLevel
from upsd.shutdown.steps import GoingOff, Rack, RemoteMachine, performers
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.memory_rack import MemoryRack
    from upsd.domain.power import Event, Scalar

DELETE_GRACE_S = 5
COMMAND = "poweroff"


@dataclass
class Workbench:
    """Runs single steps on a rack in memory, as the engine does."""

    rack: MemoryRack
    events: list[Event] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    machines: dict[str, RemoteMachine] = field(init=False)
    level: BatteryLevel = AMPLE
    workloads: WorkloadMemory = field(default_factory=WorkloadMemory)
    going_off: GoingOff = field(default_factory=GoingOff)
    records: list[Mapping[str, Scalar]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Know the machines."""
        self.machines = {
            name: RemoteMachine(host, COMMAND, host if host.wakes else None) for name, host in self.rack.hosts.items()
        }

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
        step = Step(
            id="step",
            kind=kind,
            target=target,
            needs=(),
            expected_s=expected_s,
            minimum_s=minimum_s,
            limit_s=limit_s,
        )
        table = performers(
            Rack(
                emit=self.events.append,
                outlets=self.rack.outlets,
                outlet_off_delay_s=120,
                outlet_restore_delay_min=1,
                local_host=self.rack.local_host,
                machines=self.machines,
                cluster=self.rack.cluster,
                delete_grace_s=DELETE_GRACE_S,
                storage=self.rack.storage,
                datastore=self.rack.datastore,
                battery=lambda: self.level,
                workloads=self.workloads,
                going_off=self.going_off,
            )
        )

        async def record(made: Mapping[str, Scalar]) -> None:
            self.records.append(made)

        engine = Engine(
            table,
            record=record,
            report=lambda progress: self.said.append(progress.detail),
            battery_end_at=lambda: float("inf"),
        )
        if told:
            self.going_off.acknowledged.add(target)
        results = await engine.run(Plan(PlanPurpose.SHUTDOWN, (step,)), outage="o1")
        return results["step"]


def took_s(progress: StepProgress) -> float:
    """How long a step took."""
    assert progress.started_at is not None
    assert progress.ended_at is not None
    return progress.ended_at - progress.started_at


def add_pod(rack: MemoryRack, name: str, *, stop_s: float = 1.0, grace_s: int = 30, **kind: bool) -> Pod:
    """One more pod on pi4-a."""
    return rack.cluster.add_pod("pi4-a", Pod("web", name, uid=name, grace_s=grace_s, **kind), stop_s=stop_s)


def acts_on(rack: MemoryRack, name: str) -> list[str]:
    """What was done to a pod."""
    return [what for what in rack.did() if f"web/{name} " in what]
