"""The manual pages: upsctl(1) from its own parser, upsd.toml(5) from the tutorial, upsd.service(8), written by hand.

NUT has upsd(8) and upsd.conf(5) already, so that neither is the name of one of ours.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from debian.release import epoch
from debian.roff import literal, text
from debian.tutorial import tutorial
from upsd import __version__
from upsd.ctl.parser import build_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent


def manual_pages() -> dict[str, str]:
    """Their texts in roff, by name with section."""
    service = (_HERE / "upsd.service.8").read_text(encoding="utf-8")
    settings = (_HERE.parent / "upsd.toml").read_text(encoding="utf-8")
    return {
        "upsctl.1": _header("upsctl", 1) + "\n".join(_commands(build_parser())) + "\n",
        "upsd.toml.5": _header("upsd.toml", 5) + "\n".join(tutorial(settings)) + "\n",
        "upsd.service.8": _header("upsd.service", 8) + service,
    }


def _header(name: str, section: int) -> str:
    date = datetime.fromtimestamp(epoch(), UTC).date().isoformat()
    return f'.TH {text(name)} {section} {date} "upsd {__version__}" "upsd"\n'


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    about, examples = _said(parser)
    yield from (".SH NAME", f"upsctl \\- {text(about[0].lower() + about[1:].rstrip('.'))}")
    yield from (".SH SYNOPSIS", ".B upsctl", "[\\fIOPTION\\fR] \\fICOMMAND\\fR ...")
    yield from (".SH EXAMPLES", *literal(examples))
    yield ".SH OPTIONS"
    yield from _options(parser, without=frozenset())
    common = frozenset(option for action in parser._actions for option in action.option_strings)  # noqa: SLF001
    yield ".SH COMMANDS"
    for command in _leaves(parser):
        yield from _command(command, common)
    yield from (".SH FILES", ".I /etc/upsd/upsd.toml", ".br", ".I /run/upsd/control.sock")
    yield from (".SH SEE ALSO", ".BR upsd.toml (5),", ".BR upsd.service (8)")


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command, and every command of a command, as it is listed in the help."""
    for action in parser._actions:  # noqa: SLF001 - argparse shows its tree nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield command
                yield from _leaves(command)


def _command(parser: argparse.ArgumentParser, common: frozenset[str]) -> Iterator[str]:
    about, examples = _said(parser)
    yield from (f".SS {text(parser.prog)}", text(about))
    yield from _options(parser, without=common)
    yield from (".PP", "Examples:", *literal(examples))
    _, *exits = (parser.epilog or "").splitlines()
    yield from (".PP", "Exit status:", *literal("\n".join(exits)))


def _said(parser: argparse.ArgumentParser) -> tuple[str, str]:
    about, _, examples = (parser.description or "").partition("\n\nexamples:\n")
    return about.replace("\n", " "), examples


def _options(parser: argparse.ArgumentParser, *, without: frozenset[str]) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction) or without & set(action.option_strings):  # noqa: SLF001
            continue
        names = ", ".join(action.option_strings) or str(action.metavar)
        value = f" {action.metavar}" if action.option_strings and action.nargs != 0 else ""
        yield from (".TP", f"\\fB{text(names)}\\fR{text(value)}", text((action.help or "") % vars(action)))
