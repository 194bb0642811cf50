"""The demo's screen: supply, machines, steps and events, in 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hardware_sim.demo.subscriber import event_line
from hardware_sim.demo.verdict import pods_to_end
from hardware_sim.machines import MachineState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hardware_sim.demo.subscriber import Subscriber
    from hardware_sim.rack import SimulatedRack

WIDTH: Final = 100
HEIGHT: Final = 34
_LEFT: Final = 40
_EVENTS_SHOWN: Final = 7

_STEP_STYLES: Final = {
    "pending": ("·", "dim"),
    "running": ("▶", "bold cyan"),
    "done": ("✓", "green"),
    "forced": ("!", "bold yellow"),
    "failed": ("✗", "bold red"),
    "timed-out": ("✗", "bold red"),
    "left-out": ("✗", "yellow"),
    "cancelled": ("✗", "yellow"),
}
_MACHINE_STYLES: Final = {
    MachineState.RUNNING: "green",
    MachineState.STOPPING: "yellow",
    MachineState.BOOTING: "cyan",
    MachineState.OFF: "dim",
}
_POWER_WORDS: Final = {
    "on_line": ("ON LINE", "bold green"),
    "on_battery": ("ON BATTERY", "bold yellow"),
    "output_off": ("OUTPUT OFF", "bold red"),
    "unknown": ("UNKNOWN", "bold magenta"),
}


def draw(rack: SimulatedRack, subscriber: Subscriber, *, after_s: float) -> RenderableType:
    """One picture of the rack."""
    caption = _caption(rack, subscriber)
    columns = Table.grid(padding=(0, 1))
    columns.add_column(width=_LEFT)
    columns.add_column(width=WIDTH - _LEFT - 2)
    columns.add_row(Group(_supply(rack, subscriber), _machines(rack)), _steps(subscriber))
    title = Text.assemble((f" {after_s:5.1f} s  ", "bold"), (caption, "bold"))
    return Group(title, columns, _events(subscriber))


def _caption(rack: SimulatedRack, subscriber: Subscriber) -> str:
    """What happens now, in words."""
    heard = {event["event_type"] for _, event in subscriber.events}
    if rack.outlets_cut.is_set():
        return "the UPS has cut its outlets"
    if rack.master.state is MachineState.OFF:
        return "everybody is off; the UPS will cut its outlets in some seconds"
    if rack.master.state is MachineState.STOPPING:
        return "the master goes off, and the daemon with it"
    if "point_of_no_return" in heard:
        return "past the point of no return: the shutdown runs to its end"
    if "shutdown_started" in heard:
        return "the shutdown has started (here after 4 s; by default as late as the battery allows)"
    if not rack.device.mains_usable:
        return "the mains is gone"
    if subscriber.state.get("power") == "on_line":
        return "all is well; the mains will be cut"
    return "the rack starts"


def _supply(rack: SimulatedRack, subscriber: Subscriber) -> Panel:
    state = subscriber.state
    words, style = _POWER_WORDS.get(state.get("power", ""), ("no reading yet", "dim"))
    readings = state.get("readings") or {}
    lines = Table.grid(padding=(0, 1))
    on_battery_s = state.get("on_battery_s")
    since = f" for {on_battery_s:.0f} s" if on_battery_s is not None else ""
    lines.add_row("supply", Text(f"{words}{since}", style))
    lines.add_row("input", f"{_shown(readings.get('input.voltage'))} V")
    battery = f"{_shown(readings.get('battery.voltage'))} V, charge {_shown(readings.get('battery.charge'))}"
    lines.add_row("battery", battery)
    lines.add_row("runtime", _runtime(state))
    lines.add_row("load", f"{rack.device.load_w:.0f} W of the outlets")
    return Panel(lines, title="Riello iPlug 800", title_align="left", width=_LEFT)


def _runtime(state: dict[str, Any]) -> str:
    runtime = state.get("runtime")
    if not runtime:
        return "not known"
    return f"{runtime['expected_s'] / 60:.0f} min, at least {runtime['low_s'] / 60:.0f}"


def _machines(rack: SimulatedRack) -> Panel:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for name in ("machine", "state", "outlet"):
        table.add_column(name, header_style="dim")
    for machine in rack.machines.values():
        outlet = Text("on", "green") if machine.powered else Text("cut", "red")
        table.add_row(machine.name, Text(machine.state.value, _MACHINE_STYLES[machine.state]), outlet)
    cluster = rack.kubernetes.cluster
    nodes = [node["metadata"]["name"] for node in cluster.store.items("nodes")]
    cordoned = sum(cluster.is_cordoned(node) for node in nodes)
    table.add_row("")
    table.add_row("k3s", f"{len(list(pods_to_end(rack)))} pods to end", "")
    table.add_row("", f"{cordoned} of {len(nodes)} cordoned", "")
    table.add_row("NAS", f"{rack.nas.unflushed} to flush", "")
    return Panel(table, title="the rack", title_align="left", width=_LEFT)


def _steps(subscriber: Subscriber) -> Panel:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=24, no_wrap=True)
    table.add_column(width=6, no_wrap=True, justify="right")
    table.add_column(width=19, no_wrap=True, overflow="ellipsis")
    steps = subscriber.shutdown.get("steps") or []
    for step in steps:
        icon, style = _STEP_STYLES[step["state"]]
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f} s"
        table.add_row(Text(icon, style), Text(step["id"], style), seconds, Text(step["detail"] or "", "dim"))
    if not steps:
        table.add_row("", Text("no plan runs", "dim"), "", "")
    phase = subscriber.shutdown.get("phase", "idle")
    return Panel(table, title=f"plan: {phase}", title_align="left", width=WIDTH - _LEFT - 2, height=23)


def _events(subscriber: Subscriber) -> Panel:
    lines = [Text(f"{after_s:5.1f} s  {event_line(event)}") for after_s, event in subscriber.events[-_EVENTS_SHOWN:]]
    lines += [Text("")] * (_EVENTS_SHOWN - len(lines))
    for line in lines:
        line.truncate(WIDTH - 4, overflow="ellipsis")
    return Panel(Group(*lines), title="MQTT upsd/iplug/event, as a subscriber sees it", title_align="left", width=WIDTH)


def _shown(value: object) -> str:
    return "not reported" if value is None else str(value)
