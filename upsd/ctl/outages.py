"""What were the outages? The list of those that are over, and the report of one, as the daemon has written it."""

from __future__ import annotations

import json

from upsd.ctl import client
from upsd.ctl.words import UNKNOWN, duration, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence
    from typing import Any


def run(options: Namespace, path: str) -> int:
    """Run one of the commands; the exit status."""
    if options.outages_command == "show":
        arguments = {} if options.id is None else {"id": options.id}
        report = client.ask(path, "outage", **arguments)["outage"]
        print(json.dumps(report["document"]) if options.json else _shown(report["markdown"]))
        return 0
    outages = client.ask(path, "outages")["outages"]
    print(json.dumps(outages) if options.json else "\n".join(outage_lines(outages)))
    return 0


def outage_lines(outages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each outage."""
    if not outages:
        yield "no outage has been seen from its beginning to its end yet"
        return
    yield f"{'began (UTC)':<17} {'mains away':<12} {'ended':<10} {'wrong':<6} id"
    for outage in outages:
        began = str(outage["began_at"] or UNKNOWN)[:16].replace("T", " ")
        wrong = UNKNOWN if outage["troubles"] is None else str(len(outage["troubles"]) or "-")
        away, ending = duration(outage["mains_away_s"]), outage["ending"] or UNKNOWN
        yield plain(f"{began:<17} {away:<12} {ending:<10} {wrong:<6} {outage['outage']}")


def _shown(markdown: str) -> str:
    return "\n".join(plain(line) for line in markdown.rstrip("\n").split("\n"))
