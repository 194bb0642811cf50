from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import upsd
from tests.integration.boards import AT, ON_BATTERY, ON_LINE, show, step
from tests.integration.command_line import DEADLINE_S, ROOT, UPSCTL, Result, upsctl
from upsd.control import ControlServer
from upsd.ctl import client
from upsd.domain.plan import StepKind, StepProgress, StepState
from upsd.domain.power import Event, PowerState, Severity
from upsd.status import Snapshot, StatusBoard, shutdown_document

if TYPE_CHECKING:
    from pathlib import Path


async def test_status_on_line_is_a_table_and_exit_status_0(board: StatusBoard) -> None:
    """A person reads that all is well, and what the UPS does not tell."""
    show(board, ON_LINE)
    result = await upsctl("status")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "UPS       iplug, iPlug 800, serial AB12",
        "Power     on line",
        "Status    OL, read 2 s ago",
        "Input     231 V, 50.0 Hz",
        "Output    not reported, load not reported",
        "Battery   13.6 V, charge not reported",
        "Runtime   38 min (at least 24 min, by our model)",
        "Health    not known yet: no discharge has shown it",
        "Plan      a shutdown takes 2 min 10 s (45 s when forced)",
        "Next      nothing: the rack runs on mains",
        "Ready     yes: all 17 steps are proven, the oldest proof is of 2026-11-20",
    ]


async def test_status_on_battery_says_how_long_and_what_comes_next(board: StatusBoard) -> None:
    """Exit status 1, the time on battery, and when the shutdown starts at the latest."""
    show(board, ON_BATTERY)
    result = await upsctl("status")
    assert result.code == 1
    assert "Power     on battery for 2 min 5 s\n" in result.out
    assert "Next      the shutdown starts in 11 min, unless mains is back before\n" in result.out


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (replace(ON_LINE, power=PowerState.UNKNOWN, reading=None), "unknown"),
        (replace(ON_BATTERY, power=PowerState.UNKNOWN), "unknown, on battery when last heard of, for 2 min 5 s"),
        (replace(ON_LINE, power=PowerState.OUTPUT_OFF), "output off"),
        (replace(ON_BATTERY, phase="shutting-down"), "on battery for 2 min 5 s"),
        (replace(ON_LINE, phase="aborting"), "on line"),
        (replace(ON_BATTERY, phase="finished"), "this machine goes off"),
    ],
)
async def test_status_of_a_rack_that_is_not_well_is_exit_status_2(
    board: StatusBoard, snapshot: Snapshot, words: str
) -> None:
    """A script that sees 2 knows that it can't count on the power."""
    show(board, snapshot)
    result = await upsctl("status")
    assert result.code == 2
    assert words in result.out


async def test_a_running_shutdown_shows_each_step_with_its_time(board: StatusBoard) -> None:
    """What is done, what runs, what failed and why, in 80 columns."""
    show(board, replace(ON_BATTERY, phase="shutting-down", warnings=("the NAS did not answer " * 5,)))
    progress = [
        StepProgress(step(1, StepKind.CORDON), StepState.DONE, started_at=60.0, ended_at=62.0),
        StepProgress(step(2, StepKind.DRAIN), StepState.RUNNING, "3 of 9 pods left " * 8, 62.0, None, 140.0),
        StepProgress(step(3, StepKind.FLUSH, "nas"), StepState.FAILED, "\x1b]0;owned\x07", started_at=62.0),
        StepProgress(step(4, StepKind.POWEROFF)),
    ]
    board.set_shutdown(
        shutdown_document(
            phase="shutting-down",
            outage="2026-11-23-1",
            reason="the battery would not last longer",
            progress=progress,
            at=AT,
            now=102.0,
        )
    )
    result = await upsctl("status")
    lines = result.out.splitlines()
    assert result.code == 2
    assert max(map(len, lines)) <= 80
    assert "shutting-down, outage 2026-11-23-1: the battery would not last longer" in lines
    rows = {line.split()[1]: line.split() for line in lines if line.startswith("  ") and len(line.split()) > 1}
    assert rows["cordon-worker-1"][:4] == ["done", "cordon-worker-1", "2", "s"]
    assert rows["drain-worker-1"][:4] == ["running", "drain-worker-1", "40", "s"]
    assert rows["poweroff-worker-1"] == ["pending", "poweroff-worker-1"]
    assert rows["flush-nas"][0] == "failed"
    assert "at most 38 s more" in " ".join(result.out.split())
    assert "\x1b" not in result.out
    assert sum("did not answer" in line for line in lines) >= 2


