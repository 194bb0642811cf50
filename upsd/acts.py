"""What may be commanded over the control socket, and by whom?

Root, the daemon's own user and the members of one group that the settings name. Each command is refused with a reason
where it would be unsafe; what switches outlets also wants to be told that it is meant.
"""

from __future__ import annotations

import asyncio
import functools
import grp
import os
import pwd
from dataclasses import asdict
from typing import TYPE_CHECKING, ParamSpec

from upsd.control import ActError
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from upsd.control import Act, Ask
    from upsd.status import Json
    from upsd.ups.operations import UpsOperations

_LONGEST_DELAY = 0xFFFF
_ROOT = 0

_Arguments = ParamSpec("_Arguments")


def may_act(uid: int, group: str | None) -> str | None:
    """Why this user may not command anything; `None` if he may."""
    if uid in {_ROOT, os.geteuid()}:
        return None
    if group is None:
        return "only root may do that; set control.operators to a group whose members shall be allowed to"
    try:
        user = pwd.getpwuid(uid)
        allowed = grp.getgrnam(group).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        return f"only root may do that: there is no user {uid}, or no group {group} (control.operators)"
    return None if allowed else f"only root and the members of the group {group} may do that"


def ups_asks(operations: UpsOperations) -> dict[str, Ask]:
    """What everybody may ask of the UPS itself."""

    async def details() -> Json:
        return dict(await operations.details())

    async def beeper() -> Json:
        return {"sounding": (await operations.look()).beeper_on}

    return {"ups": _spoken(details), "ups-beeper": _spoken(beeper)}


def outage_inquiries(directory: Path) -> dict[str, Act]:
    """What everybody may ask of the outages that are over: the list, and one report by its `id`, else the newest."""

    async def outages(_request: Mapping[str, Json]) -> Json:
        from upsd.shutdown.outages import list_outages  # noqa: PLC0415 - hardly ever asked for

        return await asyncio.to_thread(list_outages, directory)

    async def outage(request: Mapping[str, Json]) -> Json:
        from upsd.shutdown.outages import UnknownOutageError, show_outage  # noqa: PLC0415 - as above

        name = request.get("id")
        if name is not None and not isinstance(name, str):
            raise ActError("id must be the name of an outage; see: upsctl outages")
        try:
            return await asyncio.to_thread(show_outage, directory, name)
        except UnknownOutageError as error:
            raise ActError(str(error)) from error

    return {"outages": outages, "outage": outage}


def ups_acts(operations: UpsOperations) -> dict[str, Act]:
    """The commands to the UPS."""

    async def battery_test(_request: Mapping[str, Json]) -> Json:
        return asdict(await operations.test_battery())

    async def panel_test(_request: Mapping[str, Json]) -> Json:
        return {"on_battery": (await operations.test_panel()).on_battery}

    async def cycle(request: Mapping[str, Json]) -> Json:
        off_after_s = _whole(request, "off_after_s")
        restore_after_min = _whole(request, "restore_after_min")
        if request.get("yes") is not True:
            raise ActError("it takes the power from everything on its outlets; say that you mean it with --yes")
        return {"confirmed": await operations.cycle_outlets(off_after_s, restore_after_min)}

    async def cancel(_request: Mapping[str, Json]) -> Json:
        return {"confirmed": await operations.cancel_cycle()}

    return {
        "ups-test": _spoken(battery_test),
        "ups-panel-test": _spoken(panel_test),
        "ups-cycle": _spoken(cycle),
        "ups-cancel": _spoken(cancel),
    }


def calibration_acts(operations: UpsOperations, starts_in_s: Callable[[], float | None]) -> dict[str, Act]:
    """Whether a person may discharge the battery; `starts_in_s`: when an outage that begins now would be acted on."""

    async def calibrate(request: Mapping[str, Json]) -> Json:
        if request.get("yes") is not True:
            raise ActError("it lets the rack live on its battery for long; say that you mean it with --yes")
        return asdict(await operations.begin_calibration(starts_in_s))

    return {"ups-calibrate": _spoken(calibrate)}


def battery_acts(replaced: Callable[[], None]) -> dict[str, Act]:
    """The commands that concern what was learned of the battery."""

    async def new_battery(request: Mapping[str, Json]) -> Json:
        if request.get("yes") is not True:
            raise ActError("it forgets all that was learned of the old battery; say that you mean it with --yes")
        replaced()
        return {"forgotten": True}

    return {"ups-new-battery": new_battery}


def _spoken(work: Callable[_Arguments, Awaitable[Json]]) -> Callable[_Arguments, Awaitable[Json]]:
    """The same with errors that the control socket passes on."""

    @functools.wraps(work)
    async def wrapped(*arguments: _Arguments.args, **more: _Arguments.kwargs) -> Json:
        try:
            return await work(*arguments, **more)
        except UpsError as error:
            raise ActError(str(error)) from error

    return wrapped


def _whole(request: Mapping[str, Json], name: str) -> int:
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LONGEST_DELAY:
        raise ActError(f"{name} must be a whole number from 1 to {_LONGEST_DELAY}")
    return value
