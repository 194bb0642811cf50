"""`upsctl ups calibrate`: an operator pulls the plug of the UPS, and is told when to put it back.

It only looks: the daemon takes the discharge for the outage that it is, learns from it, and shuts the rack down in
order if the plug is forgotten.
"""

from __future__ import annotations

from datetime import datetime

from upsd.ctl import client
from upsd.ctl.words import UNKNOWN, duration, plain, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

OK, FAILED = 0, 1
ANSWER_S = 20.0
PULLED_WITHIN_S = 300.0
TELL_EVERY_S = 10.0
BELL = "\a"


def run(socket: str, *, yes: bool) -> int:
    """Supervise one discharge; the exit status."""
    limits = client.act(socket, "ups-calibrate", ANSWER_S, yes=yes)
    before = client.ask(socket, "status")["state"]
    _tell(
        f"The battery is charged. {_counted_on(before)}\n"
        "Pull the mains plug of the UPS now. You are told when to put it back; if you don't, it is an outage,\n"
        "and the rack is shut down in order."
    )
    states = (update["document"] for update in client.follow(socket) if update["topic"] == "state")
    after = supervise(states, limits, _tell)
    if after is None:
        return FAILED
    _tell(f"before, full:  {_counted_on(before)}\nnow, not full: {_counted_on(after)}")
    return OK


def supervise(
    states: Iterable[dict[str, Any]], limits: dict[str, float], tell: Callable[[str], None]
) -> dict[str, Any] | None:
    """Follow the daemon's states until the mains is back: the last of them, or `None` if it did not come to that."""
    began, told_s, over = None, -TELL_EVERY_S, False
    for state in states:
        began = began or _moment(state)
        if state["phase"] != "idle":
            tell(f"{BELL}The shutdown has started: put the plug back, and follow it with upsctl status.")
            return None
        passed_s = state["on_battery_s"]
        if passed_s is None:
            if told_s >= 0:
                tell("Mains is back.")
                return state
            if (_moment(state) - began).total_seconds() > PULLED_WITHIN_S:
                tell("The plug was not pulled: nothing was done.")
                return None
            continue
        over = over or plug_goes_back(state, limits)
        if over or passed_s - told_s >= TELL_EVERY_S:
            told_s = passed_s
            tell(f"{BELL}PUT THE PLUG BACK NOW. {_progress(state)}" if over else _progress(state))
    return None


def plug_goes_back(state: dict[str, Any], limits: dict[str, float]) -> bool:
    """Whether the discharge has gone as far as it may; also when that can't be seen any more."""
    volts, starts_in_s = state["readings"]["battery.voltage"], (state["plan"] or {}).get("starts_in_s")
    low = "LB" in (state["readings"]["ups.status"] or "").split()
    unseen = state["power"] == "unknown" or volts is None
    soon = starts_in_s is not None and starts_in_s <= limits["plug_back_before_start_s"]
    return low or unseen or soon or volts <= limits["safe_v"]


def _progress(state: dict[str, Any]) -> str:
    runtime, plan = state["runtime"] or {}, state["plan"] or {}
    volts = quantity(state["readings"]["battery.voltage"], "V") or UNKNOWN
    return (
        f"{duration(state['on_battery_s'])} on battery, {plain(volts)}; low in"
        f" {duration(runtime.get('expected_s'))} or so, surely not within {duration(runtime.get('low_s'))};"
        f" a shutdown would start in {duration(plan.get('starts_in_s'))}"
    )


def _moment(state: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(str(state["at"]))


def _counted_on(state: dict[str, Any]) -> str:
    runtime, health = state["runtime"] or {}, state["battery"]["health_percent"]
    worn = "not known" if health is None else f"{health} %"
    times = duration(runtime.get("low_s")), duration(runtime.get("expected_s"))
    return f"{times[0]} until low are counted on, {times[1]} expected; health {worn}."


def _tell(text: str) -> None:
    print(text, flush=True)