async def test_status_for_programs_is_one_json_object(board: StatusBoard) -> None:
    """Both documents as everybody else sees them, and the same exit status as the table."""
    show(board, ON_BATTERY)
    result = await upsctl("status", "--json")
    assert result.code == 1
    assert json.loads(result.out) == {"schema": 1, "state": board.state, "shutdown": board.shutdown}


async def test_without_a_daemon_the_exit_status_is_3_and_the_message_says_what_to_do(control_socket: Path) -> None:
    """Nothing on standard output that a script could take for a state."""
    result = await upsctl("--socket", str(control_socket), "status", "--json")
    assert (result.code, result.out) == (3, "")
    assert f"no upsd on {control_socket}" in result.err
    # Where these tests have installed NUT, its server may have the name.
    assert ("man upsd.service" if client.name_is_nut_s() else "systemctl start upsd") in result.err


def test_a_unit_that_is_hidden_by_nut_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting upsd.service would start NUT's server then, as often as one tries."""
    monkeypatch.setattr(client, "UNIT", str(tmp_path / "upsd.service"))
    (tmp_path / "upsd.service").symlink_to("/usr/lib/systemd/system/nut-server.service")
    with pytest.raises(client.NoDaemonError, match="second name of NUT's server"):
        client.ask(str(tmp_path / "control.sock"), "status")


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"", b'["ok"]\n', b'{"ok": false, "error": "too many"}\n'])
async def test_a_stranger_on_the_socket_is_no_daemon(control_socket: Path, answer: bytes) -> None:
    """Whatever answers there, upsctl ends with a message and without a traceback."""

    def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    stranger = await asyncio.start_unix_server(reply, path=str(control_socket))
    result = await upsctl("status", "--socket", str(control_socket))
    stranger.close()
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("upsctl: ")
    assert "Traceback" not in result.err


async def test_the_option_wins_over_the_environment(board: StatusBoard, control_socket: Path) -> None:
    """`--socket` is understood before and after the command."""
    show(board, ON_LINE)
    elsewhere = {"UPSD_CONTROL__SOCKET": "/nonexistent/control.sock"}
    before = await upsctl("--socket", str(control_socket), "status", environment=elsewhere)
    after = await upsctl("status", "--socket", str(control_socket), environment=elsewhere)
    assert (before.code, after.code) == (0, 0)


