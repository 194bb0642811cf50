"""Offers a simulated UPS to a pyusb backend in another process, and lets its time pass.

The world that runs it cuts and restores the mains on `server.device`, and turns `server.faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Self

from hardware_sim.ups.transfers import REQUEST_HEADER, Ongoing, Transfer, TransferKind, encode_answer

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from hardware_sim.ups.bridge import CypressBridge
    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.faults import Faults


async def let_time_pass(device: UpsDevice, tick_s: float = 0.1) -> None:
    """Let the UPS live, also when nobody talks to it, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        device.advance(loop.time())
        await asyncio.sleep(tick_s)


async def carry_out(bridge: CypressBridge, transfer: Transfer) -> bytes:
    """Do a transfer on the running loop and wait for it; `OSError` with the number that Linux gives."""
    loop = asyncio.get_running_loop()
    ongoing = Ongoing(bridge, transfer, loop.time())
    while (wait_s := ongoing.proceed(loop.time())) is not None:  # noqa: ASYNC110  # the bridge has a pace, and no event
        await asyncio.sleep(wait_s)
    return ongoing.data


class UpsServer:
    """Serves the bridge on a unix socket while it is entered; everything happens on the running loop.

    `tick_s` is how often time passes for the UPS when nobody talks to it.

    Raises:
        FileExistsError: another serves there already.
    """

    def __init__(self, device: UpsDevice, bridge: CypressBridge, socket_path: Path, *, tick_s: float = 0.1) -> None:
        self.device = device
        self.bridge = bridge
        self.socket_path = socket_path
        self._tick_s = tick_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._inode = 0

    @property
    def faults(self) -> Faults:
        """The knobs for what can go wrong."""
        return self.bridge.faults

    async def __aenter__(self) -> Self:
        self.device.advance(asyncio.get_running_loop().time())
        _refuse_if_served(self.socket_path)
        self._server = await asyncio.start_unix_server(self._begin, self.socket_path)
        self._inode = self.socket_path.lstat().st_ino
        self._keep(asyncio.create_task(let_time_pass(self.device, self._tick_s), name="ups-physics"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            if self.socket_path.lstat().st_ino == self._inode:
                self.socket_path.unlink()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(self._serve(reader, writer), name="ups-usb")
        # Not in the task, which may be cancelled before it begins.
        serving.add_done_callback(lambda _: writer.close())
        self._keep(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                writer.write(await self._answer(await _receive(reader)))
                await writer.drain()

    async def _answer(self, transfer: Transfer) -> bytes:
        try:
            return encode_answer(0, await carry_out(self.bridge, transfer))
        except OSError as error:
            return encode_answer(error.errno or errno.EIO, b"")


def _refuse_if_served(path: Path) -> None:
    """A socket on which nobody listens was left behind, and asyncio replaces it; it would replace any other as well."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.0)
        if probe.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise FileExistsError(f"at {path} another simulator is reached; end that, or name another path")


async def _receive(reader: asyncio.StreamReader) -> Transfer:
    header = await reader.readexactly(REQUEST_HEADER.size)
    kind, address, timeout_ms, length = REQUEST_HEADER.unpack(header)
    return Transfer(TransferKind(kind), address, timeout_ms, await reader.readexactly(length))
