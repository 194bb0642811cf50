"""Those who deal with a simulated UPS: a reader on each kind of cable, and somebody with `curl`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import usb.core
import usb.util
import usbip

from hardware_sim.ups.bridge import LINE_SETUP
from hardware_sim.ups.control import http_control
from hardware_sim.ups.descriptors import IN_ENDPOINT, OUT_ENDPOINT
from hardware_sim.ups.ports import SocketPort
from hardware_sim.ups.usbip import BUS_ID
from hardware_sim.usb_backend import SimulatedBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hardware_sim.ups.actions import Deed
    from hardware_sim.ups.rig import Rig

RS = bytes.fromhex("02 20 22 52 53 30 30 30 31 34 37 03")
RS_REPORTS = (bytes.fromhex("37 02 20 22 52 53 30 30"), bytes.fromhex("35 30 31 34 37 03 30 30"))
ON_LINE, ON_BATTERY = b"8", b":"
STATUS_FLAGS = slice(7, 8)


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call what blocks beside the loop."""
    async with asyncio.timeout(10):
        return await asyncio.to_thread(call, *arguments)


@dataclass
class Control:
    """Somebody with `curl`."""

    session: aiohttp.ClientSession
    url: str
    told: list[Deed] = field(default_factory=list)

    async def state(self) -> Any:
        """How everything stands."""
        async with self.session.get(self.url) as answer:
            assert answer.status == 200
            return await answer.json()

    async def post(self, action: str, **body: Any) -> tuple[int, str]:
        """Do something; the status and the text of the answer."""
        async with self.session.post(self.url + action, json=body.get("json"), data=body.get("data")) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def controlled(rig: Rig) -> AsyncIterator[Control]:
    """A control of this UPS."""
    told: list[Deed] = []
    async with http_control(rig, told=told.append) as url, aiohttp.ClientSession() as session:
        yield Control(session, url, told)


class PyusbReader:
    """Reads as a driver does that was written with pyusb."""

    def __init__(self, path: Path) -> None:
        self.device = usb.core.find(idVendor=0x04B4, backend=SimulatedBackend(SocketPort(str(path))))
        self.device.detach_kernel_driver(0)
        self.device.ctrl_transfer(0x21, 0x09, 0x0300, 0, LINE_SETUP)

    def flags(self) -> bytes:
        """The first character of the status."""
        for report in RS_REPORTS:
            self.device.write(OUT_ENDPOINT, report)
        return collected(lambda: bytes(self.device.read(IN_ENDPOINT, 8, 1000)))[STATUS_FLAGS]

    def close(self) -> None:
        """Let go."""
        usb.util.dispose_resources(self.device)


class UsbIpReader:
    """Reads as a kernel does for its drivers, over USB/IP."""

    def __init__(self, port: int) -> None:
        connection = usbip.Connection(socket.create_connection(("127.0.0.1", port)))
        connection.import_device(BUS_ID)
        self.handle = usbip.Handle(connection, None)
        self.handle.control(0x21, 0x09, 0x0300, 0, LINE_SETUP)

    def flags(self) -> bytes:
        """The first character of the status."""
        return self.ask(RS_REPORTS)[STATUS_FLAGS]

    def ask(self, reports: tuple[bytes, ...]) -> bytes:
        """A request and the bytes of its reply."""
        for report in reports:
            self.handle.interrupt_out(OUT_ENDPOINT, report)
        return collected(lambda: self.handle.interrupt_in(IN_ENDPOINT, 8))

    def close(self) -> None:
        """Let go."""
        self.handle.close()


class SerialReader:
    """Reads as a driver does that was written for a serial port."""

    def __init__(self, path: str) -> None:
        self.port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        attributes = termios.tcgetattr(self.port)
        attributes[4] = attributes[5] = termios.B1200
        termios.tcsetattr(self.port, termios.TCSANOW, attributes)

    def flags(self) -> bytes:
        """The first character of the status."""
        os.write(self.port, RS)
        received = b""
        while not received.endswith(b"\x03"):
            received += self._read()
        return received[STATUS_FLAGS]

    def _read(self) -> bytes:
        piece = os.read(self.port, 64)
        if not piece:
            raise OSError("hung up")
        return piece

    def close(self) -> None:
        """Let go."""
        os.close(self.port)


def collected(read: Callable[[], bytes]) -> bytes:
    """The bytes of reports, up to the end of a frame."""
    received = b""
    while not received.endswith(b"\x03"):
        report = read()
        received += report[1 : 1 + (report[0] & 7)]
    return received
