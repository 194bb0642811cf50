"""What does `upsctl events` show a person? A line for each event, and for each change of power or phase."""

from __future__ import annotations

from upsd.ctl.words import POWER, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Paint = Callable[[str, str], str]

SEVERITY_COLOURS = {"info": "green", "warning": "yellow", "critical": "red"}


def event_lines(updates: Iterable[dict[str, Any]], paint: Paint) -> Iterator[str]:
    """The lines for what the daemon streams, as it comes."""
    shown = None
    for update in updates:
        document = update["document"]
        if update["topic"] == "event":
            yield _event(document, paint)
        elif update["topic"] == "state" and _state(document) != shown:
            shown = _state(document)
            yield plain(f"{_when(document)}  state     {shown}")


def _state(document: dict[str, Any]) -> str:
    power = POWER.get(document["power"], document["power"])
    readiness = document.get("readiness")
    armed = ", NOT ARMED" if readiness and not readiness["armed"] else ""
    return f"{power}, {document['phase']}{armed}"


def _event(document: dict[str, Any], paint: Paint) -> str:
    fields = "".join(f"  {name}={value}" for name, value in document["fields"].items() if value is not None)
    severity = plain(document["severity"])
    coloured = paint(f"{severity:<8}", SEVERITY_COLOURS.get(severity, "red"))
    return f"{plain(_when(document))}  {coloured}  {plain(document['event_type'] + fields)}"


def _when(document: dict[str, Any]) -> str:
    return str(document["at"] or "at start")
