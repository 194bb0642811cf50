"""Which words does upsctl understand? Help begins with examples and ends with the exit status."""

from __future__ import annotations

import argparse

from upsd import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEFAULT_SOCKET = "/run/upsd/control.sock"
DEFAULT_SETTINGS = "/etc/upsd/upsd.toml"

LONGEST_DELAY = 65535
WRONG_USAGE = "64  wrong usage"


def build_parser() -> argparse.ArgumentParser:
    """The parser; `command` in its result is the command's name, or missing."""
    common = _common_options()
    parser = _described(
        argparse.ArgumentParser,
        "upsctl",
        common,
        about="See what upsd, the power daemon, sees and does.",
        examples=("upsctl status", "upsctl events", "upsctl plan", "upsctl rehearse", "upsctl config check"),
        exits=("0   as asked", "1   it failed", "3   no upsd answers", "and more: see each command's help"),
    )
    parser.add_argument("--version", action="version", version=f"upsctl {__version__}", help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    status = _described(
        commands.add_parser,
        "status",
        common,
        about="Show what feeds the rack, for how long, and what happens next.",
        examples=("upsctl status", "upsctl status --json | jq .state.power", "upsctl status || echo alarm"),
        exits=(
            "0   on line",
            "1   on battery",
            "2   shutting down, or the power is unknown or off",
            "3   no upsd answers",
        ),
    )
    _add_json(status, "one JSON object with schema, state and shutdown")

    events = _described(
        commands.add_parser,
        "events",
        common,
        about="Follow what happens, until Ctrl-C.",
        examples=("upsctl events", "upsctl events --json | jq 'select(.topic == \"event\").document'"),
        exits=("3   no upsd answers, or it went away", "130 ended by Ctrl-C"),
    )
    _add_json(events, "one JSON object a line, with topic (state, shutdown, event) and document")

    plan = _described(
        commands.add_parser,
        "plan",
        common,
        about="Draw the shutdown that an outage would run, and say what goes off before it.",
        examples=("upsctl plan", "upsctl plan --recovery", "upsctl plan --json"),
        exits=("0   shown", "1   upsd has no plan to show", "3   no upsd answers"),
    )
    plan.add_argument("--recovery", action="store_true", help="list the steps that bring everything back, instead")
    _add_json(plan, "the plan as upsd gives it")

    _add_plan_acts(commands.add_parser, common)
    _add_outages(commands.add_parser, common)
    _add_readiness(commands.add_parser, common)
    _add_setup(commands.add_parser, common)
    _add_enroll(commands.add_parser, common)
    _add_ups(commands.add_parser, common)
    _add_config(commands.add_parser, common)
    _described(
        commands.add_parser,
        "version",
        common,
        about="Show the version.",
        examples=("upsctl version",),
        exits=("0   shown",),
    )
    return parser


def _common_options() -> argparse.ArgumentParser:
    # Understood before the command and after it; a default of the later one would undo the earlier.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--socket", metavar="PATH", help=f"upsd's socket (else $UPSD_CONTROL__SOCKET, else {DEFAULT_SOCKET})"
    )
    common.add_argument("--no-color", action="store_true", help="no colours, as with NO_COLOR or TERM=dumb")
    return common


