"""May this worker be powered off and brought back now, to prove that it can be? `drill`.

A drill needs no arming: it is how one gets the confidence to arm. It is refused as long as anything else runs or might
begin, because an outage always comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upsd.control import ActError
from upsd.domain.plan import StepKind
from upsd.domain.power import PowerState
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.trials import drill_plan, return_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.control import Act
    from upsd.shutdown.conductor import Conductor
    from upsd.shutdown.plan import HostShape, RackShape
    from upsd.status import Json
    from upsd.supervisor import Supervisor


def drill_acts(supervisor: Supervisor, conductor: Conductor) -> dict[str, Act]:
    """The command."""

    async def drill(request: Mapping[str, Json]) -> Json:
        worker = _worker(conductor.shape, request.get("worker"))
        if reason := _why_not_now(supervisor, conductor) or _why_the_quorum_needs(worker, conductor):
            raise ActError(f"no drill now: {reason}")
        plans = (drill_plan(conductor.shape, worker.name), return_plan(conductor.shape, worker.name))
        away, back = map(conductor.by_experience, plans)
        expected_s = critical_path_s(away) + critical_path_s(back)
        waits_s = next(step.limit_s for step in back.steps if step.kind is StepKind.WAIT_HOST)
        if request.get("yes") is not True:
            raise ActError(
                f"{_what_it_does(conductor.shape, worker, expected_s, waits_s)}; say that you mean it with --yes"
            )
        return {
            "drill": conductor.drill(worker.name).name,
            "worker": worker.name,
            "wakes": worker.wakes,
            "expected_s": round(expected_s, 1),
            "waits_s": waits_s,
        }

    return {"drill": drill}


def _worker(shape: RackShape, name: Json) -> HostShape:
    found = next((worker for worker in shape.workers if worker.name == name), None)
    if found:
        return found
    known = ", ".join(worker.name for worker in shape.workers) or "there are none"
    if name == shape.master.name:
        raise ActError(f"{name} is the master, on which upsd runs; a drill is of one of the workers: {known}")
    if shape.storage and name == shape.storage.name:
        raise ActError(f"{name} is the NAS, which the others write to; a drill is of one of the workers: {known}")
    raise ActError(f"there is no worker {str(name)[:80]!r}; the workers are: {known}")


def _why_not_now(supervisor: Supervisor, conductor: Conductor) -> str | None:
    view, reading = supervisor.view, supervisor.view.reading
    if conductor.phase is not Phase.IDLE:
        return f"the daemon's own plan is under way ({conductor.phase.value}); watch it: upsctl status"
    if view.state is PowerState.UNKNOWN:
        return "the UPS is not heard, so an outage would not be seen: upsctl status says why"
    if view.state is PowerState.ON_BATTERY:
        return "the rack runs on battery, and an outage comes first"
    if not view.on_mains or view.testing or (reading and reading.on_battery):
        return "the UPS tests its battery, or does not say for sure that the mains is there; try again in a moment"
    return None


def _why_the_quorum_needs(worker: HostShape, conductor: Conductor) -> str | None:
    shape, down = conductor.shape, conductor.missing - {worker.name}
    if worker.name not in shape.kept_for_quorum({worker.name}, down):
        return None
    away = sorted(server.name for server in shape.servers if server.name in down)
    servers = f"{len(shape.servers) + 1} k3s servers (with the master)" + (
        f", with {', '.join(away)} away" if away else ""
    )
    return f"without {worker.name} there is no quorum of {servers}, and so no API to bring its pods back"


def _what_it_does(shape: RackShape, worker: HostShape, expected_s: float, waits_s: float) -> str:
    pods = "; its pods move to other machines first" if shape.cluster else ""
    back = (
        "upsd wakes it at once (Wake-on-LAN)"
        if worker.wakes
        else f"somebody has to switch it on, as it can't be woken (no mac): upsd waits {waits_s:.0f} s for it"
    )
    return (
        f"it would power off {worker.name} for real, and no other machine{pods}. As soon as it is off, {back}."
        f" All that takes about {expected_s:.0f} s, if it goes well"
    )
