"""`upsctl drill`: one worker really off and back again, step by step as it goes."""

from __future__ import annotations

import json

from upsd.ctl import client
from upsd.ctl.readiness import ANSWER_S, FAILED, OK, PROVEN, step_line
from upsd.ctl.words import duration, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from typing import Any

    from upsd.ctl.readiness import Paint

INTERRUPTED = 130


def run(options: Namespace, socket: str, paint: Paint) -> int:
    """Start the drill and follow it to its end; the exit status."""
    updates = client.follow(socket)
    next(updates)  # from here on nothing is missed
    begun = client.act(socket, "drill", ANSWER_S, worker=options.worker, yes=options.yes)
    try:
        if not options.json:
            print(f"The drill of {plain(begun['worker'])} has begun and needs about {duration(begun['expected_s'])}.")
            print("Call it off with upsctl abort; Ctrl-C only ends the watching.", flush=True)
        return _follow(updates, begun, paint, as_json=options.json)
    except KeyboardInterrupt:
        if not options.json:
            print("\nNo longer watched: the drill goes on. Look with upsctl status.")
        return INTERRUPTED


def _follow(updates: Iterator[dict[str, Any]], begun: dict[str, Any], paint: Paint, *, as_json: bool) -> int:
    steps: list[dict[str, Any]] = []
    end: dict[str, Any] = {}
    cancelled = False
    for update in updates:
        name, fields = update["document"].get("event_type"), update["document"].get("fields", {})
        if name in {"drill_finished", "drill_cancelled"} and fields["drill"] == begun["drill"]:
            cancelled, end = name == "drill_cancelled", fields
            break
        if name == "step_ended":
            steps.append(fields)
        if not as_json and (line := _line(name, fields, begun, paint)):
            print(line, flush=True)
    bad = end.get("not_done")
    if as_json:
        print(json.dumps({**begun, "cancelled": cancelled, "not_done": bad, "results": steps}))
    else:
        print(_summary(begun, bad, steps, cancelled=cancelled))
    return FAILED if bad or cancelled else OK


def _line(name: str | None, fields: dict[str, Any], begun: dict[str, Any], paint: Paint) -> str | None:
    if name == "step_ended":
        return step_line(fields, paint)
    if name == "step_started" and fields["step"].startswith("wait-host ") and not begun["wakes"]:
        return paint(
            f"NOW SWITCH {plain(begun['worker'])} ON: it can't be woken from here."
            f" upsd waits {duration(begun['waits_s'])} for it.",
            "bold",
        )
    return None


def _summary(begun: dict[str, Any], bad: str | None, steps: list[dict[str, Any]], *, cancelled: bool) -> str:
    worker = plain(begun["worker"])
    if cancelled:
        return f"called off: see upsctl status; {worker} comes back with the mains, or with all the others"
    if bad:
        still = f"; {worker} is not back as it was: see upsctl status" if _is_away(steps) else ""
        return f"{len(bad.split(', '))} of {len(steps)} steps went wrong: {plain(bad)}{still}"
    return f"all {len(steps)} steps are done: {worker} went off as in an outage, and is back as it was"


def _is_away(steps: list[dict[str, Any]]) -> bool:
    """Whether a step of the way back went wrong."""
    back = ("wait-host", "wait-ready", "uncordon", "workloads")
    return any(step["step"].split()[0] in back and step["state"] not in PROVEN for step in steps)
