"""`python -m hardware_sim`: the simulated rack from the command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m hardware_sim", description="The simulated rack of upsd.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="one outage, end to end, before your eyes")
    demo.add_argument("--plain", action="store_true", help="lines instead of a screen, as without a terminal")
    button = commands.add_parser("press", help="press the power button of a running rack's master")
    button.add_argument("button", type=Path, help="the unix socket of the button")
    commands.add_parser("ups", help="a simulated UPS alone, for any software that reads one", add_help=False)
    commands.add_parser("outages", help="whole outages in virtual time, by the thousand", add_help=False)
    if sys.argv[1:2] == ["outages"]:
        from hardware_sim.outages.command import main as outages  # noqa: PLC0415  # each command loads what it needs

        sys.exit(outages(sys.argv[2:]))
    if sys.argv[1:2] == ["ups"]:
        from hardware_sim.ups.program import main as ups  # noqa: PLC0415  # each command loads only what it needs

        sys.exit(ups(sys.argv[2:]))
    arguments = parser.parse_args()
    if arguments.command == "press":
        from hardware_sim.rack import press  # noqa: PLC0415

        asyncio.run(press(arguments.button))
        return
    from hardware_sim.demo.script import run  # noqa: PLC0415

    sys.exit(run(plain=arguments.plain or not sys.stdout.isatty()))


if __name__ == "__main__":
    main()
