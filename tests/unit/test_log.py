from __future__ import annotations

import io
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
import structlog
from typing_extensions import override

from upsd.log import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    """A stream that takes nothing."""

    @override
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put structlog and logging back as they were."""
    root, ours = logging.getLogger(), logging.getLogger("upsd")
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    root.handlers.clear()  # or they would be closed
    yield
    root.handlers[:], root.level, ours.level, logging.raiseExceptions = before
    structlog.reset_defaults()


def test_away_from_a_terminal_each_event_is_one_json_line() -> None:
    """A program that collects the lines gets every field by name, and the time in UTC."""
    stream = io.StringIO()
    configure(stream=stream, environment={})
    structlog.get_logger().info("broker_connected", host="10.0.0.5", port=8883)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["host"]) == ("broker_connected", "info", "10.0.0.5")
    assert event["timestamp"].endswith("Z")


def test_a_terminal_gets_colours_unless_the_user_wants_none() -> None:
    """NO_COLOR is obeyed."""
    coloured, plain = Terminal(), Terminal()
    configure(stream=coloured, environment={})
    structlog.get_logger().info("mains_lost")
    configure(stream=plain, environment={"NO_COLOR": "1"})
    structlog.get_logger().info("mains_lost")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "mains_lost" in plain.getvalue()


def test_under_journald_a_line_begins_with_its_priority_and_has_no_time(tmp_path: Path) -> None:
    """`journalctl -p warning` finds the warnings; the journal keeps the time itself."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        configure(stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        structlog.get_logger().warning("broker_lost", reason="connection refused")
        stream.seek(0)
        assert stream.read() == '<4>event=broker_lost reason="connection refused"\n'


def test_another_services_journal_is_not_ours(tmp_path: Path) -> None:
    """JOURNAL_STREAM is inherited by what is started with its output elsewhere."""
    with (tmp_path / "log").open("w+") as stream:
        configure(stream=stream, environment={"JOURNAL_STREAM": "1:1"})
        structlog.get_logger().info("started")
        stream.seek(0)
        assert json.loads(stream.read())["event"] == "started"


def test_an_error_with_its_traceback_stays_on_one_line_in_the_journal(tmp_path: Path) -> None:
    """A traceback of many lines would be as many entries."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        configure(stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        try:
            int("lost\nin two lines")
        except ValueError:
            structlog.get_logger().exception("step_failed", step="drain")
        stream.seek(0)
        (line,) = stream.read().splitlines()
    assert line.startswith("<3>event=step_failed")
    assert "Traceback" in line


def test_what_is_below_the_level_is_not_shown() -> None:
    """The level is the operator's choice."""
    stream = io.StringIO()
    configure("warning", stream=stream, environment={})
    structlog.get_logger().info("reading")
    structlog.get_logger().warning("battery_low")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["battery_low"]


def test_debug_of_ours_brings_no_debug_of_the_libraries() -> None:
    """Their noise would bury what we say; their warnings take the same way as ours."""
    stream = io.StringIO()
    configure("debug", stream=stream, environment={})
    structlog.get_logger().debug("packet_received")
    logging.getLogger("asyncssh").info("Connection established")
    logging.getLogger("mqtt").warning("There are %d pending publish calls.", 11)
    ours, theirs = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert ours["event"] == "packet_received"
    assert (theirs["event"], theirs["logger"]) == ("There are 11 pending publish calls.", "mqtt")


def test_a_secret_is_never_written() -> None:
    """A field that sounds like a secret is hidden even if someone logs it by mistake."""
    stream = io.StringIO()
    configure(stream=stream, environment={})
    structlog.get_logger().info("settings", mqtt_password="hunter2", api_Token="t0k3n", username="upsd")
    assert "hunter2" not in stream.getvalue()
    assert "t0k3n" not in stream.getvalue()
    assert json.loads(stream.getvalue())["username"] == "upsd"


def test_a_log_that_can_not_be_written_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk behind standard error must not end an orderly shutdown."""
    configure(stream=FullDisk(), environment={})
    structlog.get_logger().critical("mains_lost")
    assert capsys.readouterr().err == ""


def test_an_unknown_form_is_refused() -> None:
    """A typing error in the settings is said, not guessed at."""
    with pytest.raises(ValueError, match="one of auto, console, json"):
        configure(form="yaml", stream=io.StringIO(), environment={})
