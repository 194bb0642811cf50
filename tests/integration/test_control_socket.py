from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

import upsd.control
from upsd.control import CLIENT_LIMIT, LINE_LIMIT, ActError, ControlError, ControlServer
from upsd.domain.power import Event
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from upsd.status import Json

DEADLINE_S = 5.0
STATUS = b'{"ask": "status"}\n'
SUBSCRIBE = b'{"ask": "subscribe"}\n'


class Client:
    """A program that talks to the daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self._writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            await self._writer.drain()

    async def receive(self) -> Any:
        """The next line, decoded; `None` when the daemon has hung up."""
        async with asyncio.timeout(DEADLINE_S):
            line = await self._reader.readline()
        return json.loads(line) if line else None

    async def ask(self, data: bytes) -> Any:
        """One request, one answer."""
        await self.send(data)
        return await self.receive()


@contextlib.asynccontextmanager
async def client(path: Path) -> AsyncIterator[Client]:
    """A connected program."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=2**20)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def modes(directory: Path) -> dict[str, int]:
    """The names in a directory, with their permissions."""
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in directory.iterdir()}


def content(file: Path) -> str:
    """What is in a file."""
    return file.read_text()


@pytest.fixture
def precious(path: Path) -> Path:
    """A file of somebody's where the socket should go."""
    path.write_text("not to be lost")
    return path


@pytest.fixture
def board() -> StatusBoard:
    """What the daemon shows."""
    return StatusBoard("iplug")


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the socket goes; short, since the kernel allows 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="upsd-") as directory:
        yield Path(directory) / "control.sock"


@pytest.fixture
async def server(board: StatusBoard, path: Path) -> AsyncIterator[ControlServer]:
    """The open socket, with one ask that works, one that fails and one that can't be had."""

    async def plan() -> Json:
        return {"lines": ["cordon"]}

    async def fail() -> Json:
        raise RuntimeError("no plan yet")

    async def refuse() -> Json:
        raise ActError("the UPS was unplugged")

    async with ControlServer(board, path, extra={"plan": plan, "broken": fail, "ups": refuse}) as opened:
        yield opened


@pytest.mark.usefixtures("server")
async def test_status_gives_what_the_board_shows(board: StatusBoard, path: Path) -> None:
    """A program sees the very documents that everybody else sees."""
    async with client(path) as program:
        assert await program.ask(STATUS) == {"ok": True, "state": board.state, "shutdown": board.shutdown}


@pytest.mark.usefixtures("server")
async def test_an_extra_ask_is_answered_under_its_name(path: Path) -> None:
    """The daemon can offer more than the board, such as the plan."""
    async with client(path) as program:
        assert await program.ask(b'{"ask": "plan"}\n') == {"ok": True, "plan": {"lines": ["cordon"]}}


@pytest.mark.usefixtures("server")
async def test_an_ask_that_fails_says_so_and_the_daemon_goes_on(path: Path) -> None:
    """A mistake of ours costs one answer."""
    async with client(path) as program:
        with capture_logs() as events:
            answer = await program.ask(b'{"ask": "broken"}\n')
        assert answer["ok"] is False
        assert "no plan yet" in answer["error"]
        assert [event["event"] for event in events] == ["request_failed"]
        assert (await program.ask(STATUS))["ok"]


@pytest.mark.usefixtures("server")
async def test_an_ask_that_cannot_be_answered_says_why(path: Path) -> None:
    """The reason is for a person, and nothing is logged as a defect."""
    async with client(path) as program:
        with capture_logs() as events:
            answer = await program.ask(b'{"ask": "ups"}\n')
    assert answer == {"ok": False, "error": "the UPS was unplugged"}
    assert events == []


class Operator:
    """Does what is commanded, once it is let, and notes who asked."""

    def __init__(self) -> None:
        self.done: list[Mapping[str, Json]] = []
        self.uids: list[int] = []
        self.refusal: str | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def may_act(self, uid: int) -> str | None:
        """Whether this user may."""
        self.uids.append(uid)
        return self.refusal

    async def obey(self, request: Mapping[str, Json]) -> Json:
        """Do it."""
        await self.may_go_on.wait()
        if request.get("impossible"):
            raise ActError("the rack lives on its battery")
        if request.get("defect"):
            raise RuntimeError("a bug")
        self.done.append(request)
        return {"confirmed": True}


@pytest.fixture
async def operator(board: StatusBoard, path: Path) -> AsyncIterator[Operator]:
    """Behind an open socket."""
    made = Operator()
    async with ControlServer(board, path, acts={"test": made.obey}, may_act=made.may_act):
        yield made


async def test_a_command_is_carried_out_with_its_arguments(operator: Operator, path: Path) -> None:
    """The answer comes once it is done; who asked is what the kernel says."""
    async with client(path) as program:
        answer = await program.ask(b'{"act": "test", "seconds": 5}\n')
    assert answer == {"ok": True, "test": {"confirmed": True}}
    assert operator.done == [{"act": "test", "seconds": 5}]
    assert operator.uids == [os.getuid()]


