"""The UPS as a USB/IP device: a host's kernel takes it for a real one in a port of its own.

The package `usbip` speaks the protocol with each host, in a thread of its own. Everything else happens on the event
loop, where the UPS lives: each URB is handed over to it and carried out on the bridge as any other transfer. Whether
the cable is in is looked at whenever time passes for the UPS; pulling it ends the connections, so that the host sees
the device vanish.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Self

import usbip
from usbip import protocol

from hardware_sim.ups.descriptors import (
    BUS,
    IN_ENDPOINT,
    OUT_ENDPOINT,
    PRODUCT_ID,
    REPORT_LENGTH,
    VENDOR_ID,
    configuration_descriptor,
)
from hardware_sim.ups.server import carry_out
from hardware_sim.ups.transfers import Transfer, TransferKind, control_data, read_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hardware_sim.ups.bridge import CypressBridge
    from hardware_sim.ups.device import UpsDevice

PORT: Final = 3240
"""The port of USB/IP."""
BUS_ID: Final = "1-1"
"""What a host attaches by."""


class UsbIpServer:
    """Exports the bridge to one host at a time, while it is entered; port 0 is any free one, and `port` then tells it.

    Nothing here lets time pass for the UPS.
    """

    def __init__(self, device: UpsDevice, bridge: CypressBridge, *, host: str = "127.0.0.1", port: int = PORT) -> None:
        self.host = host
        self.port = port
        self._device = device
        self._bridge = bridge
        self._address: int | None = None
        self._connections: dict[socket.socket, tuple[_Export, threading.Thread]] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port))
        self._listener.settimeout(0.0)
        self.port = self._listener.getsockname()[1]
        self._address, self._open = self._bridge.address, True
        self._device.watch(self._look_at_the_cable)
        self._accepting = asyncio.create_task(self._accept(), name="usbip")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        threads = [thread for _, thread in self._connections.values()]
        self._hang_up()
        for thread in threads:
            await asyncio.to_thread(thread.join)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            # The protocol sends small pieces and waits for answers.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(None)
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        """Serve a host: what it may import depends on the cable, and on whether another has the device already."""
        self._look_at_the_cable()
        export = _Export(self._bridge)
        taken = any(other.imported and other.devnum == self._address for other, _ in self._connections.values())
        exports = [] if taken or self._address is None else [export]
        loop = asyncio.get_running_loop()

        def serve() -> None:
            protocol.serve_connection(connection, exports)
            loop.call_soon_threadsafe(self._ended, connection)

        thread = threading.Thread(target=serve, name="usbip", daemon=True)
        self._connections[connection] = export, thread
        thread.start()

    def _ended(self, connection: socket.socket) -> None:
        export, _ = self._connections.pop(connection)
        export.abandon()

    def _look_at_the_cable(self) -> None:
        if self._open and self._address != self._bridge.address:
            self._address = self._bridge.address
            self._hang_up()

    def _hang_up(self) -> None:
        for connection in self._connections:
            # The host may have gone first.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Export(usbip.USBDevice):  # type: ignore[misc]  # the package ships no types
    """The device as one host sees it; the package calls it in the thread of that host's connection."""

    def __init__(self, bridge: CypressBridge) -> None:
        super().__init__(VENDOR_ID, PRODUCT_ID, bcdUSB=0x0100, bcdDevice=0)
        self.set_speed(usbip.SPEED_LOW)
        self.set_busid(BUS_ID)
        self.add_group().claim_interface()
        self.imported = False
        self._bridge = bridge
        self.busnum, self.devnum = BUS, bridge.address or 0
        self._loop = asyncio.get_running_loop()
        self._urbs: dict[int, asyncio.Task[None]] = {}
        self._pipes: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def config_bytes(self) -> bytes:
        """The configuration, for the list of devices."""
        return configuration_descriptor()

    def reset_io(self) -> None:
        """A host has imported the device: it begins as if it had just been plugged in."""
        self.imported = True
        self._on_loop(self._reset)

    def handle_urb(self, urb: Any, respond: Callable[[Any], None]) -> None:
        """Take a transfer; it is answered when it is done."""
        self._on_loop(self._submit, urb, respond)

    def cancel_urb(self, number: int) -> None:
        """Forget a transfer: once this returns, it is not answered any more."""
        self._on_loop(self._unlink, number)

    def abandon(self) -> None:
        """The host is gone."""
        for task in self._urbs.values():
            task.cancel()

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have it done on the event loop, and wait for that."""
        done = threading.Event()

        def work() -> None:
            try:
                call(*arguments)
            finally:
                done.set()

        self._loop.call_soon_threadsafe(work)
        done.wait()

    def _reset(self) -> None:
        with contextlib.suppress(OSError):
            self._bridge.reset(self._loop.time())

    def _submit(self, urb: Any, respond: Callable[[Any], None]) -> None:
        task = self._urbs[urb.seqnum] = self._loop.create_task(self._carry_out(urb, respond), name="urb")
        task.add_done_callback(lambda _: self._urbs.pop(urb.seqnum, None))

    def _unlink(self, number: int) -> None:
        if task := self._urbs.get(number):
            task.cancel()

    async def _carry_out(self, urb: Any, respond: Callable[[Any], None]) -> None:
        async with self._pipes[urb.ep_addr if urb.ep else 0]:
            try:
                data, urb.status = await carry_out(self._bridge, self._transfer(urb)), 0
            except OSError as error:
                data, urb.status = b"", -(error.errno or errno.EIO)
            if urb.direction == usbip.IN:
                urb.buffer = data[: urb.length]
            urb.actual = 0 if urb.status else len(urb.buffer)
            # A few bytes, for which a socket always has room, as hosts have few transfers under way.
            respond(urb)

    def _transfer(self, urb: Any) -> Transfer:
        match urb.ep_addr:
            case 0 | 0x80:
                setup = usbip.Setup.parse(urb.setup)
                fields = (setup.bmRequestType, setup.bRequest, setup.wValue, setup.wIndex)
                return Transfer(TransferKind.CONTROL, self.devnum, data=control_data(fields, urb.buffer))
            case endpoint if endpoint == IN_ENDPOINT and urb.length >= REPORT_LENGTH:
                return Transfer(TransferKind.READ, self.devnum, data=read_data(urb.length // REPORT_LENGTH))
            case endpoint if endpoint == IN_ENDPOINT:
                raise OSError(errno.EOVERFLOW, "a report is longer than that")
            case endpoint if endpoint == OUT_ENDPOINT:
                return Transfer(TransferKind.WRITE, self.devnum, data=urb.buffer)
            case _:
                raise OSError(errno.EPIPE, "there is no such endpoint")
