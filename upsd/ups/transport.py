"""One exchange with the UPS over USB: the only place that knows pyusb.

pyusb blocks, so `UsbPort` lives in one worker thread of its own and `UsbTransport` is its face to the event loop.
Works on libusb and on any other pyusb backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import usb.core
import usb.util

from upsd.ups import bridge
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import FrameAssembler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TRANSFER_MS = 1000
_READ_MS = 200
# At 1200 baud the UPS sends 6.6 bytes in this time: every report comes nearly full, which spares half the transfers,
# and less waits in the bridge than the 12 bytes that a real one is known to hold.
_READ_PAUSE_S = 0.055
_DRAIN_READS = 40
_OVERRUN_S = 2.0

_FAULTS = {
    errno.ENODEV: (Fault.NOT_PRESENT, "the UPS was unplugged"),
    errno.ENOENT: (Fault.NOT_PRESENT, "the UPS is not there any more"),
    errno.EIO: (Fault.NOT_PRESENT, "the UPS does not react on USB; check its cable"),
    errno.EACCES: (Fault.ACCESS_DENIED, "no right to open the UPS; install systemd/70-upsd.rules and plug it in again"),
    errno.EBUSY: (Fault.BUSY, "another program holds the UPS; stop nut-driver or whatever else reads it"),
    errno.EPIPE: (Fault.STALLED, "the USB bridge stalled"),
    errno.EOVERFLOW: (Fault.OVERSIZED, "the USB bridge sent more than was asked for"),
}

_Result = TypeVar("_Result")


class Transport(Protocol):
    """A way to the UPS. Every method raises `UpsError`."""

    async def devices(self) -> Sequence[str]:
        """Where something is that may be a UPS."""

    async def open(self, device: str) -> None:
        """Take the device and set its line up; closes one that was open."""

    async def exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Send one request frame; the one frame that came back."""

    async def close(self) -> None:
        """Give the device back."""


def load_backend(module: str | None) -> Any:
    """The pyusb backend of the module, or libusb.

    Raises:
        UpsError: there is no such thing.
    """
    try:
        backend = importlib.import_module(module or "usb.backend.libusb1").get_backend()
    except (ImportError, AttributeError) as error:
        raise UpsError(Fault.USB, f"ups.backend: {module} is no pyusb backend: {error}") from error
    if backend is None:
        raise UpsError(Fault.USB, "there is no USB library; install Debian's libusb-1.0-0")
    return backend


