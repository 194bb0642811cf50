"""The simulated UPS through the real pyusb, in this process and from another one's socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util

from hardware_sim import usb_backend
from hardware_sim.ups.bridge import LINE_SETUP, CypressBridge, bridge_to
from hardware_sim.ups.descriptors import IN_ENDPOINT, OUT_ENDPOINT
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.ports import LocalPort, SocketPort
from hardware_sim.ups.server import UpsServer
from hardware_sim.usb_backend import SimulatedBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

RS_REPORTS = (bytes.fromhex("37 02 20 22 52 53 30 30"), bytes.fromhex("35 30 31 34 37 03 30 30"))
R3 = bytes.fromhex(
    "02 22 20 52 53 32 34 38 30 32 30 30 31 3F 35 30 3E 3B 31 3F 35 30 3E 39 30 30 3F 3F 3F 3F 3F 3F"
    "30 30 38 37 3F 3F 3F 3F 3F 3F 3F 30 39 34 33 03"
)


def find(backend: SimulatedBackend) -> Any:
    """The UPS, as a reader finds it."""
    return usb.core.find(idVendor=0x04B4, idProduct=0x5500, backend=backend)


def opened(backend: SimulatedBackend) -> Any:
    """The UPS, claimed and its line set up."""
    ups = find(backend)
    assert ups is not None
    if ups.is_kernel_driver_active(0):
        ups.detach_kernel_driver(0)
    usb.util.claim_interface(ups, 0)
    assert ups.ctrl_transfer(0x21, 0x09, 0x0300, 0, LINE_SETUP, 1000) == len(LINE_SETUP)
    return ups


def exchange(ups: Any) -> bytes:
    """An RS request and the bytes of its reply."""
    for report in RS_REPORTS:
        assert ups.write(OUT_ENDPOINT, report, 1000) == len(report)
    received = b""
    for _ in range(200):
        report = bytes(ups.read(IN_ENDPOINT, 8, 1000))
        received += report[1 : 1 + (report[0] & 7)]
        if received.endswith(b"\x03"):
            break
    return received


def ups_as_in_r3() -> tuple[UpsDevice, CypressBridge]:
    """A UPS that reports what vector R3 says, on a line 20 times as fast."""
    device = UpsDevice()
    device.set_input(235.0, 50.1)
    return device, bridge_to(device, line_speed=20, poll_interval_s=0.002)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[UpsServer]:
    """A UPS that is served on a socket."""
    async with UpsServer(*ups_as_in_r3(), tmp_path / "ups.sock", tick_s=0.01) as running:
        yield running


async def in_thread(call: Callable[[], Any]) -> Any:
    """Do blocking transfers beside the loop, as the daemon does."""
    async with asyncio.timeout(10):
        return await asyncio.to_thread(call)


def test_the_descriptors_are_those_of_the_bridge() -> None:
    """Ids, class, endpoints, strings and place on the bus, as lsusb shows them."""
    _, bridge = ups_as_in_r3()
    ups = find(SimulatedBackend(LocalPort(bridge)))
    interface = ups[0][(0, 0)]
    assert (ups.manufacturer, ups.product, ups.serial_number) == ("Cypress Semiconductor", "USB to Serial", None)
    assert (ups.bus, ups.port_numbers, ups.bMaxPacketSize0) == (1, (4,), 8)
    assert (interface.bInterfaceClass, ups[0].wTotalLength) == (3, 41)
    assert [(end.bEndpointAddress, end.bmAttributes, end.wMaxPacketSize) for end in interface] == [
        (0x81, 3, 8),
        (0x02, 3, 8),
    ]
    usb.util.dispose_resources(ups)


def test_status_is_read_in_this_process() -> None:
    """Set-up, request in pieces, reply in reports: the frame of vector R3."""
    _, bridge = ups_as_in_r3()
    ups = opened(SimulatedBackend(LocalPort(bridge)))
    assert exchange(ups) == R3
    assert exchange(ups) == R3
    usb.util.dispose_resources(ups)


def test_one_read_collects_several_reports() -> None:
    """As many as it asks for, in one transfer; the bytes of the reply are spread over them."""
    _, bridge = ups_as_in_r3()
    ups = opened(SimulatedBackend(LocalPort(bridge)))
    for report in RS_REPORTS:
        ups.write(OUT_ENDPOINT, report, 1000)
    received = b""
    while not received.endswith(b"\x03"):
        reports = bytes(ups.read(IN_ENDPOINT, 24, 1000))
        assert len(reports) == 24
        received += b"".join(reports[at + 1 : at + 1 + (reports[at] & 7)] for at in (0, 8, 16))
    assert received == R3
    usb.util.dispose_resources(ups)


async def test_status_is_read_over_the_socket(server: UpsServer) -> None:
    """The same frame from a UPS behind a socket, and after a mains cut the battery flag."""
    backend = SimulatedBackend(SocketPort(str(server.socket_path)))
    ups = await in_thread(lambda: opened(backend))
    assert await in_thread(lambda: exchange(ups)) == R3
    server.device.cut_mains()
    assert (await in_thread(lambda: exchange(ups)))[7:8] == b":"
    await in_thread(lambda: usb.util.dispose_resources(ups))


async def test_a_process_finds_the_ups_by_its_environment(server: UpsServer) -> None:
    """`get_backend()` of another process connects to the socket that the environment names."""
    program = (
        "import usb.core; from hardware_sim.usb_backend import get_backend;"
        "ups = usb.core.find(idVendor=0x04B4, backend=get_backend());"
        "ups.detach_kernel_driver(0);"
        "ups.ctrl_transfer(0x21, 0x09, 0x0300, 0, bytes.fromhex('B0 04 00 00 03'));"
        "print(bytes(ups.read(0x81, 8)).hex())"
    )
    environment = {usb_backend.SOCKET_VARIABLE: str(server.socket_path)}
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE, env=environment)
    async with asyncio.timeout(20):
        output, _ = await child.communicate()
    assert output.strip() == b"f000000000000000"


def test_without_a_socket_in_the_environment_there_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable to set."""
    monkeypatch.delenv(usb_backend.SOCKET_VARIABLE, raising=False)
    with pytest.raises(usb.core.USBError, match="UPSD_SIM_UPS"):
        usb_backend.get_backend()