async def test_events_are_followed_until_ctrl_c(board: StatusBoard) -> None:
    """Each event is a line as it happens; Ctrl-C ends it without noise."""
    show(board, ON_LINE)
    follower = await asyncio.create_subprocess_exec(
        *UPSCTL, "events", cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert follower.stdout
    async with asyncio.timeout(DEADLINE_S):
        assert await follower.stdout.readline() == b"2026-11-23T19:00:00Z  state     on line, idle\n"
        board.emit(Event("mains_lost", Severity.CRITICAL, {"input_voltage": 0}), AT)
        line = await follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        rest, err = await follower.communicate()
    assert line == b"2026-11-23T19:00:00Z  critical  mains_lost  input_voltage=0\n"
    assert (follower.returncode, rest, err) == (130, b"", b"")


async def test_events_for_programs_are_json_lines(board: StatusBoard) -> None:
    """Each line says what it is about; the current documents come first."""
    follower = await asyncio.create_subprocess_exec(
        *UPSCTL, "events", "--json", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert follower.stdout
    async with asyncio.timeout(DEADLINE_S):
        updates = [json.loads(await follower.stdout.readline()) for _ in range(2)]
        board.emit(Event("mains_back"), AT)
        updates.append(json.loads(await follower.stdout.readline()))
        follower.kill()
        await follower.communicate()
    assert [update["topic"] for update in updates] == ["state", "shutdown", "event"]
    assert updates[2]["document"]["event_type"] == "mains_back"


async def test_events_end_with_3_when_the_daemon_goes_away(control_socket: Path) -> None:
    """A watching script learns that nobody watches any more."""
    board = StatusBoard("iplug")
    async with ControlServer(board, control_socket):
        follower = await asyncio.create_subprocess_exec(
            *(*UPSCTL, "events", "--socket", str(control_socket)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert follower.stdout
        async with asyncio.timeout(DEADLINE_S):
            await follower.stdout.readline()
    async with asyncio.timeout(DEADLINE_S):
        _, err = await follower.communicate()
    assert follower.returncode == 3
    assert b"hung up" in err


async def test_a_reader_that_has_seen_enough_causes_no_traceback(board: StatusBoard) -> None:
    """`upsctl events | head -1` ends quietly."""
    follower = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"{' '.join(UPSCTL)} events | head -n 1"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert follower.stdout
    async with asyncio.timeout(DEADLINE_S):
        assert b"state" in await follower.stdout.readline()
        while follower.returncode is None:
            board.emit(Event("tick"), AT)
            await asyncio.sleep(0.01)
        _, err = await follower.communicate()
    assert err == b""


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(("columns", "encoding"), [(80, "utf-8"), (120, "utf-8"), (80, "ascii")])
async def test_plan_draws_the_daemons_plan(columns: int, encoding: str) -> None:
    """The steps and times are the daemon's own, in the width and the characters of whoever looks."""
    result = await upsctl("plan", environment={"COLUMNS": str(columns), "PYTHONIOENCODING": encoding})
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert [line.split()[1] for line in lines if "-worker-1" in line] == ["cordon-worker-1", "drain-worker-1"]
    assert "It fits, with 21 min to spare; the latest safe start is in 20 min." in " ".join(lines)
    assert result.out.isascii() is (encoding == "ascii")


@pytest.mark.usefixtures("board")
async def test_plan_says_what_would_go_off_before_it_and_lists_what_brings_everything_back() -> None:
    """The one below the chart, the other when it is asked for."""
    shed = "extras: worker-1 would go off after 5 min on battery; if the mains went now, in 5 min."
    drawn = (await upsctl("plan", environment={"COLUMNS": "200"})).out
    assert drawn.partition("Before it, so that the battery lasts longer for the rest:")[2].strip().startswith(shed)
    listed = (await upsctl("plan", "--recovery")).out
    assert [line.split()[1] for line in listed.splitlines() if "-worker-1" in line] == ["wait-host-worker-1"]


@pytest.mark.usefixtures("board")
async def test_plan_for_programs_is_the_daemons_answer() -> None:
    """Each step with its times against the battery."""
    plan = json.loads((await upsctl("plan", "--json")).out)
    assert plan["battery"]["latest_start_s"] == 1440 - 60 - 60 - 80
    assert plan["steps"][1]["latest_finish_s"] == 1440 - 60


async def test_a_daemon_without_a_plan_says_so(control_socket: Path) -> None:
    """A refusal is a failure with the daemon's reason, not a traceback."""
    async with ControlServer(StatusBoard("iplug"), control_socket):
        result = await upsctl("plan", "--socket", str(control_socket))
    assert result.code == 1
    assert result.err.startswith("upsctl: upsd says: unknown ask")


async def test_version_is_the_packages() -> None:
    """What a bug report needs."""
    assert await upsctl("version") == Result(0, f"upsctl {upsd.__version__}\n", "")


async def test_without_a_command_there_is_help_that_begins_with_examples() -> None:
    """Who knows nothing types `upsctl` and knows enough."""
    result = await upsctl()
    assert result.code == 0
    assert result.out.index("upsctl status") < result.out.index("options:")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["status"],
        ["events"],
        ["plan"],
        ["shutdown"],
        ["abort"],
        ["drill"],
        ["config"],
        ["config", "check"],
        ["version"],
    ],
)
async def test_every_help_names_the_exit_status(command: list[str]) -> None:
    """A script's author needs no manual."""
    result = await upsctl(*command, "--help")
    assert result.code == 0
    assert "examples:" in result.out
    assert result.out.rindex("EXIT STATUS") > result.out.index("options:")
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["statsu"], ["status", "--jsno"], ["--socket"], ["config", "chekc"]])
async def test_wrong_usage_is_64_and_never_a_state(arguments: list[str]) -> None:
    """A typing error in a script may not look like a shutdown, which is 2."""
    result = await upsctl(*arguments)
    assert (result.code, result.out) == (64, "")
    assert "usage: upsctl" in result.err


@pytest.mark.parametrize(
    ("environment", "options", "coloured"),
    [
        ({"TERM": "xterm"}, [], True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({"TERM": "xterm"}, ["--no-color"], False),
    ],
)
async def test_colours_only_where_they_are_wanted(
    board: StatusBoard, environment: dict[str, str], options: list[str], *, coloured: bool
) -> None:
    """On a terminal there are colours, unless the user said no."""
    show(board, ON_BATTERY)
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *UPSCTL, "status", *options, cwd=ROOT, env={**inherited, **environment}, stdout=theirs
    )
    os.close(theirs)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 1
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "on battery for 2 min 5 s" in shown
    assert ("\x1b[33m" in shown) is coloured


async def test_status_needs_little_to_start() -> None:
    """A monitoring script asks each minute on a small machine; asyncio alone would double the time."""
    listing = (
        "import sys; from upsd.ctl import client, main, parser, table;"
        "print(*[name for name in sys.modules if name.partition('.')[0] in"
        " ('asyncio', 'dataclasses', 'typing', 'pydantic', 'structlog', 'logging', 'inspect', 'subprocess')"
        " or name.startswith('upsd.') and not name.startswith('upsd.ctl')])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {listing}",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.decode().split() == []
