"""What does `upsctl status` show a person? The two status documents as lines of at most 80 columns."""

from __future__ import annotations

import textwrap

from upsd.ctl.words import POWER, UNKNOWN, duration, plain, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Paint = Callable[[str, str], str]

WIDTH = 80
INDENT = 10

POWER_COLOURS = {"on_line": "green", "on_battery": "yellow", "output_off": "red", "unknown": "red"}
STEP_COLOURS = {
    "done": "green",
    "running": "yellow",
    "forced": "yellow",
    "failed": "red",
    "timed-out": "red",
    "left-out": "yellow",
}
SOURCES = {"model": "by our model", "ups": "by the UPS"}


def status_lines(state: dict[str, Any], shutdown: dict[str, Any], paint: Paint) -> list[str]:
    """The table, top to bottom: what feeds the rack, for how long, what happens next, what is under way."""
    colour = POWER_COLOURS.get(state["power"], "red")
    lines = [
        *_row("UPS", _ups(state)),
        *_row("Power", _power(state), lambda text: paint(text, colour)),
        *_row("Status", _status(state)),
        *_row("Input", _line(state, "input")),
        *_row("Output", f"{_line(state, 'output')}, load {_reported(state, 'ups.load', '%')}"),
        *_row("Battery", _battery(state)),
        *_row("Runtime", _runtime(state["runtime"])),
        *_row("Health", _health(state["battery"])),
        *_row("Plan", _plan(state["plan"])),
        *_row("Next", _next(state, shutdown)),
        *_ready(state.get("readiness"), paint),
    ]
    for number, warning in enumerate(state["warnings"]):
        lines += _row("" if number else "Warnings", plain(warning), lambda text: paint(text, "yellow"))
    if shutdown["steps"]:
        lines += ["", *_progress(shutdown, paint)]
    return lines


def _row(label: str, text: str, decorate: Callable[[str], str] = str) -> list[str]:
    wrapped = textwrap.wrap(text, WIDTH - INDENT, break_on_hyphens=False) or [""]
    return [f"{label if not index else '':<{INDENT}}{decorate(line)}" for index, line in enumerate(wrapped)]


def _ups(state: dict[str, Any]) -> str:
    device = state["device"] or {}
    named = [state["ups"], device.get("device.model")]
    if device.get("device.serial"):
        named.append(f"serial {device['device.serial']}")
    return ", ".join(plain(part) for part in named if part)


def _power(state: dict[str, Any]) -> str:
    words = plain(POWER.get(state["power"], state["power"]))
    if state["on_battery_s"] is not None:
        since = "" if state["power"] == "on_battery" else ", on battery when last heard of,"
        words += f"{since} for {duration(state['on_battery_s'])}"
    testing = state["readings"]["ups.test.result"] == "In progress"
    return f"{words} (battery test in progress)" if testing else words


def _status(state: dict[str, Any]) -> str:
    tokens, age = state["readings"]["ups.status"], state["reading_age_s"]
    return UNKNOWN if tokens is None else f"{plain(tokens)}, read {duration(age)} ago"


def _reported(state: dict[str, Any], name: str, unit: str) -> str:
    return quantity(state["readings"][name], unit) or UNKNOWN


def _line(state: dict[str, Any], side: str) -> str:
    values = (_reported(state, f"{side}.voltage", "V"), _reported(state, f"{side}.frequency", "Hz"))
    return UNKNOWN if values == (UNKNOWN, UNKNOWN) else ", ".join(values)


def _battery(state: dict[str, Any]) -> str:
    voltage, charge = _reported(state, "battery.voltage", "V"), _reported(state, "battery.charge", "%")
    temperature, test = quantity(state["readings"]["ups.temperature"], "deg C"), state["readings"]["ups.test.result"]
    more = [temperature, f"last test: {plain(test)}" if test and test != "In progress" else None]
    return ", ".join([voltage, f"charge {charge}", *filter(None, more)])


def _runtime(runtime: dict[str, Any] | None) -> str:
    if runtime is None:
        return "not known before the first reading"
    source = SOURCES.get(runtime["source"], plain(runtime["source"]))
    told = "" if runtime["ups_s"] is None else f"; the UPS says {duration(runtime['ups_s'])}"
    return f"{duration(runtime['expected_s'])} (at least {duration(runtime['low_s'])}, {source}{told})"


def _health(battery: dict[str, Any]) -> str:
    percent, replace_by = battery["health_percent"], battery["replace_by"]
    due = "" if replace_by is None else f"replace the battery by {plain(replace_by)}"
    if percent is None:
        return due or "not known yet: no discharge has shown it"
    known = f"{percent:.0f} % of a new battery on {plain(battery['health_at'])}"
    return ", ".join(part for part in (f"{known} ({plain(battery['health_known_by'])})", due) if part)