def test_without_a_server_there_is_no_device(tmp_path: Path) -> None:
    """A UPS whose process is gone is like an empty port."""
    assert find(SimulatedBackend(SocketPort(str(tmp_path / "nobody.sock")))) is None


async def test_a_server_that_goes_takes_the_device_along(tmp_path: Path) -> None:
    """An open device says that it is gone, and is not found again."""
    async with UpsServer(*ups_as_in_r3(), tmp_path / "ups.sock") as server:
        backend = SimulatedBackend(SocketPort(str(server.socket_path)))
        ups = await in_thread(lambda: opened(backend))
    with pytest.raises(usb.core.USBError) as gone:
        ups.read(IN_ENDPOINT, 8, 1000)
    assert gone.value.errno == errno.ENODEV
    assert find(backend) is None
    usb.util.dispose_resources(ups)


def test_the_interface_is_busy_until_the_kernel_driver_is_detached() -> None:
    """As on Linux; and a second opener finds it busy too."""
    _, bridge = ups_as_in_r3()
    backend = SimulatedBackend(LocalPort(bridge))
    ups = find(backend)
    with pytest.raises(usb.core.USBError) as busy:
        usb.util.claim_interface(ups, 0)
    assert busy.value.errno == errno.EBUSY
    ups.detach_kernel_driver(0)
    usb.util.claim_interface(ups, 0)
    with pytest.raises(usb.core.USBError) as taken:
        usb.util.claim_interface(find(backend), 0)
    assert taken.value.errno == errno.EBUSY
    usb.util.dispose_resources(ups)


