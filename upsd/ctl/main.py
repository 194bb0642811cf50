"""The command line `upsctl`: runs one command, and tells a script by the exit status how it went.

Data goes to standard output, messages go to standard error. Wrong usage is 64 (EX_USAGE of sysexits.h), since
argparse's own 2 means something else here.
"""

from __future__ import annotations

import io
import json
import os
import sys

from upsd import __version__
from upsd.ctl import client
from upsd.ctl.parser import DEFAULT_SOCKET, build_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from upsd.ctl.table import Paint

OK, FAILED, NO_DAEMON, WRONG_USAGE, INTERRUPTED = 0, 1, 3, 64, 130
ON_LINE, ON_BATTERY, NOT_WELL = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(arguments: Sequence[str]) -> int:
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as end:
        return WRONG_USAGE if end.code == 2 else OK
    try:
        return _command(options)
    except client.NoDaemonError as error:
        print(f"upsctl: {error}", file=sys.stderr)
        return NO_DAEMON
    except client.RefusedError as error:
        print(f"upsctl: upsd says: {error}", file=sys.stderr)
        return FAILED


def _command(options: Namespace) -> int:
    match options.command:
        case "status":
            return _status(options)
        case "events":
            return _events(options)
        case "plan":
            return _plan(options)
        case "shutdown":
            from upsd.ctl.plan_run import shutdown  # noqa: PLC0415 - the others do without

            return shutdown(options, _socket(options), _paint(options))
        case "abort":
            from upsd.ctl.plan_run import abort  # noqa: PLC0415 - the others do without

            return abort(options, _socket(options), _paint(options))
        case "outages":
            from upsd.ctl.outages import run as run_outages  # noqa: PLC0415 - the others do without

            return run_outages(options, _socket(options))
        case "drill":
            from upsd.ctl.drill import run as run_drill  # noqa: PLC0415 - the others do without

            return run_drill(options, _socket(options), _paint(options))
        case "rehearse" | "arm" | "disarm":
            from upsd.ctl.readiness import run as run_readiness  # noqa: PLC0415 - the others do without

            return run_readiness(options, _socket(options), _paint(options))
        case "setup":
            from upsd.ctl.setup.command import run as run_setup  # noqa: PLC0415 - the others do without

            return run_setup(options, _socket(options), _paint(options))
        case "enroll":
            from upsd.ctl.enroll import run as run_enroll  # noqa: PLC0415 - the others do without

            return run_enroll(options)
        case "ups" if options.ups_command:
            from upsd.ctl.ups import run as run_ups  # noqa: PLC0415 - the others do without

            return run_ups(options, _socket(options))
        case "version":
            print(f"upsctl {__version__}")
            return OK
        case "config" if options.config_command == "check":
            from upsd.ctl.config_check import run  # noqa: PLC0415 - it takes ten times as long as status

            return run(options.path)
        case command:
            return _run([command, "--help"] if command else ["--help"])


def _status(options: Namespace) -> int:
    try:
        answer = client.ask(_socket(options), "status")
    except client.RefusedError as error:
        raise client.NoDaemonError(f"upsd says: {error}") from error
    state, shutdown = answer["state"], answer["shutdown"]
    if options.json:
        print(json.dumps({"schema": state["schema"], "state": state, "shutdown": shutdown}))
    else:
        from upsd.ctl.table import status_lines  # noqa: PLC0415 - the others do without

        if state["power"] == "unknown":
            from upsd.ctl.holders import rivals  # noqa: PLC0415 - who is well does without

            state["warnings"] += rivals()
        print("\n".join(status_lines(state, shutdown, _paint(options))))
    coming_back = state["phase"] == "aborting" and shutdown["reason"] == "drill"
    if state["phase"] in {"shutting-down", "aborting", "finished"} and not coming_back:
        return NOT_WELL
    return {"on_line": ON_LINE, "on_battery": ON_BATTERY}.get(state["power"], NOT_WELL)


def _events(options: Namespace) -> int:
    from upsd.ctl.events import event_lines  # noqa: PLC0415 - the others do without

    updates = client.follow(_socket(options))
    for line in map(json.dumps, updates) if options.json else event_lines(updates, _paint(options)):
        print(line, flush=True)
    return OK


def _plan(options: Namespace) -> int:
    plan = client.ask(_socket(options), "plan")["plan"]
    if options.json:
        print(json.dumps(plan))
        return OK
    if options.recovery:
        from upsd.ctl.words import plain  # noqa: PLC0415 - the others do without

        print("\n".join(map(plain, plan["recovery"])))
        return OK
    import shutil  # noqa: PLC0415 - the others do without

    from upsd.ctl.plan_chart import chart, signs  # noqa: PLC0415 - the others do without

    width = shutil.get_terminal_size().columns
    print("\n".join(chart(plan, width=width, drawn_with=signs(sys.stdout.encoding), paint=_paint(options))))
    return OK


def _socket(options: Namespace) -> str:
    return getattr(options, "socket", None) or os.environ.get("UPSD_CONTROL__SOCKET") or DEFAULT_SOCKET


def _paint(options: Namespace) -> Paint:
    from upsd.ctl.words import painter  # noqa: PLC0415 - --json does without

    plain = hasattr(options, "no_color") or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return painter(coloured=sys.stdout.isatty() and not plain)


if __name__ == "__main__":
    sys.exit(main())
