"""One exchange with the UPS over USB: the only place that knows pyusb.

pyusb blocks, so `UsbPort` lives in one worker thread of its own and `UsbTransport` is its face to the event loop.
Works on libusb and on any other pyusb backend.

A read asks for as many reports as the bridge can give until the rest of the reply is due: the host controller collects
them, one at each poll of the endpoint, so that the bridge never overflows and the thread wakes a few times a reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import usb.core
import usb.util

from upsd.ups import bridge
from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import Reply, line_s
from upsd.ups.pacing import PiecePause, ReplyPace
from upsd.ups.transport import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from upsd.ups.exchange import Collector, Exchange, Quiet

_TRANSFER_MS = 1000
_SPARE_MS = 60
_GAP_S = 0.3
_DRAIN_S = 0.6
_QUIET_REPORTS = 3  # a byte takes less than the pause between two of them
_HANGS_AFTER_S = 5.0

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


def load_backend(module: str | None) -> Any:
    """The pyusb backend of the module, or libusb.

    Raises:
        UpsError: there is no such thing.
    """
    try:
        backend = importlib.import_module(module or "usb.backend.libusb1").get_backend()
    except (ImportError, AttributeError) as error:
        raise UpsError(Fault.PORT, f"ups.backend: {module} is no pyusb backend: {error}") from error
    if backend is None:
        raise UpsError(Fault.PORT, "there is no USB library; install Debian's libusb-1.0-0")
    return backend


class UsbPort:
    """The bridge behind one USB address; every method blocks and belongs in one thread.

    Args:
        load_backend: gives the pyusb backend, at the first use.
        pause: between two pieces of a request, to begin with.
        clock: the thread's clock, which is the event loop's, in seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        *,
        load_backend: Callable[[], Any],
        pause: PiecePause,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._load_backend = load_backend
        self._backend: Any = None
        self._clock = clock
        self._sleep = sleep
        self._device: Any = None
        self._baud = 0
        self._pause = self._proven_pause = pause
        self._fixed_pause_s: float | None = None
        self._pace = ReplyPace()
        self._answered = b"", 0
        self._unclean = False
        self.hurried = False
        """Whether somebody waits: then no question is repeated."""

    def places(self) -> list[Place]:
        """The bus paths, such as `1-4.2`, at which the bridge's USB id is seen."""
        try:
            found = usb.core.find(
                find_all=True, idVendor=bridge.VENDOR_ID, idProduct=bridge.PRODUCT_ID, backend=self._usb()
            )
            return [Place(_bus_path(device), device.address or 0) for device in found or ()]
        except usb.core.USBError as error:
            raise _translated(error) from error

    def open(self, bus_path: str, baud: int) -> None:
        """Find the device, take it from the kernel and claim it; the line is set up at the first exchange."""
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
        except usb.core.USBError as error:
            self.close()
            raise _translated(error) from error
        self._baud = baud
        self._pause = self._proven_pause
        self._unclean = True

    def exchange(self, exchange: Exchange, quiet: Quiet | None) -> Reply:
        """Send the request and collect its reply; again while all is quiet and nobody is in a hurry."""
        reply = Reply(self._exchange(exchange), self._clock())
        while quiet and reply.data == quiet.reply and reply.at < quiet.until and not self.hurried:
            try:
                reply = Reply(self._exchange(exchange), self._clock())
            except UpsError:
                break
        return reply

    def slow_down(self) -> None:
        """Leave more time between the pieces of the next requests."""
        self._pause = self._pause.longer()

    def send_with_pause(self, seconds: float | None) -> None:
        """Leave just so much time between the pieces, whatever comes of it; `None` ends that."""
        self._fixed_pause_s = seconds

    def reset(self) -> None:
        """Reset the device's USB port, and let go of it."""
        try:
            if self._device is not None:
                self._device.reset()
        except usb.core.USBError as error:
            raise _translated(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Release the interface; safe to call at any time."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(usb.core.USBError):
                usb.util.dispose_resources(device)

    def _exchange(self, exchange: Exchange) -> bytes:
        if self._device is None:
            raise UpsError(Fault.NOT_PRESENT, "no UPS is open")
        collector = exchange.collector()
        try:
            if self._unclean:
                self._begin_anew()
            self._unclean = True
            sent_at = self._send(exchange.request)
            reply = self._collect(exchange, collector, sent_at)
        except usb.core.USBError as error:
            if error.errno == errno.EPIPE:
                with contextlib.suppress(usb.core.USBError):
                    self._device.clear_halt(bridge.ENDPOINT_IN)
            raise _translated(error) from error
        self._unclean = False
        self._pause = self._proven_pause = self._pause.shorter()
        return reply

    def _usb(self) -> Any:
        if self._backend is None:
            self._backend = self._load_backend()
        return self._backend

    def _begin_anew(self) -> None:
        """Set the line up, which a bus reset undoes, and wait until what went wrong before has ended.

        The UPS is deaf while it still speaks.
        """
        setup = bridge.line_setup(self._baud)
        self._device.ctrl_transfer(*bridge.LINE_SETUP_REQUEST, setup, timeout=_TRANSFER_MS)
        until = self._clock() + _DRAIN_S
        while bridge.payload(self._read(reports=_QUIET_REPORTS, within_s=0.0)) and self._clock() < until:
            pass

    def _send(self, request: bytes) -> float:
        """Write the pieces; when the last byte has left the bridge."""
        pause_s = self._pause.seconds if self._fixed_pause_s is None else self._fixed_pause_s
        first, *others = bridge.packetise(request)
        self._device.write(bridge.ENDPOINT_OUT, first, timeout=_TRANSFER_MS)
        for report in others:
            self._sleep(pause_s)
            self._device.write(bridge.ENDPOINT_OUT, report, timeout=_TRANSFER_MS)
        last_piece = (len(request) - 1) % bridge.PIECE + 1
        return self._clock() + line_s(last_piece, self._baud)

    def _collect(self, exchange: Exchange, collector: Collector, sent_at: float) -> bytes:
        pace, received, heard_at = self._pace, 0, sent_at
        # A reply as long as the last one to this question is worth waking for only when it is whole.
        request, count = self._answered
        awaited = count if exchange.request == request else collector.missing
        due_at = sent_at + pace.thinks_s + line_s(awaited, self._baud)
        while True:
            began_at = self._clock()
            wanted = pace.reports_until(due_at, began_at)
            reports = self._read(reports=wanted, within_s=max(0.0, due_at - began_at))
            now = self._clock()
            if len(reports) == wanted * bridge.REPORT_SIZE:
                pace.took(now - began_at, wanted)
            if data := bridge.payload(reports):
                heard_at = now - pace.report_s * bridge.idle_reports(reports)
                if not received:
                    pace.began(heard_at - line_s(len(data), self._baud) - sent_at)
                received += len(data)
                reply = collector.feed(data)
                if reply is not None:
                    self._answered = exchange.request, received
                    return reply
                due_at = heard_at + line_s(collector.missing, self._baud)
            else:
                due_at = now + line_s(min(collector.missing, bridge.PIECE), self._baud)
            if collector.started and now - heard_at > _GAP_S:
                raise UpsError(Fault.TORN, "the UPS's reply broke off")
            if not collector.started and now - sent_at > exchange.begins_within_s:
                raise UpsError(Fault.NO_REPLY, "the UPS does not answer")

    def _read(self, *, reports: int, within_s: float) -> bytes:
        """Up to so many IN reports; none, if they don't come in time."""
        timeout_ms = math.ceil(1000 * within_s) + _SPARE_MS
        try:
            return bytes(self._device.read(bridge.ENDPOINT_IN, reports * bridge.REPORT_SIZE, timeout=timeout_ms))
        except usb.core.USBTimeoutError:
            return b""


class UsbTransport:
    """`UsbPort` for the event loop: one thread, and nobody waits for it longer than a deadline."""

    loses_sight = False

    def __init__(self, port: UsbPort) -> None:
        self._port = port
        self._thread = ThreadPoolExecutor(1, "usb")

    async def places(self) -> Sequence[Place]:
        """Bus paths of bridges."""
        return await self._call(self._port.places)

    async def open(self, path: str, baud: int) -> None:
        """Take the bridge at this bus path."""
        await self._call(self._port.open, path, baud)

    async def exchange(self, exchange: Exchange, quiet: Quiet | None = None) -> Reply:
        """A request and its reply, or several in a row while nothing changes."""
        self._port.hurried = False
        return await self._call(self._port.exchange, exchange, quiet)

    def hurry(self) -> None:
        """Repeat no question any more."""
        self._port.hurried = True

    def slow_down(self) -> None:
        """Leave more time between the pieces of the next requests."""
        self._port.slow_down()

    def send_with_pause(self, seconds: float | None) -> None:
        """Leave just so much time between the pieces, whatever comes of it; `None` ends that."""
        self._port.send_with_pause(seconds)

    async def reset(self) -> None:
        """Reset the bridge."""
        await self._call(self._port.reset)

    async def close(self) -> None:
        """Release the bridge."""
        await self._call(self._port.close)

    def shutdown(self) -> None:
        """Let the thread go, without waiting for a call that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        call = asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        try:
            # Not asyncio.wait_for, which on 3.11 can swallow the cancellation that ends the daemon.
            async with asyncio.timeout(_HANGS_AFTER_S):
                return await call
        except TimeoutError:
            raise UpsError(Fault.HUNG, "the USB layer hangs; unplug the UPS's USB cable and plug it in again") from None


def _bus_path(device: Any) -> str:
    ports = ".".join(str(port) for port in device.port_numbers or ())
    return f"{device.bus}-{ports}" if ports else str(device.bus)


def _translated(error: usb.core.USBError) -> UpsError:
    fault, text = _FAULTS.get(error.errno, (Fault.PORT, f"USB error: {error.strerror or error}"))
    return UpsError(fault, text)
