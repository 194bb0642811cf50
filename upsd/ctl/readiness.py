"""`upsctl rehearse`, `arm` and `disarm`: prove the shutdown, and let it happen."""

from __future__ import annotations

import json

from upsd.ctl import client
from upsd.ctl.words import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any

    Paint = Callable[[str, str], str]

OK, FAILED = 0, 1
ANSWER_S = 15.0
PROVEN = frozenset({"done", "forced"})


def run(options: Namespace, socket: str, paint: Paint) -> int:
    """Run the command; the exit status."""
    match options.command:
        case "rehearse":
            return _rehearse(socket, paint, as_json=options.json)
        case "arm":
            answer = client.act(socket, "arm", ANSWER_S, unproven=options.unproven)
            print("armed: an outage starts the shutdown, as late as it is safe")
            if answer["unproven"]:
                print(f"not proven: {plain(', '.join(answer['unproven']))}")
            if answer["trouble"]:
                print(plain(answer["trouble"]))
            return OK
    client.act(socket, "disarm", ANSWER_S, yes=options.yes)
    print("NOT ARMED: no outage starts a shutdown; a shutdown that has begun goes on")
    return OK


def _rehearse(socket: str, paint: Paint, *, as_json: bool) -> int:
    updates = client.follow(socket)
    next(updates)  # from here on nothing is missed
    started = client.act(socket, "rehearse", ANSWER_S)
    steps: list[dict[str, Any]] = []
    cancelled, bad = False, None
    for update in updates:
        name, fields = update["document"].get("event_type"), update["document"].get("fields", {})
        if name == "step_rehearsed":
            steps.append(fields)
            if not as_json:
                print(step_line(fields, paint), flush=True)
        elif name in {"rehearsal_finished", "rehearsal_cancelled"} and fields["rehearsal"] == started["rehearsal"]:
            cancelled, bad = name == "rehearsal_cancelled", fields.get("not_proven")
            break
    if as_json:
        print(json.dumps({**started, "cancelled": cancelled, "results": steps}))
    elif cancelled:
        print("called off: something more important is under way; see upsctl status")
    elif bad:
        print(f"{len(bad.split(', '))} of {started['steps']} steps are not proven: {plain(bad)}")
    else:
        print(f"all {started['steps']} steps are proven; nothing was changed")
    return FAILED if bad or cancelled else OK


def step_line(step: dict[str, Any], paint: Paint) -> str:
    """How a step ended, and why."""
    state = paint(f"{plain(step['state']):<9}", "green" if step["state"] in PROVEN else "red")
    seconds = "" if step.get("seconds") is None else f"{step['seconds']:.1f} s"
    return f"{state} {plain(step['step']):<27} {seconds:>7}  {plain(step['detail'] or '')}".rstrip()
