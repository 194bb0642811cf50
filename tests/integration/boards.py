"""What a daemon has to show, for those who ask it over its socket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind
from upsd.domain.power import PowerState, Reading, RuntimeEstimate, UpsIdentity
from upsd.domain.readiness import Readiness
from upsd.plan_document import plan_document
from upsd.shutdown.shedding import ShedGroup
from upsd.status import Snapshot, StatusBoard, state_document

if TYPE_CHECKING:
    from upsd.status import Json

AT = "2026-11-23T19:00:00Z"

ON_LINE = Snapshot(
    ups="iplug",
    identity=UpsIdentity(
        model="iPlug 800",
        serial="AB12",
        firmware=None,
        apparent_power_va=800,
        real_power_w=480,
        battery_voltage_v=12,
        battery_capacity_ah=9,
        output_voltage_v=230,
        output_frequency_hz=50.0,
    ),
    power=PowerState.ON_LINE,
    reading=Reading(
        at=100.0,
        output_powered=True,
        on_battery=False,
        battery_low=False,
        input_voltage_v=231,
        input_frequency_hz=50.0,
        battery_voltage_v=13.6,
    ),
    on_battery_s=None,
    runtime=RuntimeEstimate(2280.0, 1440.0, 3000.0, "model"),
    plan_expected_s=130.0,
    plan_minimum_s=45.0,
    starts_in_s=None,
    outage=None,
    phase="idle",
    warnings=(),
    readiness=Readiness(ready=True, because=(), armed=True, proven_steps=17, of=17, oldest_proof="2026-11-20"),
)
ON_BATTERY = replace(ON_LINE, power=PowerState.ON_BATTERY, on_battery_s=125.0, starts_in_s=660.0, outage="2026-11-23-1")


def show(board: StatusBoard, snapshot: Snapshot) -> None:
    """Put a snapshot on the board, two seconds after its reading."""
    board.set_state(state_document(snapshot, at=AT, now=102.0))


def step(number: int, kind: StepKind, target: str = "worker-1") -> Step:
    """A step of a plan."""
    return Step(
        id=f"{kind}-{target}",
        kind=kind,
        target=target,
        needs=(),
        expected_s=40.0,
        minimum_s=5.0,
        limit_s=100.0 + number,
    )


async def planned() -> Json:
    """What is answered to `plan`."""
    steps = (step(1, StepKind.CORDON), replace(step(2, StepKind.DRAIN), needs=("cordon-worker-1",)))
    runtime = RuntimeEstimate(2280.0, 1440.0, 3000.0, "model")
    return plan_document(
        Plan(PlanPurpose.SHUTDOWN, steps),
        runtime,
        reserve_s=60.0,
        margin_s=60.0,
        recovery=Plan(PlanPurpose.RECOVERY, (step(3, StepKind.WAIT_HOST),)),
        shedding=[ShedGroup(name="extras", workers=("worker-1",), on_battery_s=300.0)],
    )
