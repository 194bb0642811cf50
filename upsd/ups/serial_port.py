"""One exchange with the UPS over RS-232: a port of this machine, or an adapter that looks like one.

The event loop waits for the port, but not while a usual reply comes in: each byte of it would cost the kernel a look at
whether anybody is to be woken, and these looks cost more than everything else here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import Reply, line_s
from upsd.ups.transport import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.ups.exchange import Exchange, Quiet

_SPEEDS: Final = {1200: termios.B1200, 2400: termios.B2400, 4800: termios.B4800, 9600: termios.B9600}
_GAP_S: Final = 0.3
_MOST_BYTES: Final = 512
_EARLIER_S: Final = 0.001
_LARGEST_VMIN: Final = 255
_CC: Final = 6

_FAULTS = {
    errno.ENOENT: (Fault.NOT_PRESENT, "there is no serial port {path}; check its cable, and ups.port in the settings"),
    errno.EACCES: (
        Fault.ACCESS_DENIED,
        "no right to open {path}; let the user upsd at it, as systemd/70-upsd.rules shows",
    ),
    errno.EBUSY: (Fault.BUSY, "another program holds {path}; stop nut-driver or whatever else reads it"),
    errno.EWOULDBLOCK: (Fault.BUSY, "another program holds {path}; stop nut-driver or whatever else reads it"),
    errno.ENOTTY: (Fault.PORT, "{path} is no serial port; correct ups.port in the settings"),
    errno.EIO: (Fault.NOT_PRESENT, "the serial port {path} went away"),
    errno.ENXIO: (Fault.NOT_PRESENT, "the serial port {path} went away"),
    errno.ENODEV: (Fault.NOT_PRESENT, "the serial port {path} went away"),
}


@dataclass(frozen=True, slots=True)
class _Usual:
    """How a question was answered the last time.

    Attributes:
        request: the question.
        takes_s: until the whole reply was there.
    """

    request: bytes = b""
    takes_s: float = 0.0


class SerialTransport:
    """The serial port at this path; what is at its other end is known only when it answers."""

    loses_sight = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._port: int | None = None
        self._baud = 0
        self._attributes: list[Any] = []
        self._usual = _Usual()
        self._asked = 0
        self._hurried = False

    async def places(self) -> Sequence[Place]:
        """The port.

        Raises:
            UpsError: it is not there.
        """
        if not await asyncio.to_thread(os.path.exists, self._path):
            raise self._translated(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        self._asked += 1  # nothing tells whether it is still the same cable
        return (Place(self._path, self._asked),)

    async def open(self, path: str, baud: int) -> None:
        """Take the port for us alone, raw, at this speed, with eight data bits, no parity and one stop bit."""
        await self.close()
        try:
            self._port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.flock(self._port, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._set_up(self._port, baud)
        except (OSError, termios.error) as error:
            await self.close()
            raise self._translated(error) from error
        self._baud = baud

    async def exchange(self, exchange: Exchange, quiet: Quiet | None = None) -> Reply:
        """Send the request, and collect its reply; again while all is quiet and nobody is in a hurry."""
        self._hurried = False
        reply = await self._exchange(exchange)
        while quiet and reply.data == quiet.reply and reply.at < quiet.until and not self._hurried:
            try:
                reply = await self._exchange(exchange)
            except UpsError:
                break
        return reply

    def hurry(self) -> None:
        """Repeat no question any more."""
        self._hurried = True

    def slow_down(self) -> None:
        """The port takes what it is given: there is nothing to slow down."""

    async def reset(self) -> None:
        """Let go of the port; there is no more to be done."""
        await self.close()

    async def close(self) -> None:
        """Give the port back; safe to call at any time."""
        self.shutdown()

    def shutdown(self) -> None:
        """Give the port back."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError):
                os.close(port)

    async def _exchange(self, exchange: Exchange) -> Reply:
        if self._port is None:
            raise UpsError(Fault.NOT_PRESENT, "no UPS is open")
        try:
            data = await self._converse(self._port, exchange)
        except (OSError, termios.error) as error:
            raise self._translated(error) from error
        return Reply(data, asyncio.get_running_loop().time())

    def _set_up(self, port: int, baud: int) -> None:
        self._attributes = termios.tcgetattr(port)
        self._attributes[_CC][termios.VTIME] = 0
        self._attributes[_CC][termios.VMIN] = 1
        raw = [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, _SPEEDS[baud], _SPEEDS[baud]]
        self._attributes[:_CC] = raw
        termios.tcsetattr(port, termios.TCSANOW, self._attributes)
        fcntl.ioctl(port, termios.TIOCEXCL)
        # Some of these UPSes are powered from the modem lines; a pseudo terminal has none.
        with contextlib.suppress(OSError):
            fcntl.ioctl(port, termios.TIOCMBIS, struct.pack("I", termios.TIOCM_DTR | termios.TIOCM_RTS))

    async def _converse(self, port: int, exchange: Exchange) -> bytes:
        loop = asyncio.get_running_loop()
        termios.tcflush(port, termios.TCIFLUSH)  # what is left of an exchange that went wrong
        os.write(port, exchange.request)
        asked_at = loop.time()
        begins_by = asked_at + line_s(len(exchange.request), self._baud) + exchange.begins_within_s
        collector, usual = exchange.collector(), self._usual
        if exchange.request == usual.request:
            await asyncio.sleep(usual.takes_s)
            reply = collector.feed(_read(port))
            if reply is not None:
                self._usual = _Usual(usual.request, max(0.0, usual.takes_s - _EARLIER_S))
                return reply
        while True:
            patient_until = loop.time() + _GAP_S if collector.started else begins_by
            missing = collector.missing
            data = await self._receive(port, missing, patient_until + line_s(missing, self._baud))
            reply = collector.feed(data)
            if reply is not None:
                self._usual = _Usual(exchange.request, loop.time() - asked_at)
                return reply
            if collector.started and not data:
                raise UpsError(Fault.TORN, "the UPS's reply broke off")
            if not collector.started and loop.time() >= begins_by:
                raise UpsError(Fault.NO_REPLY, "the UPS does not answer")

    async def _receive(self, port: int, count: int, until: float) -> bytes:
        """So many bytes, or fewer if no more have come until then (loop time)."""
        self._wake_for(port, count)
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(port, readable.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await readable.wait()
        finally:
            loop.remove_reader(port)
        return _read(port)

    def _wake_for(self, port: int, count: int) -> None:
        count = min(count, _LARGEST_VMIN)
        if self._attributes[_CC][termios.VMIN] != count:
            self._attributes[_CC][termios.VMIN] = count
            termios.tcsetattr(port, termios.TCSANOW, self._attributes)

    def _translated(self, error: OSError | termios.error) -> UpsError:
        number, text = error.args[:2]
        fault, advice = _FAULTS.get(number, (Fault.PORT, "the serial port {path} failed: " + str(text)))
        return UpsError(fault, advice.format(path=self._path))


def _read(port: int) -> bytes:
    """What is there by now."""
    try:
        data = os.read(port, _MOST_BYTES)
    except BlockingIOError:
        return b""
    if not data:
        raise OSError(errno.EIO, os.strerror(errno.EIO))  # hung up
    return data
