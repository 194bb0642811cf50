"""What may be commanded of the plan, and when would it be unsafe? `shutdown` and `abort`.

A shutdown that was asked for is the one that an outage would run, and goes on with mains or without. Nothing but an
abort calls it off.

An abort on battery is refused while a trigger holds, because that would start the shutdown again at once. By force the
triggers that the settings fix are held back until the mains is back; the last lines of defence never are: the latest
safe start, which then counts whatever the settings say, and what the UPS itself says. While one of these holds, to stop
the shutdown would be to lose what it saves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.control import ActError
from upsd.domain.plan import StepKind
from upsd.domain.power import Event, Severity
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import point_of_no_return
from upsd.shutdown.trigger import REQUESTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.control import Act
    from upsd.shutdown.conductor import Conductor
    from upsd.status import Json
    from upsd.supervisor import Supervisor

_NAMED_AT_MOST = 8


def plan_acts(supervisor: Supervisor, conductor: Conductor, emit: Callable[[Event], None]) -> dict[str, Act]:
    """The commands to the plan."""

    async def shutdown(request: Mapping[str, Json]) -> Json:
        if not conductor.may_start:
            raise ActError(f"a shutdown is under way already ({conductor.reason}); watch it: upsctl status")
        if request.get("yes") is not True:
            raise ActError(f"{_what_it_does(conductor)}; say that you mean it with --yes")
        supervisor.request_shutdown()
        return {"outage": conductor.outage, "expected_s": round(critical_path_s(conductor.plan), 1)}

    async def abort(request: Mapping[str, Json]) -> Json:
        now, force = asyncio.get_running_loop().time(), request.get("force") is True
        held = supervisor.held(now)
        if reason := _why_nothing_to_abort(conductor) or _why_unsafe(supervisor, held, now, force=force):
            raise ActError(reason)
        outage = conductor.outage
        if held:
            supervisor.hold_back()
            emit(Event("triggers_held_back", Severity.WARNING, {"triggers": ", ".join(held)}))
        conductor.call_off(REQUESTED)
        return {"outage": outage, "held_back": [*held]}

    return {"shutdown": shutdown, "abort": abort}


def _what_it_does(conductor: Conductor) -> str:
    machines = [
        step.target for step in conductor.plan.steps if step.kind in {StepKind.POWEROFF, StepKind.HOST_POWEROFF}
    ]
    named = ", ".join(machines) if len(machines) <= _NAMED_AT_MOST else f"all {len(machines)} machines"
    return (
        f"it would power off {named} in order, within about {critical_path_s(conductor.plan):.0f} s, and have the UPS"
        " cycle its outlets: with mains, everything then starts again"
    )


def _why_nothing_to_abort(conductor: Conductor) -> str | None:
    match conductor.phase:
        case Phase.IDLE:
            return "no shutdown is under way"
        case Phase.ABORTING:
            return "what was begun is being undone already; watch it: upsctl status"
        case Phase.REHEARSING:
            return "no shutdown is under way: a rehearsal is, which harms nothing and ends by itself"
        case Phase.RECOVERING:
            return "no shutdown is under way: the rack is being brought back; watch it: upsctl status"
        case _ if conductor.committed or conductor.phase is Phase.FINISHED:
            return (
                f"the point of no return is passed ({point_of_no_return(conductor.plan)}): machines are going off, and"
                " only the outlet cycle at the end of the plan starts them again; let it run to its end"
            )
    return None


def _why_unsafe(supervisor: Supervisor, held: tuple[str, ...], now: float, *, force: bool) -> str | None:
    if last := supervisor.held(now, last_lines_only=True):
        return (
            f"on battery, and it lasts no longer than the shutdown needs ({', '.join(last)}): without it the rack loses"
            " its power unsaved. Mains back before the first power-off undoes it by itself"
        )
    if held and not force:
        return (
            f"on battery, and what started the shutdown still holds ({', '.join(held)}): it would start again at once."
            " With --force that is held back until the mains is back, and the shutdown starts at the latest safe start"
        )
    return None
