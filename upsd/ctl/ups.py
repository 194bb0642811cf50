"""`upsctl ups`: what the UPS says of itself, and commands to it, each with an answer for a person."""

from __future__ import annotations

import json

from upsd.ctl import client
from upsd.ctl.words import UNKNOWN, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

OK, FAILED = 0, 1
PASSED = "Done and passed"
SLOW_ANSWER_S = 20.0
TEST_S = 180.0


def run(options: Namespace, socket: str) -> int:
    """Run the command; the exit status."""
    match options.ups_command:
        case "show":
            return _show(client.ask(socket, "ups", SLOW_ANSWER_S)["ups"], as_json=options.json)
        case "beeper":
            sounding = client.ask(socket, "ups-beeper", SLOW_ANSWER_S)["ups-beeper"]["sounding"]
            print("the beeper sounds" if sounding else "the beeper is silent")
            return OK
        case "test":
            return _test(client.act(socket, "ups-test", TEST_S), as_json=options.json)
        case "panel-test":
            client.act(socket, "ups-panel-test", SLOW_ANSWER_S)
            print("the UPS tests its lamps: look at them now")
            return OK
        case "cycle":
            return _cycle(socket, options)
        case "cancel":
            confirmed = client.act(socket, "ups-cancel", SLOW_ANSWER_S)["confirmed"]
            print("nothing is scheduled any more" if confirmed else "the UPS took the command, and still shows one")
            return OK if confirmed else FAILED
        case "calibrate":
            from upsd.ctl.calibrate import run as calibrate  # noqa: PLC0415 - the others do without

            return calibrate(socket, yes=options.yes)
        case "new-battery":
            client.act(socket, "ups-new-battery", SLOW_ANSWER_S, yes=options.yes)
            print("what was learned of the old battery is forgotten; the new one is counted on carefully at first")
            return OK
    from upsd.ctl.ups_bench import run as bench  # noqa: PLC0415 - it takes ten times as long as the others

    return bench(options.config)


def _show(details: dict[str, str | float | None], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(details))
        return OK
    for name, value in details.items():
        print(f"{plain(name)}: {UNKNOWN if value is None else plain(value)}")
    return OK


def _test(result: dict[str, str | float | None], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(result))
    else:
        lowest = result["lowest_voltage_v"]
        volts = "" if lowest is None else f", lowest voltage {lowest} V"
        print(f"{plain(result['outcome'])}: {plain(result['reason'])} ({result['seconds']} s{volts})")
    return OK if result["outcome"] == PASSED else FAILED


def _cycle(socket: str, options: Namespace) -> int:
    arguments = {"off_after_s": options.off_after, "restore_after_min": options.restore_after, "yes": options.yes}
    confirmed = client.act(socket, "ups-cycle", SLOW_ANSWER_S, **arguments)["confirmed"]
    print(
        f"outlets off in {options.off_after} s, on again {options.restore_after} min later;"
        f" {'the UPS shows it' if confirmed else 'the UPS took the command and does not show it'}."
        " Call it off with: upsctl ups cancel"
    )
    return OK
