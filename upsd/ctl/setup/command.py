"""`upsctl setup` from the first step to the last, and what is said at its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from upsd import log as logs
from upsd.ctl.setup import cluster, enrolment, rights, service, settings_step, system, ups
from upsd.ctl.setup.answers import answers_text, kept_answers, read_answers
from upsd.ctl.setup.interview import Interview
from upsd.ctl.setup.outcome import SetupError, State, StoppedError
from upsd.ctl.setup.situation import ANSWERS_FILE, Situation, write_for_the_daemon
from upsd.ctl.system_files import SystemFilesError, shipped
from upsd.ctl.words import plain

if TYPE_CHECKING:
    from argparse import Namespace

    from upsd.ctl.setup.interview import Paint

OK, FAILED, INTERRUPTED = 0, 1, 130
STEPS: Final = (
    ("What belongs to the system", system.install),
    ("The UPS", ups.find),
    ("The nodes of the cluster", cluster.read_nodes),
    ("The settings", settings_step.write),
    ("The rights in the cluster", rights.grant),
    ("The workers", enrolment.enrol),
    ("The service", service.start),
    ("The rehearsal", service.rehearse),
)
_EXAMPLE: Final = "config/setup-answers.toml"
_COLOURS: Final = {State.FAILED: "red", State.LEFT_OUT: "yellow"}
_WELCOME: Final = """\
This sets upsd up, step by step, and says what it does. What is as it should be stays untouched, so that it can be run
again at any time. Enter takes what stands in [brackets]. Ctrl-C ends it: what is done stays done, and nothing is
half-written.
"""


def run(options: Namespace, socket: str, paint: Paint) -> int:
    """Run all steps; the exit status."""
    path = Path(options.config)
    kept = path.with_name(ANSWERS_FILE)
    if options.print_answers:
        return _show(kept)
    try:
        given = read_answers(Path(options.answers)) if options.answers else {}
    except SetupError as error:
        print(f"upsctl: {error}", file=sys.stderr)
        return FAILED
    interview = Interview(given, kept_answers(kept), attended=not options.yes, paint=paint)
    if os.geteuid() != 0:
        print("upsctl: it writes to /etc and starts a service, so run it as root: sudo upsctl setup", file=sys.stderr)
        return FAILED
    if interview.attended and not sys.stdin.isatty():
        print(
            "upsctl: nobody can be asked here; at a terminal, or as: upsctl setup --yes --answers FILE", file=sys.stderr
        )
        return FAILED
    logs.configure("error", "console")
    return _run(Situation(path, os.environ, interview, paint, socket), kept)


def _run(situation: Situation, kept: Path) -> int:
    print(_WELCOME)
    failed = False
    try:
        settings_step.look(situation)
        for number, (name, step) in enumerate(STEPS, 1):
            print(situation.paint(f"{number}/{len(STEPS)} {name}", "bold"), flush=True)
            outcome = step(situation)
            failed = failed or outcome.state is State.FAILED
            state = situation.paint(outcome.state, _COLOURS.get(outcome.state, "green"))
            print(f"  {state}: {plain(outcome.text)}\n", flush=True)
            if step is settings_step.write:
                _keep_answers(situation, kept)
        _keep_answers(situation, kept)
    except (SetupError, SystemFilesError) as error:
        print(f"  {situation.paint(State.FAILED, 'red')}: {error}", file=sys.stderr)
        _say_how_to_go_on(situation, kept)
        return FAILED
    except (KeyboardInterrupt, StoppedError):
        print("\n\nStopped. What is done stays done, and nothing is half-written.")
        _say_how_to_go_on(situation, kept)
        return INTERRUPTED
    _say_what_is_left(situation)
    return FAILED if failed else OK


def _say_how_to_go_on(situation: Situation, kept: Path) -> None:
    try:
        _keep_answers(situation, kept)
    except SetupError:
        print("Go on with: upsctl setup")
    else:
        print("Go on with: upsctl setup; your answers so far are its defaults then.")


def _keep_answers(situation: Situation, kept: Path) -> None:
    """Beside the settings, with those of the former run that nobody asked for this time."""
    former = kept_answers(kept)
    answers = {**former, **situation.interview.taken}
    text = answers_text(answers)
    try:
        if not situation.interview.taken or (kept.exists() and kept.read_text(encoding="utf-8") == text):
            return
        write_for_the_daemon(kept, text)
    except OSError as error:
        raise SetupError(f"{kept} can't be written ({error.strerror})") from None


def _show(kept: Path) -> int:
    try:
        print(kept.read_text(encoding="utf-8") if kept.exists() else shipped(_EXAMPLE), end="")
    except OSError as error:
        print(f"upsctl: {kept} can't be read ({error.strerror}); run this as root", file=sys.stderr)
        return FAILED
    return OK


def _say_what_is_left(situation: Situation) -> None:
    left = list(situation.left)
    if not service.is_armed(situation):
        left += [
            f"see one worker really go off and come back: upsctl drill {worker.name} --yes"
            for worker in situation.checked.workers[:1]
        ]
        left.append("let an outage start the shutdown: upsctl arm. Until then upsd only watches")
    print(situation.paint("What is left for you:" if left else "Nothing is left for you to do.", "bold"))
    for sentence in left:
        print(f"  - {sentence}")
