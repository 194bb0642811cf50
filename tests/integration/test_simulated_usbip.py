"""The simulated UPS over USB/IP, for hosts that nobody here wrote: the package's own, Debian's tool, raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import usbip
from usbip import host

from hardware_sim.ups.bridge import LINE_SETUP, bridge_to
from hardware_sim.ups.descriptors import IN_ENDPOINT, OUT_ENDPOINT
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.server import let_time_pass
from hardware_sim.ups.usbip import BUS_ID, UsbIpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

RS_REPORTS = (bytes.fromhex("37 02 20 22 52 53 30 30"), bytes.fromhex("35 30 31 34 37 03 30 30"))
R3 = bytes.fromhex(
    "02 22 20 52 53 32 34 38 30 32 30 30 31 3F 35 30 3E 3B 31 3F 35 30 3E 39 30 30 3F 3F 3F 3F 3F 3F"
    "30 30 38 37 3F 3F 3F 3F 3F 3F 3F 30 39 34 33 03"
)
EMPTY = bytes.fromhex("F0 00 00 00 00 00 00 00")
DEVICE = "12 01 00 01 00 00 00 08 B4 04 00 55 00 00 01 02 00 01"
CONFIGURATION = (
    "09 02 29 00 01 01 03 80 32"
    "09 04 00 00 02 03 00 00 00"
    "09 21 00 01 00 01 22 25 00"
    "07 05 81 03 08 00 0A"
    "07 05 02 03 08 00 0A"
)
TO_DEVICE, TO_HOST = 0, 1
READ, WRITE, CONTROL_READ = (TO_HOST, IN_ENDPOINT & 0x0F), (TO_DEVICE, OUT_ENDPOINT), (TO_HOST, 0)
GET_DEVICE = bytes.fromhex("80 06 00 01 00 00 12 00")
SUBMIT, UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
STALLED, NO_DEVICE = -32, -19


@pytest.fixture
def faults() -> Faults:
    """What can go wrong."""
    return Faults()


@pytest.fixture
async def server(faults: Faults) -> AsyncIterator[UsbIpServer]:
    """A UPS that reports what vector R3 says, on a line 20 times as fast, and lives."""
    device = UpsDevice()
    device.set_input(235.0, 50.1)
    bridge = bridge_to(device, faults=faults, line_speed=20, poll_interval_s=0.002)
    living = asyncio.create_task(let_time_pass(device, 0.01))
    async with UsbIpServer(device, bridge, port=0) as running:
        yield running
    living.cancel()


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a host that blocks, beside the loop."""
    async with asyncio.timeout(10):
        return await asyncio.to_thread(call, *arguments)


def attach(server: UsbIpServer) -> Any:
    """The device, imported by the package's own host; `None` if that is refused."""
    connection = usbip.Connection(socket.create_connection((server.host, server.port)))
    try:
        connection.import_device(BUS_ID)
    except usbip.NotFound:
        connection.close()
        return None
    return usbip.Handle(connection, None)


@contextlib.asynccontextmanager
async def attached(server: UsbIpServer) -> AsyncIterator[Any]:
    """The device, imported as soon as it can be, and its line set up."""
    async with asyncio.timeout(10):
        while (handle := await in_thread(attach, server)) is None:  # noqa: ASYNC110  # a host can only try
            await asyncio.sleep(0)
    try:
        await in_thread(handle.control, 0x21, 0x09, 0x0300, 0, LINE_SETUP)
        yield handle
    finally:
        handle.close()


def exchange(handle: Any) -> bytes:
    """An RS request and the bytes of its reply."""
    for report in RS_REPORTS:
        handle.interrupt_out(OUT_ENDPOINT, report)
    received = b""
    while not received.endswith(b"\x03"):
        report = handle.interrupt_in(IN_ENDPOINT, 8)
        received += report[1 : 1 + (report[0] & 7)]
    return received


class RawHost:
    """Speaks the protocol byte for byte, so that several transfers can be under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def submit(
        self, number: int, pipe: tuple[int, int], *, length: int = 8, setup: bytes = bytes(8), data: bytes = b""
    ) -> None:
        """Begin a transfer: of `length` bytes to the host, or of `data` to the device."""
        direction, endpoint = pipe
        header = struct.pack(">5I", SUBMIT, number, 0, direction, endpoint)
        self._writer.write(header + struct.pack(">5I", 0, len(data) or length, 0, 0, 0) + setup + data)

    def unlink(self, number: int, of: int) -> None:
        """Take a transfer back."""
        self._writer.write(struct.pack(">5I", UNLINK, number, 0, 0, 0) + struct.pack(">I24x", of))

    async def answer(self) -> tuple[int, int, int, bytes]:
        """What comes next: its kind, the number of the transfer, its status and its data."""
        async with asyncio.timeout(10):
            header = await self._reader.readexactly(48)
            kind, number, _, direction, _, status, length = struct.unpack_from(">5Iii", header)
            has_data = kind == RET_SUBMIT and direction == TO_HOST
            return kind, number, status, await self._reader.readexactly(length if has_data else 0)

    async def hung_up(self) -> bool:
        """Whether nothing more comes than errors of the transfers under way, and then the end."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                assert (await self.answer())[2] == NO_DEVICE
        return True


