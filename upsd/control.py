"""How does a program on this machine ask the daemon something, or command it?

JSON lines on a unix socket (0660: who may open it may ask). A request is an object with `ask`; the answer is one
line with `ok`. `status` gives state and shutdown, `subscribe` turns the connection into a stream of `topic` and
`document` that begins with the current ones, and the daemon may add more asks. Asking changes nothing. A request with
`act` is a command, with its arguments beside it: who may give one is judged by the user at the other end.

A client can only hurt itself: lines and clients are limited, one that doesn't read is dropped, and nonsense gets
an answer that says what would be right.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from upsd.status import Document, Json, StatusBoard

Ask: TypeAlias = "Callable[[], Awaitable[Json]]"
"""Gives what is asked for; raises `ActError`."""

Act: TypeAlias = "Callable[[Mapping[str, Json]], Awaitable[Json]]"
"""Does what is commanded, by the request's arguments; raises `ActError`."""

LINE_LIMIT = 64 * 1024
CLIENT_LIMIT = 64
IDLE_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 5.0

log = structlog.get_logger()


class ControlError(Exception):
    """The control socket can't be opened; the text says what to do."""


class ActError(Exception):
    """What was asked for or commanded can't be had or done; the text says why."""


class _BadRequestError(Exception):
    """What a client sent is no request; the text is its answer."""


class ControlServer:
    """The control socket, open while the `async with` block runs; entering may raise `ControlError`.

    Args:
        board: what is shown.
        socket_path: where to listen.
        extra: asks besides `status` and `subscribe`; each gives the value that is answered under its own name.
        acts: commands, likewise.
        may_act: why the user with this id may not command anything; `None` if he may.
        refresh: is called before the board is shown to somebody, to bring it up to the moment.
    """

    def __init__(
        self,
        board: StatusBoard,
        socket_path: Path,
        *,
        extra: Mapping[str, Ask] | None = None,
        acts: Mapping[str, Act] | None = None,
        may_act: Callable[[int], str | None] = lambda _: "nobody may",
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._board = board
        self._path = socket_path
        self._extra = dict(extra or {})
        self._acts = dict(acts or {})
        self._may_act = may_act
        self._refresh = refresh
        self._acting: set[asyncio.Future[Json]] = set()
        self._asks = sorted(["status", "subscribe", *self._extra])
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = _listen(self._path)
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=LINE_LIMIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        under_way: list[asyncio.Future[Any]] = [*self._clients, *self._acting]
        for work in under_way:
            work.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve(reader, writer), name="control-client")
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it leaves, is silent or slow for too long, or sends a line that has no end."""
        try:
            with contextlib.suppress(OSError, TimeoutError):
                if len(self._clients) > CLIENT_LIMIT:
                    await _send(writer, _refusal(f"{CLIENT_LIMIT} clients are connected already; try again later"))
                else:
                    await self._converse(reader, writer)
                writer.close()
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    line = await reader.readline()
            except ValueError:
                await _send(writer, _refusal(f"a line of more than {LINE_LIMIT} bytes: requests are short"))
                return
            if not line:
                return
            try:
                request = _parse(line)
                if "act" in request:
                    await _send(writer, await self._act(request, _uid(writer)))
                    continue
                ask = self._ask_in(request)
            except _BadRequestError as error:
                await _send(writer, _refusal(str(error)))
                continue
            if ask == "subscribe":
                await self._stream(reader, writer)
                return
            await _send(writer, await self._answer(ask))

    def _ask_in(self, request: Mapping[str, Json]) -> str:
        ask = request["ask"]
        if not isinstance(ask, str) or ask not in self._asks:
            raise _BadRequestError(f"unknown ask {json.dumps(ask)[:100]}: one of {', '.join(self._asks)}")
        return ask

    async def _answer(self, ask: str) -> Document:
        if ask == "status":
            self._refresh()
            return {"ok": True, "state": self._board.state, "shutdown": self._board.shutdown}
        try:
            return {"ok": True, ask: await self._extra[ask]()}
        except ActError as error:
            return _refusal(str(error))
        except Exception as error:
            log.exception("request_failed", ask=ask)
            return _refusal(f"upsd failed to answer: {error}; see its log")

    async def _act(self, request: Mapping[str, Json], uid: int) -> Document:
        """Do what is commanded, to its end, also when the one who asked for it goes away meanwhile."""
        name = request["act"]
        if not isinstance(name, str) or name not in self._acts:
            raise _BadRequestError(f"unknown act {json.dumps(name)[:100]}: one of {', '.join(sorted(self._acts))}")
        log.warning("command_received", act=name, uid=uid)
        if reason := self._may_act(uid):
            log.warning("command_refused", act=name, uid=uid, reason=reason)
            return _refusal(reason)
        acting = asyncio.ensure_future(self._acts[name](request))
        self._acting.add(acting)
        acting.add_done_callback(self._acting.discard)
        try:
            return {"ok": True, name: await asyncio.shield(acting)}
        except ActError as error:
            log.warning("command_refused", act=name, uid=uid, reason=str(error))
            return _refusal(str(error))
        except Exception as error:
            log.exception("command_failed", act=name)
            return _refusal(f"upsd failed to do it: {error}; see its log")

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send what the board shows until the client leaves; what it still sends is not read as requests."""
        sending = asyncio.create_task(self._send_updates(writer))
        # A client that doesn't read ends the sending; this ends the reading below with it.
        sending.add_done_callback(lambda _: writer.transport.abort())
        try:
            while await reader.read(LINE_LIMIT):
                pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send_updates(self, writer: asyncio.StreamWriter) -> None:
        self._refresh()
        with self._board.subscribe() as subscription:
            async for topic, document in subscription:
                await _send(writer, {"topic": topic, "document": document})


def _parse(line: bytes) -> Mapping[str, Json]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _BadRequestError('not JSON: send one line such as {"ask": "status"}') from error
    if not isinstance(request, dict) or not {"ask", "act"} & request.keys():
        raise _BadRequestError('not a request: send an object such as {"ask": "status"}')
    return request


def _uid(writer: asyncio.StreamWriter) -> int:
    """The user at the other end."""
    peer: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def _refusal(error: str) -> Document:
    return {"ok": False, "error": error}


async def _send(writer: asyncio.StreamWriter, answer: Document) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()


def _listen(path: Path) -> socket.socket:
    """A listening socket at the path, in place of what a dead daemon left there; else `ControlError`."""
    if _is_alive(path):
        raise ControlError(
            f"another upsd answers on {path}: stop it first (systemctl stop upsd), or set control.socket elsewhere"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f"{path.name}.new")
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of this name that is no socket")
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o660)
        listener.listen()
        fresh.replace(path)  # at once, and never open to others in between
    except OSError as error:
        listener.close()
        raise ControlError(
            f"control socket {path}: {error.strerror or error}; {path.parent} must be a directory that this user"
            " may write to (RuntimeDirectory=upsd in the unit makes it), or set control.socket elsewhere"
        ) from error
    return listener


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(WRITE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # somebody listens, and is busy
        except OSError:
            return False
    return True