def test_errors_are_those_of_libusb() -> None:
    """A hung bridge is a timeout (110), a halted endpoint a pipe error (32), a pulled cable no device (19)."""
    _, bridge = ups_as_in_r3()
    backend = SimulatedBackend(LocalPort(bridge))
    ups = opened(backend)
    bridge.faults.hung = True
    with pytest.raises(usb.core.USBTimeoutError) as timeout:
        ups.read(IN_ENDPOINT, 8, 50)
    assert timeout.value.errno == errno.ETIMEDOUT
    bridge.faults.hung = False
    bridge.faults.stalled = True
    with pytest.raises(usb.core.USBError) as pipe:
        ups.read(IN_ENDPOINT, 8, 50)
    assert pipe.value.errno == errno.EPIPE
    ups.clear_halt(IN_ENDPOINT)
    assert len(ups.read(IN_ENDPOINT, 8, 50)) == 8
    bridge.faults.unplugged = True
    with pytest.raises(usb.core.USBError) as gone:
        ups.read(IN_ENDPOINT, 8, 50)
    assert gone.value.errno == errno.ENODEV
    assert find(backend) is None
    usb.util.dispose_resources(ups)


def test_a_cable_put_back_is_a_new_device() -> None:
    """It is found under another address, with the kernel driver bound and the line not set up."""
    _, bridge = ups_as_in_r3()
    backend = SimulatedBackend(LocalPort(bridge))
    before = opened(backend)
    bridge.faults.unplugged = True
    bridge.faults.unplugged = False
    found = find(backend)
    assert found.address != before.address
    assert found.is_kernel_driver_active(0)
    usb.util.dispose_resources(before)
    again = opened(backend)
    assert exchange(again) == R3
    usb.util.dispose_resources(again)


def test_pulling_the_cable_ends_a_read_that_waits() -> None:
    """A read without limit on a hung bridge returns when the cable is pulled."""
    _, bridge = ups_as_in_r3()
    ups = opened(SimulatedBackend(LocalPort(bridge)))
    bridge.faults.hung = True
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(ups.read, IN_ENDPOINT, 8, 0)
        bridge.faults.unplugged = True
        error = reading.exception(timeout=5)
    assert isinstance(error, usb.core.USBError)
    assert error.errno == errno.ENODEV
    usb.util.dispose_resources(ups)


async def test_time_passes_for_a_served_ups_that_nobody_asks(tmp_path: Path) -> None:
    """The outlets really switch off and on by the server's own tick; the machines hear of both."""
    device = UpsDevice(timer_speed=100.0)
    switched: asyncio.Queue[bool] = asyncio.Queue()
    device.listen(switched.put_nowait)
    async with UpsServer(device, bridge_to(device), tmp_path / "ups.sock", tick_s=0.01), asyncio.timeout(5):
        device.shutdown_and_restore(5, 0)
        assert not await switched.get()
        assert await switched.get()


async def test_a_socket_on_which_another_serves_is_refused(tmp_path: Path) -> None:
    """The first keeps it, and one that was left behind is replaced."""
    path = tmp_path / "ups.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with UpsServer(*ups_as_in_r3(), path):
        with pytest.raises(FileExistsError, match=f"at {path} another simulator is reached; end that, or "):
            async with UpsServer(*ups_as_in_r3(), path):
                pass
        ups = await in_thread(lambda: opened(SimulatedBackend(SocketPort(str(path)))))
        assert await in_thread(lambda: exchange(ups)) == R3
        usb.util.dispose_resources(ups)
    assert not path.exists()


async def test_a_socket_that_somebody_replaced_is_left_alone(tmp_path: Path) -> None:
    """It is another's by the time that the server ends."""
    path = tmp_path / "ups.sock"
    async with UpsServer(*ups_as_in_r3(), path):
        path.rename(tmp_path / "old.sock")
        path.write_text("another's")
    assert path.read_text() == "another's"
