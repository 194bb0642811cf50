"""USB transfers as data: done on a bridge, or sent to the process that has it.

On the socket a transfer is a header (kind, address, timeout in ms, length) and its data, and the answer an
error number (0: done), a length and the data. A read asks for so many reports: as a host controller does, it collects
one at each poll of the endpoint, and ends early with what it has when its time is up.
"""

from __future__ import annotations

import enum
import errno
import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hardware_sim.ups.bridge import CypressBridge

REQUEST_HEADER: Final = struct.Struct("!BIIH")
ANSWER_HEADER: Final = struct.Struct("!HH")
_SETUP: Final = struct.Struct("<BBHH")
_REPORTS: Final = struct.Struct("!H")
_LONGEST_PAUSE_S: Final = 0.02


class TransferKind(enum.IntEnum):
    """What the host does."""

    ENUMERATE = 0
    CONTROL = 1
    READ = 2
    WRITE = 3
    CLEAR_HALT = 4
    RESET = 5


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer to the device that had this address when it was opened; timeout 0 is none."""

    kind: TransferKind
    address: int = 0
    timeout_ms: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the socket."""
        return REQUEST_HEADER.pack(self.kind, self.address, self.timeout_ms, len(self.data)) + self.data


def read_data(reports: int) -> bytes:
    """The data of a `READ` transfer: how many reports it asks for."""
    return _REPORTS.pack(reports)


def control_data(setup: tuple[int, int, int, int], data: bytes) -> bytes:
    """The data of a `CONTROL` transfer: request type, request, value and index, then what is sent."""
    return _SETUP.pack(*setup) + data


def encode_answer(error: int, data: bytes) -> bytes:
    """The answer as it goes over the socket."""
    return ANSWER_HEADER.pack(error, len(data)) + data


def time_left_s(transfer: Transfer, waited_s: float) -> float:
    """How much longer the transfer may wait."""
    return transfer.timeout_ms / 1000 - waited_s if transfer.timeout_ms else math.inf


class Ongoing:
    """A transfer that began at `now`; only reads take any time."""

    def __init__(self, bridge: CypressBridge, transfer: Transfer, now: float) -> None:
        self.data = b""
        self._bridge = bridge
        self._transfer = transfer
        self._began_at = now
        self._lacking = _REPORTS.unpack(transfer.data)[0] if transfer.kind is TransferKind.READ else 1

    def proceed(self, now: float) -> float | None:
        """Do what can be done; how long (s) to wait before the next look, `None` once `data` is all there is.

        The waits are short, so that pulling the plug ends the transfer.

        Raises:
            OSError: as `perform` does, and ETIMEDOUT when the time is up before there was any data.
        """
        while (wait_s := self._wait_s(now)) <= 0.0:
            self.data += perform(self._bridge, self._transfer, now)
            self._lacking -= 1
            if self._lacking <= 0:
                return None
        left_s = time_left_s(self._transfer, now - self._began_at)
        if left_s > 0.0:
            return min(wait_s, left_s, _LONGEST_PAUSE_S)
        if not self.data:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return None

    def _wait_s(self, now: float) -> float:
        waits = self._transfer.kind is TransferKind.READ and self._bridge.address is not None
        return self._bridge.wait_s(now) if waits else 0.0


def perform(bridge: CypressBridge, transfer: Transfer, now: float) -> bytes:
    """Do the transfer.

    Raises:
        OSError: with the number that Linux gives for it; a device that was pulled out and put back since
            it was opened is gone for good under its old address.
    """
    address = bridge.address
    if address is None or (transfer.kind is not TransferKind.ENUMERATE and transfer.address != address):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    match transfer.kind:
        case TransferKind.ENUMERATE:
            return bytes((address,))
        case TransferKind.CONTROL:
            return bridge.control(_SETUP.unpack_from(transfer.data), transfer.data[_SETUP.size :], now)
        case TransferKind.READ:
            return bridge.read(now)
        case TransferKind.WRITE:
            bridge.write(transfer.data, now)
        case TransferKind.CLEAR_HALT:
            bridge.clear_halt(transfer.data[0], now)
        case TransferKind.RESET:
            bridge.reset(now)
    return b""