def _plan(plan: dict[str, Any] | None) -> str:
    if plan is None:
        return "not computed yet"
    measured = plan.get("measured") or {}
    on = f", measured: {measured['steps']} of {measured['of']} steps" if measured.get("steps") else ""
    return f"a shutdown takes {duration(plan['expected_s'])} ({duration(plan['minimum_s'])} when forced){on}"


def _ready(readiness: dict[str, Any] | None, paint: Paint) -> list[str]:
    if readiness is None:
        return _row("Ready", "not judged before the UPS has been heard")
    if readiness["ready"]:
        words = (
            f"yes: all {readiness['of']} steps are proven, the oldest proof is of {plain(readiness['oldest_proof'])}"
        )
        return _row("Ready", words, lambda text: paint(text, "green"))
    first, *more = readiness["because"]
    words = f"NO: {plain(first)}" + (f"; and {len(more)} more" if more else "")
    return _row("Ready", words, lambda text: paint(text, "red"))


def _next(state: dict[str, Any], shutdown: dict[str, Any]) -> str:
    phase, power = state["phase"], state["power"]
    under_way = {
        "shutting-down": _until_the_end(shutdown),
        "aborting": _undoing(shutdown),
        "recovering": "the rack is being brought back",
        "drilling": "a drill: one worker goes off as in an outage, and is brought back",
        "rehearsing": "every step is being proven; nothing is changed",
        "finished": "the shutdown is complete: this machine goes off",
    }
    if phase in under_way:
        return under_way[phase]
    if state["on_battery_s"] is not None and not (state.get("readiness") or {}).get("armed", True):
        return "NOT ARMED: no shutdown starts, until the battery is empty; run upsctl arm --unproven"
    if state["on_battery_s"] is not None:
        return _start((state["plan"] or {}).get("starts_in_s"))
    if power == "on_line":
        return "nothing: the rack runs on mains"
    return "waiting for a UPS that answers and feeds its outlets"


def _undoing(shutdown: dict[str, Any]) -> str:
    if shutdown.get("reason") == "drill":
        return "a drill: the worker is being brought back; switch it on if it can't be woken (no mac)"
    return "what the shutdown did is being undone"


def _until_the_end(shutdown: dict[str, Any]) -> str:
    if shutdown.get("committed"):
        return "the point of no return is passed: the shutdown runs to its end"
    if shutdown.get("reason") == "requested":
        return "until the first power-off, upsctl abort would undo what was done"
    return "mains back before the first power-off would undo what was done"


def _start(starts_in_s: float | None) -> str:
    if starts_in_s is None:
        return "the shutdown starts when the UPS says so, if [shutdown] in the settings lets it"
    if starts_in_s <= 0:
        return "the shutdown starts now"
    return f"the shutdown starts in {duration(starts_in_s)}, unless mains is back before"


def _progress(shutdown: dict[str, Any], paint: Paint) -> list[str]:
    rehearsal = shutdown["phase"] == "rehearsing"
    drill = "drill" if shutdown["reason"] == "drill" else "outage"
    outage = f"{shutdown['phase']}, {drill} {shutdown['outage'] or UNKNOWN}: {shutdown['reason'] or UNKNOWN}"
    title = "rehearsing: nothing is changed" if rehearsal else outage
    lines = [paint(line, "bold") for line in textwrap.wrap(plain(title), WIDTH)]
    id_width = max(len(step["id"]) for step in shutdown["steps"])
    for step in shutdown["steps"]:
        text = f"{plain(step['id']):<{id_width}}  {_step_time(step):>9}  {_step_detail(step)}"
        first, *rest = textwrap.wrap(
            text.rstrip(), WIDTH - 12, subsequent_indent=" " * min(id_width + 13, WIDTH // 2), drop_whitespace=True
        )
        state = f"{step['state']:<10}"
        lines.append(
            f"  {paint(state, STEP_COLOURS[step['state']]) if step['state'] in STEP_COLOURS else state}{first}"
        )
        lines += [f"{'':12}{line}" for line in rest]
    return lines


def _step_time(step: dict[str, Any]) -> str:
    return "" if step["seconds"] is None else duration(step["seconds"])


def _step_detail(step: dict[str, Any]) -> str:
    left = step["deadline_in_s"] if step["state"] == "running" else None
    limit = "" if left is None else f"at most {duration(left)} more"
    return ", ".join(part for part in (plain(step["detail"]), limit) if part)