def _add_plan_acts(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    shutdown = _described(
        add_parser,
        "shutdown",
        common,
        about="Shut the rack down as in an outage, with mains or without, and follow it.",
        examples=("upsctl plan", "sudo upsctl shutdown --yes"),
        exits=(
            "0   done: this machine goes off",
            "1   refused, with the reason, or called off",
            "3   no upsd answers, or it went away before its end",
            "130 no longer watched (Ctrl-C); it goes on",
        ),
    )
    shutdown.add_argument("--yes", action="store_true", help="you mean it; without it you are told what would happen")
    abort = _described(
        add_parser,
        "abort",
        common,
        about="Call a shutdown off and undo it, until the first machine is powered off; or a\ndrill, at any time.",
        examples=("sudo upsctl abort", "sudo upsctl abort --force"),
        exits=(
            "0   everything is undone",
            "1   refused, with the reason, or not all could be undone yet",
            "3   no upsd answers, or it went away",
            "130 no longer watched (Ctrl-C); it goes on",
        ),
    )
    abort.add_argument(
        "--force",
        action="store_true",
        help="on battery: hold the triggers of the settings back until the mains is back. The latest safe start"
        " and what the UPS says still start it",
    )


def _add_outages(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    outages = _described(
        add_parser,
        "outages",
        common,
        about="List the outages that are over, newest first, or show the report of one.",
        examples=("upsctl outages", "upsctl outages show", "upsctl outages show --json | jq .machines"),
        exits=("0   shown", "1   there is no such report", "3   no upsd answers"),
    )
    _add_json(outages, "the list")
    commands = outages.add_subparsers(dest="outages_command", metavar="COMMAND", title="commands")
    show = _described(
        commands.add_parser,
        "show",
        common,
        about="Show what an outage's report says, in Markdown.",
        examples=("upsctl outages show", "upsctl outages show 20260114T031502Z-7f3a", "upsctl outages show | glow"),
        exits=("0   shown", "1   there is no such report", "3   no upsd answers"),
    )
    show.add_argument("id", metavar="ID", nargs="?", help="as `upsctl outages` lists it; else the newest")
    _add_json(show, "the whole report")


def _add_readiness(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    rehearse = _described(
        add_parser,
        "rehearse",
        common,
        about="Prove every step of the shutdown with its real credentials, and change nothing.",
        examples=("sudo upsctl rehearse", "sudo upsctl rehearse --json | jq '.results[] | select(.state != \"done\")'"),
        exits=(
            "0   every step is proven",
            "1   one is not, or it was refused or called off, with the reason",
            "3   no upsd answers",
        ),
    )
    _add_json(rehearse, "one JSON object with how each step went")
    _add_drill(add_parser, common)
    arm = _described(
        add_parser,
        "arm",
        common,
        about="Let an outage start the shutdown. Until then upsd only watches.",
        examples=("sudo upsctl rehearse && sudo upsctl arm", "sudo upsctl arm --unproven"),
        exits=("0   armed", "1   refused: these steps are not proven", "3   no upsd answers"),
    )
    arm.add_argument("--unproven", action="store_true", help="although there are steps that are not proven")
    disarm = _described(
        add_parser,
        "disarm",
        common,
        about="Let no outage start a shutdown. One that has begun goes on.",
        examples=("sudo upsctl disarm --yes",),
        exits=("0   not armed any more", "1   refused, with the reason", "3   no upsd answers"),
    )
    disarm.add_argument("--yes", action="store_true", help="you mean it; without it nothing is done")


def _add_drill(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    drill = _described(
        add_parser,
        "drill",
        common,
        about="Really power one worker off, as in an outage, and bring it back.",
        examples=("sudo upsctl drill pi3", "sudo upsctl drill pi3 --yes"),
        exits=(
            "0   it went off and is back as it was",
            "1   a step went wrong, or it was refused or called off, with the reason",
            "3   no upsd answers, or it went away",
            "130 no longer watched (Ctrl-C); it goes on",
        ),
    )
    drill.add_argument("worker", metavar="WORKER", help="its name in the settings")
    drill.add_argument("--yes", action="store_true", help="you mean it; without it you are told what would happen")
    _add_json(drill, "one JSON object with how each step went, at the end")


def _add_setup(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    setup = _described(
        add_parser,
        "setup",
        common,
        about="Set upsd up on this machine, which is a k3s server with the UPS on its cable: finds the UPS,\n"
        "reads the nodes, writes the settings, grants the rights in the cluster, enrolls the workers,\n"
        "starts the service and rehearses the shutdown. It asks and explains, never arms, and can be\n"
        "run again: what is as it should be stays untouched.",
        examples=(
            "sudo upsctl setup",
            "sudo upsctl setup --yes --answers answers.toml",
            "sudo upsctl setup --print-answers > answers.toml",
        ),
        exits=(
            "0   all is done",
            "1   something failed or is missing, with what to do",
            "130 stopped (Ctrl-C): what is done stays done, and the next run goes on from there",
        ),
    )
    setup.add_argument("--answers", metavar="FILE", help="take these answers (TOML) and ask for the others only")
    setup.add_argument(
        "--yes",
        action="store_true",
        help="ask nothing: what neither FILE nor the former run answers takes its default, and what has none is an"
        " error that names it",
    )
    setup.add_argument(
        "--print-answers",
        action="store_true",
        help="only show the answers of the former run, or else an example, as a FILE for --answers",
    )
    setup.add_argument("--config", metavar="PATH", default=DEFAULT_SETTINGS, help="the settings; else %(default)s")


def _add_enroll(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    enroll = _described(
        add_parser,
        "enroll",
        common,
        about="Have a worker take upsd's key for its power-off, and for nothing else: makes the key,"
        "\npins the host key, installs the helper there and proves it. Can be repeated. Without upsd.",
        examples=(
            "sudo upsctl enroll 192.168.7.11 --as pi",
            "sudo upsctl enroll pi4-a --fingerprint SHA256:...",
            "sudo upsctl enroll pi4-a --print",
        ),
        exits=("0   enrolled, and proven", "1   it is not, with the reason", "78  the settings are not valid"),
    )
    enroll.add_argument("host", metavar="HOST", help="its address, or its name in the settings")
    enroll.add_argument(
        "--as",
        metavar="USER",
        dest="administrator",
        help="who logs in there to install it: root, or a user with sudo; with your own keys, agent or password"
        " (else you, as root root)",
    )
    enroll.add_argument("--identity", metavar="FILE", help="that user's private key, if ssh does not find it")
    enroll.add_argument("--user", metavar="USER", help="whom upsd logs in as (else of the settings, else upsd)")
    enroll.add_argument("--port", metavar="PORT", type=int, help="of its sshd (else of the settings, else 22)")
    trust = enroll.add_mutually_exclusive_group()
    trust.add_argument("--fingerprint", metavar="SHA256:...", help="trust this host key without asking, and no other")
    trust.add_argument("--yes", action="store_true", help="trust whatever host key it shows")
    enroll.add_argument("--print", action="store_true", help="only show what to paste there and here")
    enroll.add_argument("--config", metavar="PATH", default=DEFAULT_SETTINGS, help="the settings; else %(default)s")


def _add_ups(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    ups = _described(
        add_parser,
        "ups",
        common,
        about="Ask the UPS itself, and command it.",
        examples=("upsctl ups show", "sudo upsctl ups test", "sudo upsctl ups cycle --off-after 120 --yes"),
        exits=("see upsctl ups COMMAND --help",),
    )
    commands = ups.add_subparsers(dest="ups_command", metavar="COMMAND", title="commands")
    done = ("0   done", "1   refused, with the reason", "3   no upsd answers")

    def add(
        name: str, about: str, *examples: str, exits: tuple[str, ...] = done, json: str | None = None
    ) -> argparse.ArgumentParser:
        parser = _described(commands.add_parser, name, common, about=about, examples=examples, exits=exits)
        if json:
            _add_json(parser, json)
        return parser

    add("show", "Show what the UPS says of itself beside its readings.", "upsctl ups show", json="the names and values")
    add("beeper", "Say whether its beeper sounds. It can't be switched.", "upsctl ups beeper")
    add(
        "test",
        "Have the battery tested, and judge it: the rack lives on it for some seconds.",
        "sudo upsctl ups test",
        exits=("0   passed", "1   weak, failed, aborted, without a result, or refused", "3   no upsd answers"),
        json="what the test showed",
    )
    add("panel-test", "Have its lamps tested.", "sudo upsctl ups panel-test")
    cycle = add(
        "cycle",
        "Cut the power of everything on its outlets, this machine's too, and restore it.",
        "sudo upsctl ups cycle --off-after 120 --restore-after 1 --yes",
    )
    cycle.add_argument("--off-after", metavar="SECONDS", type=_delay, default=180, help="else %(default)s")
    cycle.add_argument(
        "--restore-after", metavar="MINUTES", type=_delay, default=1, help="after that; else %(default)s"
    )
    cycle.add_argument("--yes", action="store_true", help="you mean it; without it nothing is done")
    add("cancel", "Call a scheduled outlet cycle off, while the outlets are still on.", "sudo upsctl ups cancel")
    calibrate = add(
        "calibrate",
        "Discharge the charged battery to a safe point, so that upsd learns what it gives: you pull the plug of the"
        " UPS, and are told when to put it back. If you don't, it is an outage like any other.",
        "sudo upsctl ups calibrate --yes",
        exits=(
            "0   done",
            "1   refused, with the reason; or the plug was not pulled, or not put back before the shutdown started",
            "3   no upsd answers",
        ),
    )
    calibrate.add_argument("--yes", action="store_true", help="you mean it; without it nothing is done")
    new_battery = add(
        "new-battery",
        "Say that the battery was replaced: what was learned of the old one is forgotten.",
        "sudo upsctl ups new-battery --yes",
    )
    new_battery.add_argument("--yes", action="store_true", help="you mean it; without it nothing is done")
    bench = add(
        "bench",
        "Find out, step by step and asking before each, what this UPS really does; upsd must be stopped.",
        "sudo systemctl stop upsd && sudo -u upsd upsctl ups bench",
        exits=("0   the profile was written", "1   it was not", "78  the settings are not valid"),
    )
    bench.add_argument("--config", metavar="PATH", default=DEFAULT_SETTINGS, help="the settings; else %(default)s")


def _delay(text: str) -> int:
    """What the UPS counts in."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= value <= LONGEST_DELAY:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {LONGEST_DELAY}")
    return value


def _add_config(add_parser: Callable[..., argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    config = _described(
        add_parser,
        "config",
        common,
        about="Look at the settings, without a daemon.",
        examples=("upsctl config check", "upsctl config check ./upsd.toml"),
        exits=("see upsctl config check --help",),
    )
    commands = config.add_subparsers(dest="config_command", metavar="COMMAND", title="commands")
    check = _described(
        commands.add_parser,
        "check",
        common,
        about="Check the settings, warn of what is unwise, and print the plan that would run.",
        examples=("upsctl config check", "upsctl config check ./upsd.toml"),
        exits=("0   valid", "78  not valid: each line says which key, what is wrong and what would be right"),
    )
    check.add_argument("path", metavar="PATH", nargs="?", default=DEFAULT_SETTINGS, help="else %(default)s")


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"for programs: {what}")


def _described(
    add_parser: Callable[..., argparse.ArgumentParser],
    name: str,
    common: argparse.ArgumentParser,
    *,
    about: str,
    examples: tuple[str, ...],
    exits: tuple[str, ...],
) -> argparse.ArgumentParser:
    texts: dict[str, Any] = {
        "description": f"{about}\n\nexamples:\n" + "".join(f"  {example}\n" for example in examples),
        "epilog": "EXIT STATUS\n" + "".join(f"  {line}\n" for line in (*exits, WRONG_USAGE)),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "parents": [common],
    }
    if add_parser is argparse.ArgumentParser:
        return add_parser(prog=name, **texts)
    return add_parser(name, help=about, **texts)