async def test_who_may_not_command_changes_nothing(operator: Operator, path: Path) -> None:
    """May look, and may not touch."""
    operator.refusal = "only root may do that"
    async with client(path) as program:
        assert await program.ask(b'{"act": "test"}\n') == {"ok": False, "error": "only root may do that"}
        assert (await program.ask(STATUS))["ok"]
    assert operator.done == []


@pytest.mark.parametrize(
    ("request_line", "error"),
    [
        (b'{"act": "test", "impossible": true}\n', "the rack lives on its battery"),
        (b'{"act": "explode"}\n', 'unknown act "explode": one of test'),
        (b'{"act": 5}\n', "unknown act 5: one of test"),
        (b'{"act": "test", "defect": true}\n', "upsd failed to do it: a bug; see its log"),
    ],
)
async def test_a_command_that_is_not_done_says_why(
    operator: Operator, path: Path, request_line: bytes, error: str
) -> None:
    """And the daemon goes on."""
    async with client(path) as program:
        with capture_logs() as logged:
            assert await program.ask(request_line) == {"ok": False, "error": error}
        refusals = [entry["reason"] for entry in logged if entry["event"] == "command_refused"]
        assert refusals == ([error] if "impossible" in str(request_line) else [])
        assert (await program.ask(STATUS))["ok"]
    assert operator.done == []


async def test_a_command_goes_on_when_the_one_who_gave_it_hangs_up(operator: Operator, path: Path) -> None:
    """Half a battery test is no battery test."""
    operator.may_go_on.clear()
    async with client(path) as program:
        await program.send(b'{"act": "test"}\n')
        async with asyncio.timeout(DEADLINE_S):
            while not operator.uids:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0)
    operator.may_go_on.set()
    async with asyncio.timeout(DEADLINE_S):
        while not operator.done:  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0)


@pytest.mark.usefixtures("server")
async def test_nobody_may_command_unless_the_daemon_says_who(path: Path) -> None:
    """There is no way to forget it."""
    async with client(path) as program:
        assert (await program.ask(b'{"act": "test"}\n'))["ok"] is False


@pytest.mark.usefixtures("server")
async def test_a_subscription_begins_with_what_is_current_and_goes_on_with_what_happens(
    board: StatusBoard, path: Path
) -> None:
    """A follower knows everything from the first moment on."""
    async with client(path) as program:
        await program.send(SUBSCRIBE)
        assert await program.receive() == {"topic": "state", "document": board.state}
        assert await program.receive() == {"topic": "shutdown", "document": board.shutdown}
        board.emit(Event("mains_lost"), "2026-11-23T19:00:00Z")
        update = await program.receive()
    assert (update["topic"], update["document"]["event_type"]) == ("event", "mains_lost")


@pytest.mark.parametrize(
    ("nonsense", "hint"),
    [
        (b"hello\n", "not JSON"),
        (b"\x00\xff\xfe\x80garbage\n", "not JSON"),
        (b"\n", "not JSON"),
        (b"[" * 20_000 + b"\n", "not JSON"),
        (b"[1, 2]\n", '{"ask": "status"}'),
        (b"{}\n", '{"ask": "status"}'),
        (b'{"ask": "reboot"}\n', "one of broken, plan, status, subscribe"),
        (b'{"ask": ["status"]}\n', "one of broken, plan, status, subscribe"),
        (b'{"ask": null}\n', "one of broken, plan, status, subscribe"),
    ],
)
@pytest.mark.usefixtures("server")
async def test_nonsense_gets_an_answer_that_says_what_would_be_right(path: Path, nonsense: bytes, hint: str) -> None:
    """Whoever writes a client sees the mistake, and the connection goes on."""
    async with client(path) as program:
        answer = await program.ask(nonsense)
        assert answer["ok"] is False
        assert hint in answer["error"]
        assert (await program.ask(STATUS))["ok"]


@pytest.mark.usefixtures("server")
async def test_a_line_without_end_is_refused_and_hurts_nobody_else(path: Path) -> None:
    """A client can't fill our memory."""
    async with client(path) as program, client(path) as other:
        answer = await program.ask(b"x" * (LINE_LIMIT + 1))
        assert str(LINE_LIMIT) in answer["error"]
        assert await program.receive() is None
        assert (await other.ask(STATUS))["ok"]