class UsbPort:
    """The bridge behind one USB address; every method blocks and belongs in one thread.

    Args:
        load_backend: gives the pyusb backend, at the first use.
        packet_pause_s: between two pieces of a request; below 60 ms the serial line can't keep up.
        clock: the thread's clock, in seconds.
        pause: waits that many seconds.
    """

    def __init__(
        self,
        *,
        load_backend: Callable[[], Any],
        packet_pause_s: float,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._load_backend = load_backend
        self._backend: Any = None
        self._packet_pause_s = packet_pause_s
        self._clock = clock
        self._pause = pause
        self._device: Any = None

    def devices(self) -> list[str]:
        """The bus paths, such as `1-4.2`, at which the bridge's USB id is seen."""
        try:
            found = usb.core.find(
                find_all=True, idVendor=bridge.VENDOR_ID, idProduct=bridge.PRODUCT_ID, backend=self._usb()
            )
            return [_bus_path(device) for device in found or ()]
        except usb.core.USBError as error:
            raise _translated(error) from error

    def open(self, bus_path: str) -> None:
        """Find the device, take it from the kernel, claim it and set the serial line up."""
        self.close()
        try:
            self._device = usb.core.find(
                idVendor=bridge.VENDOR_ID,
                idProduct=bridge.PRODUCT_ID,
                custom_match=lambda device: _bus_path(device) == bus_path,
                backend=self._usb(),
            )
            if self._device is None:
                raise UpsError(Fault.NOT_PRESENT, f"there is no UPS at USB path {bus_path}")
            # Some backends know no kernel drivers.
            with contextlib.suppress(NotImplementedError):
                if self._device.is_kernel_driver_active(bridge.INTERFACE):
                    self._device.detach_kernel_driver(bridge.INTERFACE)
            usb.util.claim_interface(self._device, bridge.INTERFACE)
            self._device.ctrl_transfer(*bridge.LINE_SETUP_REQUEST, bridge.LINE_SETUP, timeout=_TRANSFER_MS)
        except usb.core.USBError as error:
            self.close()
            raise _translated(error) from error

    def exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Drain what is stale, send the request in paced pieces, and collect one frame before the deadline."""
        if self._device is None:
            raise UpsError(Fault.NOT_PRESENT, "no UPS is open")
        deadline = self._clock() + timeout_s
        try:
            self._drain(deadline)
            first, *others = bridge.packetise(request)
            self._device.write(bridge.ENDPOINT_OUT, first, timeout=_TRANSFER_MS)
            for report in others:
                self._pause(self._packet_pause_s)
                self._device.write(bridge.ENDPOINT_OUT, report, timeout=_TRANSFER_MS)
            return self._collect(deadline)
        except usb.core.USBError as error:
            if error.errno == errno.EPIPE:
                with contextlib.suppress(usb.core.USBError):
                    self._device.clear_halt(bridge.ENDPOINT_IN)
            raise _translated(error) from error

    def close(self) -> None:
        """Release the interface; safe to call at any time."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(usb.core.USBError):
                usb.util.dispose_resources(device)

    def _usb(self) -> Any:
        if self._backend is None:
            self._backend = self._load_backend()
        return self._backend

    def _drain(self, deadline: float) -> None:
        for _ in range(_DRAIN_READS):
            if not self._read() or self._clock() >= deadline:
                return

    def _collect(self, deadline: float) -> bytes:
        assembler = FrameAssembler()
        while self._clock() < deadline:
            self._pause(_READ_PAUSE_S)
            frame = assembler.feed(self._read())
            if frame is not None:
                return frame
        if assembler.started:
            raise UpsError(Fault.TORN, "the UPS's reply broke off")
        raise UpsError(Fault.NO_REPLY, "the UPS does not answer")

    def _read(self) -> bytes:
        try:
            return bridge.payload(bytes(self._device.read(bridge.ENDPOINT_IN, bridge.REPORT_SIZE, timeout=_READ_MS)))
        except usb.core.USBTimeoutError:
            return b""


class UsbTransport:
    """`UsbPort` for the event loop: one thread, and nobody waits for it longer than a deadline."""

    def __init__(self, port: UsbPort) -> None:
        self._port = port
        self._thread = ThreadPoolExecutor(1, "usb")

    async def devices(self) -> Sequence[str]:
        """Bus paths of bridges."""
        return await self._call(self._port.devices, within_s=_TRANSFER_MS / 1000)

    async def open(self, device: str) -> None:
        """Take the bridge at this bus path."""
        await self._call(lambda: self._port.open(device), within_s=2 * _TRANSFER_MS / 1000)

    async def exchange(self, request: bytes, timeout_s: float) -> bytes:
        """One request, one reply frame."""
        return await self._call(lambda: self._port.exchange(request, timeout_s), within_s=timeout_s)

    async def close(self) -> None:
        """Release the bridge."""
        await self._call(self._port.close, within_s=_TRANSFER_MS / 1000)

    def shutdown(self) -> None:
        """Let the thread go, without waiting for a call that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, work: Callable[[], _Result], *, within_s: float) -> _Result:
        call = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            # Not asyncio.wait_for, which on 3.11 can swallow the cancellation that ends the daemon.
            async with asyncio.timeout(within_s + _OVERRUN_S):
                return await call
        except TimeoutError:
            raise UpsError(Fault.HUNG, "the USB layer hangs; unplug the UPS's USB cable and plug it in again") from None


def _bus_path(device: Any) -> str:
    ports = ".".join(str(port) for port in device.port_numbers or ())
    return f"{device.bus}-{ports}" if ports else str(device.bus)


def _translated(error: usb.core.USBError) -> UpsError:
    fault, text = _FAULTS.get(error.errno, (Fault.USB, f"USB error: {error.strerror or error}"))
    return UpsError(fault, text)