@contextlib.asynccontextmanager
async def raw_host(server: UsbIpServer) -> AsyncIterator[RawHost]:
    """A host that imports the device as soon as it can."""
    async with asyncio.timeout(10):
        while (streams := await imported(server)) is None:
            pass
    reader, writer = streams
    try:
        yield RawHost(reader, writer)
    finally:
        await closed(writer)


async def imported(server: UsbIpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """A connection to the device; `None` if that is refused."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(struct.pack(">HHI32s", 0x0111, 0x8003, 0, BUS_ID.encode()))
    if (await reader.readexactly(8))[4:8] == bytes(4):
        await reader.readexactly(312)
        return reader, writer
    await closed(writer)
    return None


async def closed(writer: asyncio.StreamWriter) -> None:
    """Let go of a connection."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.fixture
async def raw(server: UsbIpServer) -> AsyncIterator[RawHost]:
    """The only host."""
    async with raw_host(server) as host_of_it:
        yield host_of_it


async def test_the_descriptors_are_those_of_the_bridge(server: UsbIpServer) -> None:
    """Byte for byte as far as they are known, and a report descriptor of 37 bytes."""
    async with attached(server) as handle:
        device = await in_thread(handle.control, 0x80, 0x06, 0x0100, 0, 255)
        configuration = await in_thread(handle.control, 0x80, 0x06, 0x0200, 0, 255)
        head = await in_thread(handle.control, 0x80, 0x06, 0x0200, 0, 9)
        report = await in_thread(handle.control, 0x81, 0x06, 0x2200, 0, 255)
        strings = [await in_thread(handle.control, 0x80, 0x06, 0x0300 + index, 0x0409, 255) for index in (1, 2, 3)]
    assert device == bytes.fromhex(DEVICE)
    assert configuration == bytes.fromhex(CONFIGURATION)
    assert head == configuration[:9]
    assert len(report) == 37
    assert [text[2:].decode("utf-16-le") for text in strings] == [
        "Cypress Semiconductor",
        "USB to Serial",
        "Sample HID",
    ]


async def test_the_list_has_a_low_speed_device(server: UsbIpServer) -> None:
    """One, by its id, and of the class of the interface."""
    (listed,) = await in_thread(host.list_devices, usbip.USBIP(server.host, server.port))
    assert listed["busid"] == BUS_ID
    assert (listed["idVendor"], listed["idProduct"], listed["bcdDevice"], listed["speed"]) == (0x04B4, 0x5500, 0, 1)
    assert listed["interfaces"] == [(3, 0, 0)]


async def test_debians_tool_lists_it(server: UsbIpServer) -> None:
    """`usbip list` finds the id on the bus that the program tells to attach."""
    tool = shutil.which("usbip", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("usbip is missing: apt-get install usbip")
    listing = await asyncio.create_subprocess_exec(
        tool, "--tcp-port", str(server.port), "list", "-r", server.host, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        output, _ = await listing.communicate()
    assert listing.returncode == 0
    assert f"{BUS_ID}:" in output.decode()
    assert "(04b4:5500)" in output.decode()


async def test_status_is_read(server: UsbIpServer) -> None:
    """Set-up, request in pieces, reply in reports: the frame of vector R3."""
    async with attached(server) as handle:
        assert await in_thread(exchange, handle) == R3


async def test_a_line_set_up_that_can_not_be_stalls(server: UsbIpServer) -> None:
    """9600 baud; the endpoint is none the worse for it."""
    async with attached(server) as handle:
        with pytest.raises(usbip.Stall):
            await in_thread(handle.control, 0x21, 0x09, 0x0300, 0, bytes.fromhex("80 25 00 00 03"))
        assert await in_thread(exchange, handle) == R3


async def test_a_long_transfer_collects_several_reports(raw: RawHost) -> None:
    """One at each poll of the endpoint."""
    raw.submit(1, READ, length=40)
    assert await raw.answer() == (RET_SUBMIT, 1, 0, 5 * EMPTY)


async def test_a_transfer_that_holds_no_report_is_an_overflow(raw: RawHost) -> None:
    """As of a host controller to which a device sends too much."""
    raw.submit(1, READ, length=7)
    assert await raw.answer() == (RET_SUBMIT, 1, -75, b"")


async def test_a_halted_endpoint_stalls_until_it_is_cleared(server: UsbIpServer, faults: Faults) -> None:
    """Each read of it; clearing the halt mends it."""
    async with attached(server) as handle:
        faults.stalled = True
        for _ in range(2):
            with pytest.raises(usbip.Stall):
                await in_thread(handle.interrupt_in, IN_ENDPOINT, 8)
        await in_thread(handle.clear_halt, IN_ENDPOINT)
        assert await in_thread(handle.interrupt_in, IN_ENDPOINT, 8) == EMPTY


async def test_a_read_that_waits_holds_up_nothing_else(raw: RawHost, faults: Faults) -> None:
    """While the bridge hangs, control transfers and reports to it are answered; then the reads are, in order."""
    faults.hung = True
    raw.submit(1, READ)
    raw.submit(2, READ)
    raw.submit(3, CONTROL_READ, length=18, setup=GET_DEVICE)
    assert await raw.answer() == (RET_SUBMIT, 3, 0, bytes.fromhex(DEVICE))
    faults.hung = False
    assert [await raw.answer(), await raw.answer()] == [(RET_SUBMIT, 1, 0, EMPTY), (RET_SUBMIT, 2, 0, EMPTY)]


async def test_a_read_that_was_taken_back_is_not_answered(raw: RawHost, faults: Faults) -> None:
    """Only that it was; and the next read gets what comes."""
    faults.hung = True
    raw.submit(1, READ)
    raw.unlink(2, of=1)
    raw.submit(3, READ)
    assert (await raw.answer())[:2] == (RET_UNLINK, 2)
    faults.hung = False
    assert await raw.answer() == (RET_SUBMIT, 3, 0, EMPTY)


async def test_taking_back_what_was_answered_changes_nothing(raw: RawHost) -> None:
    """The two may cross each other on the way."""
    raw.submit(1, READ)
    assert (await raw.answer())[:2] == (RET_SUBMIT, 1)
    raw.unlink(2, of=1)
    assert (await raw.answer())[:2] == (RET_UNLINK, 2)


async def test_there_are_no_other_endpoints(raw: RawHost) -> None:
    """A transfer to one is a stall."""
    raw.submit(1, (TO_HOST, 3))
    assert await raw.answer() == (RET_SUBMIT, 1, STALLED, b"")


async def test_pulling_the_cable_takes_the_device_away(server: UsbIpServer, raw: RawHost, faults: Faults) -> None:
    """A read that waits ends, the host is hung up on, and there is nothing to import."""
    faults.hung = True
    raw.submit(1, READ)
    faults.unplugged = True
    assert await raw.hung_up()
    assert await in_thread(attach, server) is None
    assert await in_thread(host.list_devices, usbip.USBIP(server.host, server.port)) == []


async def test_the_cable_put_back_is_a_new_device(server: UsbIpServer, raw: RawHost, faults: Faults) -> None:
    """At once, although the old host has not gone yet, under another number, and the line not set up."""
    faults.unplugged = True
    faults.unplugged = False
    handle = await in_thread(attach, server)
    with contextlib.closing(handle):
        assert handle.conn.info["devnum"] == 2
        for report in RS_REPORTS:
            await in_thread(handle.interrupt_out, OUT_ENDPOINT, report)
        assert await in_thread(handle.interrupt_in, IN_ENDPOINT, 400) == 50 * EMPTY
    assert await raw.hung_up()


async def test_one_host_has_it_at_a_time(server: UsbIpServer) -> None:
    """Another is refused until the first lets go; then the line has to be set up anew."""
    async with attached(server) as first:
        assert await in_thread(exchange, first) == R3
        assert await in_thread(attach, server) is None
    async with raw_host(server) as second:
        second.submit(1, WRITE, data=RS_REPORTS[0])
        second.submit(2, WRITE, data=RS_REPORTS[1])
        assert [(await second.answer())[:3] for _ in range(2)] == [(RET_SUBMIT, 1, 0), (RET_SUBMIT, 2, 0)]
        second.submit(3, READ, length=400)
        assert await second.answer() == (RET_SUBMIT, 3, 0, 50 * EMPTY)


async def test_a_host_that_left_takes_nothing_any_more(server: UsbIpServer, faults: Faults) -> None:
    """Its reads that waited are forgotten: the next host gets all that comes."""
    faults.hung = True
    async with raw_host(server) as first:
        for number in range(5):
            first.submit(number, READ, length=400)
        first.submit(5, CONTROL_READ, length=18, setup=GET_DEVICE)
        assert (await first.answer())[1] == 5
    async with attached(server) as second:
        faults.hung = False
        assert [await in_thread(exchange, second) for _ in range(3)] == 3 * [R3]


async def test_a_port_is_taken_once(server: UsbIpServer) -> None:
    """The second server says so."""
    device = UpsDevice()
    with pytest.raises(OSError, match="in use"):
        async with UsbIpServer(device, bridge_to(device), port=server.port):
            pass


async def test_a_server_that_ends_hangs_up(faults: Faults) -> None:
    """Its host is rid of it, also with a read under way, and nobody listens any more."""
    device = UpsDevice()
    faults.hung = True
    async with AsyncExitStack() as stack:
        async with UsbIpServer(device, bridge_to(device, faults=faults), port=0) as server:
            raw = await stack.enter_async_context(raw_host(server))
            raw.submit(1, READ)
            raw.submit(2, CONTROL_READ, length=18, setup=GET_DEVICE)
            assert (await raw.answer())[1] == 2
        assert await raw.hung_up()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(server.host, server.port)
