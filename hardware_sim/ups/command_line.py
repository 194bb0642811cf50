"""The command line of `python -m hardware_sim ups`, and its help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hardware_sim.ups import scenario
from hardware_sim.ups.actions import ACTIONS, usage_of
from hardware_sim.ups.rig import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.ups.arguments import Argument

LOOPBACK: Final = "127.0.0.1"
NO_LINK: Final = Path()
"""A serial port without a name of its own."""
_USBIP_PORT: Final = 3240
_CONTROL_PORT: Final = 8040
_HELP_COLUMN: Final = 26

_DESCRIPTION: Final = """\
A Riello UPS as software, for whoever writes software for UPSes: a battery with its physics, outlets with their timers,
and the protocol of real ones at its real pace, on a USB device or a serial port that a program can't tell from a real
one. It lives until it gets Ctrl-C or SIGTERM, and says what happens to it.
"""
_EPILOGUE: Final = """\
what can be done to it, by POST on the control or in a scenario:
{actions}

  --actions prints this with all figures, as a table in Markdown. GET on the control shows how everything stands.

scenarios that come along:
{scenarios}

examples:
  python -m hardware_sim ups --pty --control
      for a program that reads a serial port; then cut the mains: curl -X POST http://{loopback}:{control}/cut
  python -m hardware_sim ups --usbip --pty=/tmp/ups --control --load 120
      one UPS, on USB and on a serial port
  python -m hardware_sim ups --usbip --scenario long-outage --speed 60
      an hour in a minute
"""


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    made = argparse.ArgumentParser(
        prog="python -m hardware_sim ups",
        usage="python -m hardware_sim ups (--usbip | --pty | --socket PATH) ... [options]",
        description=_DESCRIPTION,
        epilog=_EPILOGUE.format(
            actions="\n".join(_row(f"{action.name} {usage_of(action)}", action.help) for action in ACTIONS.values()),
            scenarios="\n".join(_row(name, scenario.load(name).title) for name in scenario.shipped()),
            loopback=LOOPBACK,
            control=_CONTROL_PORT,
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_cables(made.add_argument_group("how it is reached; each is another cable to the same UPS"))
    _add_ups(made.add_argument_group("which UPS it is"))
    _add_events(made.add_argument_group("what happens to it"))
    return made


def _add_cables(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--usbip",
        nargs="?",
        const=(LOOPBACK, _USBIP_PORT),
        type=_address,
        metavar="[ADDRESS:]PORT",
        help=f"a USB device for any Linux kernel, over USB/IP ({LOOPBACK}:{_USBIP_PORT})",
    )
    group.add_argument(
        "--pty",
        nargs="?",
        const=NO_LINK,
        type=Path,
        metavar="LINK",
        help="a serial port, as a pseudo terminal; LINK is a symbolic link that always leads to it",
    )
    group.add_argument("--socket", type=Path, metavar="PATH", help="for pyusb without a kernel, by a unix socket")


def _add_ups(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profile", choices=PROFILES, metavar="NAME", help=f"{', '.join(PROFILES)} (iplug-800)")
    group.add_argument("--charge", type=_within(scenario.CHARGE), metavar="0..1", help="of the battery (1)")
    group.add_argument("--load", type=_within(scenario.LOAD), metavar="WATTS", help="on the outlets (80)")
    group.add_argument(
        "--speed",
        type=_within(scenario.SPEED),
        metavar="N",
        help="battery, delays and scenario are N times as fast (1); the cables are not",
    )


def _add_events(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--control",
        nargs="?",
        const=_CONTROL_PORT,
        type=_port,
        metavar="PORT",
        help=f"an HTTP control on {LOOPBACK} ({_CONTROL_PORT})",
    )
    group.add_argument("--scenario", metavar="FILE|NAME", help="play it from the start on")
    group.add_argument("--record", type=Path, metavar="FILE", help="write what is done by the control as a scenario")
    group.add_argument("--actions", action="store_true", help="print what can be done to it, and nothing else")


def _row(left: str, right: str) -> str:
    left = f"  {left.rstrip():<{_HELP_COLUMN - 4}}  "
    return left + right if len(left) <= _HELP_COLUMN else f"{left.rstrip()}\n{'':{_HELP_COLUMN}}{right}"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 0xFFFF:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 (any free one) to 65535, not {text!r}")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or LOOPBACK, _port(port)


def _within(argument: Argument) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return argument.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"it is {argument.limits}, not {text!r}") from None

    return read