@pytest.mark.usefixtures("server")
async def test_a_request_without_a_line_break_is_answered_at_the_end_of_input(path: Path) -> None:
    """`printf '{"ask":"status"}' | socat - UNIX:...` works as one expects."""
    with socket.socket(socket.AF_UNIX) as program:
        program.settimeout(0.0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(program, str(path))
        await loop.sock_sendall(program, STATUS.strip())
        program.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(DEADLINE_S):
            assert (await loop.sock_recv(program, LINE_LIMIT)).startswith(b'{"ok": true')


@pytest.mark.usefixtures("server")
async def test_there_is_a_limit_to_clients_and_a_place_is_free_again_at_once(path: Path) -> None:
    """A program that leaks connections learns why; nobody stays locked out."""
    async with contextlib.AsyncExitStack() as crowd:
        members = [await crowd.enter_async_context(client(path)) for _ in range(CLIENT_LIMIT)]
        for member in members:
            assert (await member.ask(STATUS))["ok"]
        async with client(path) as late:
            refusal = await late.receive()
            assert str(CLIENT_LIMIT) in refusal["error"]
            assert await late.receive() is None
    async with client(path) as next_one:
        assert (await next_one.ask(STATUS))["ok"]


@pytest.mark.usefixtures("server")
async def test_followers_who_leave_give_their_place_back(board: StatusBoard, path: Path) -> None:
    """A follower's place is free as soon as it is gone, not when the next thing happens."""
    for _ in range(CLIENT_LIMIT + 5):
        async with client(path) as follower:
            await follower.send(SUBSCRIBE)
            assert (await follower.receive())["document"] == board.state


async def test_a_follower_that_does_not_read_is_dropped(
    board: StatusBoard, server: ControlServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold neither memory nor a place for ever."""
    monkeypatch.setattr(upsd.control, "WRITE_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as sleeper:
        sleeper.settimeout(0.0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sleeper, str(path))
        await loop.sock_sendall(sleeper, SUBSCRIBE)
        async with asyncio.timeout(DEADLINE_S):
            while not server._clients:  # noqa: ASYNC110 - until the server has taken the call
                await asyncio.sleep(0)
            while server._clients:
                board.emit(Event("tick", fields={"text": "x" * 10_000}), "2026-11-23T19:00:00Z")
                await asyncio.sleep(0.001)
    assert board._subscriptions == set()


@pytest.mark.usefixtures("server")
async def test_a_client_that_never_asks_loses_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgotten connections can't lock others out for ever."""
    monkeypatch.setattr(upsd.control, "IDLE_TIMEOUT_S", 0.05)
    async with client(path) as forgotten:
        assert await forgotten.receive() is None


@pytest.mark.usefixtures("server")
async def test_only_owner_and_group_may_open_the_socket(path: Path) -> None:
    """Who may ask is decided by the file's mode."""
    assert modes(path.parent) == {path.name: 0o660}


async def test_the_socket_of_a_dead_daemon_is_replaced(board: StatusBoard, path: Path) -> None:
    """After a crash the next start needs nobody's hand."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    async with ControlServer(board, path), client(path) as program:
        assert (await program.ask(STATUS))["ok"]
    assert modes(path.parent) == {}


@pytest.mark.usefixtures("server")
async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path) -> None:
    """Two daemons on one UPS would fight; the second one says why it does not start."""
    with pytest.raises(ControlError, match=f"another upsd answers on {path}"):
        async with ControlServer(StatusBoard("other"), path):
            pass
    async with client(path) as program:
        assert (await program.ask(STATUS))["state"]["ups"] == "iplug"


async def test_a_file_that_is_no_socket_is_left_alone(board: StatusBoard, precious: Path) -> None:
    """A wrong path in the settings may not cost a file."""
    with pytest.raises(ControlError, match="no socket"):
        async with ControlServer(board, precious):
            pass
    assert content(precious) == "not to be lost"


async def test_a_missing_directory_is_a_clear_error(board: StatusBoard, path: Path) -> None:
    """The message names the directory and what makes it."""
    with pytest.raises(ControlError, match=r"missing must be a directory .*RuntimeDirectory=upsd"):
        async with ControlServer(board, path.parent / "missing" / "control.sock"):
            pass


async def test_a_path_too_long_for_a_socket_is_a_clear_error(board: StatusBoard, path: Path) -> None:
    """The kernel's limit is not everybody's knowledge."""
    with pytest.raises(ControlError, match="too long"):
        async with ControlServer(board, path.parent / ("x" * 110)):
            pass


async def test_closing_ends_every_client_and_removes_the_socket(board: StatusBoard, path: Path) -> None:
    """A stop is not held up by those who listen."""
    async with contextlib.AsyncExitStack() as stack:
        async with ControlServer(board, path):
            idle, follower = [await stack.enter_async_context(client(path)) for _ in range(2)]
            assert (await idle.ask(STATUS))["ok"]
            await follower.send(SUBSCRIBE)
            assert (await follower.receive())["topic"] == "state"
            assert (await follower.receive())["topic"] == "shutdown"
        assert await idle.receive() is None
        assert await follower.receive() is None
    assert modes(path.parent) == {}
