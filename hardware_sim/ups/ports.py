"""The USB port that the simulated UPS is plugged into: of this process, or of another one."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from hardware_sim.ups.transfers import ANSWER_HEADER, Ongoing, Transfer, time_left_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.ups.bridge import CypressBridge

# Transfers block real threads in real time, as those of libusb do; this is the one place that knows it.
_CLOCK: Final = time.monotonic  # noqa: TID251
_PAUSE: Final = time.sleep  # noqa: TID251
_ANSWER_GRACE_S: Final = 5.0


class Channel(Protocol):
    """A way to one device."""

    def transfer(self, transfer: Transfer) -> bytes:
        """Do a transfer and wait for it; `OSError` with the number that Linux gives."""

    def close(self) -> None:
        """Let go."""


class Port(Protocol):
    """A port with a device, or without."""

    def open(self) -> Channel:
        """A new way to whatever is plugged in; `OSError` if there is nothing at all behind the port."""


class LocalPort:
    """A bridge of this process. Hold `lock` to change the device while another thread does transfers."""

    def __init__(
        self,
        bridge: CypressBridge,
        *,
        clock: Callable[[], float] = _CLOCK,
        pause: Callable[[float], None] = _PAUSE,
    ) -> None:
        self.lock = threading.RLock()
        self._bridge = bridge
        self._clock = clock
        self._pause = pause

    def open(self) -> Channel:
        """The port is its own channel."""
        return self

    def close(self) -> None:
        """Nothing is held."""

    def transfer(self, transfer: Transfer) -> bytes:
        """Do it in this thread."""
        ongoing = Ongoing(self._bridge, transfer, self._clock())
        while True:
            with self.lock:
                wait_s = ongoing.proceed(self._clock())
            if wait_s is None:
                return ongoing.data
            self._pause(wait_s)


class SocketPort:
    """A bridge that an `UpsServer` of another process offers on a unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> Channel:
        """A connection of its own; no server is no device."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_ANSWER_GRACE_S)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise _no_device() from error
        return _SocketChannel(connection)


class _SocketChannel:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def close(self) -> None:
        self._connection.close()

    def transfer(self, transfer: Transfer) -> bytes:
        left = time_left_s(transfer, 0.0)
        try:
            self._connection.settimeout(None if transfer.timeout_ms == 0 else left + _ANSWER_GRACE_S)
            self._connection.sendall(transfer.encode())
            error, length = ANSWER_HEADER.unpack(self._receive(ANSWER_HEADER.size))
            data = self._receive(length)
        except OSError as lost:
            raise _no_device() from lost
        if error:
            raise OSError(error, os.strerror(error))
        return data

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            piece = self._connection.recv(length - len(received))
            if not piece:
                raise _no_device()
            received += piece
        return received


def _no_device() -> OSError:
    return OSError(errno.ENODEV, os.strerror(errno.ENODEV))
