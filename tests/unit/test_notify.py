from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from upsd.notify import Notifier, one_ascii_line, watchdog_interval_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listener


def test_each_call_sends_what_systemd_waits_for(service_manager: socket.socket) -> None:
    """Without READY the unit never starts; without WATCHDOG it is killed."""
    notifier = Notifier()
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    notifier.close()
    assert [service_manager.recv(999) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_status_outside_latin_1_arrives_in_ascii(service_manager: socket.socket) -> None:
    """The library alone would drop such a text without a word."""
    notifier = Notifier()
    notifier.status("on battery \N{EN DASH} 12 min left → draining Zoë")
    notifier.close()
    assert service_manager.recv(999) == b"STATUS=on battery - 12 min left -> draining Zoe"


def test_a_line_break_in_a_status_starts_no_field(service_manager: socket.socket) -> None:
    """A machine's error text must not be able to say READY or anything else in our name."""
    notifier = Notifier()
    notifier.status("refused:\nMAINPID=1\r\nWATCHDOG=trigger")
    notifier.close()
    assert service_manager.recv(999) == b"STATUS=refused: MAINPID=1 WATCHDOG=trigger"


def test_without_a_service_manager_nothing_happens() -> None:
    """Started by hand, the daemon runs just the same."""
    notifier = Notifier(environment={})
    notifier.ready()
    notifier.status("on line")
    notifier.close()
    assert notifier._systemd is None


def test_a_full_queue_of_the_service_manager_does_not_stop_us(service_manager: socket.socket) -> None:
    """A service manager that does not read costs a moment, not the loop."""
    notifier = Notifier()
    assert notifier._systemd is not None
    notifier._systemd.socket.settimeout(0.01)
    for number in range(50):
        notifier.status(f"{number} " + "x" * 1000)
    notifier.close()
    assert service_manager.recv(9999).startswith(b"STATUS=0 x")


@pytest.mark.parametrize(
    ("text", "line"),
    [("25 °C", "25 ?C"), ("½ full", "1?2 full"), ("", ""), ("日本", "??"), ("a\tb\u2028c", "a b c")],
)
def test_what_has_no_plain_form_becomes_a_question_mark(text: str, line: str) -> None:
    """Something readable always arrives."""
    assert one_ascii_line(text) == line


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(environment: dict[str, str], interval_s: float | None) -> None:
    """Half the time leaves room for a busy moment; a watchdog of another process is none of ours."""
    assert watchdog_interval_s(environment) == interval_s
