"""The serial line to the UPS: half duplex, at the unit's own speed. Pure: time is an argument."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from hardware_sim.ups.responder import Responder
from hardware_sim.ups.sentr_responder import SentrResponder

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.faults import Faults

_BITS: Final = 10
"""One start bit, eight data bits and one stop bit."""


def byte_s(baud: int) -> float:
    """How long one byte takes."""
    return _BITS / baud


class Unit(Protocol):
    """Whoever sits at the other end."""

    def hear(self, byte: int, now: float) -> bytes:
        """Take a byte; what is answered to that which it completes, empty otherwise."""


class SerialLine:
    """Carries bytes to a unit and its replies back, as slowly as the real line.

    `speed` makes it that many times faster; 0 or infinity means at once. While the host's baud rate is not the
    unit's, either hears only noise, and that is lost.
    """

    def __init__(self, unit: Unit, *, baud: int = 1200, thinking_s: float = 0.02, speed: float = 1.0) -> None:
        self._unit = unit
        self._baud = self._host_baud = baud
        self._pace = 0.0 if speed == 0 or math.isinf(speed) else 1.0 / speed
        self._thinking_s = thinking_s
        self._to_ups: deque[tuple[float, int | None]] = deque()
        self._to_host: deque[tuple[float, int]] = deque()
        self._sending_until = -math.inf
        self._replying_until = -math.inf

    @property
    def baud(self) -> int:
        """The unit's speed."""
        return self._baud

    def set_host_baud(self, baud: int) -> None:
        """The speed at which the host sends and listens from now on; at first it is the unit's."""
        self._host_baud = baud

    def feed(self, data: bytes, now: float) -> None:
        """Send bytes to the UPS."""
        understood = self._host_baud == self._baud
        for byte in data:
            self._sending_until = max(now, self._sending_until) + byte_s(self._host_baud) * self._pace
            self._to_ups.append((self._sending_until, byte if understood else None))

    def backlog(self, now: float) -> int:
        """How many bytes still wait to be sent to the UPS."""
        self._carry(now)
        return len(self._to_ups)

    def next_due(self) -> float | None:
        """When the next byte arrives, at either end; `None` while none is on its way."""
        ends = (way[0][0] for way in (self._to_ups, self._to_host) if way)
        return min(ends, default=None)

    def available(self, now: float) -> bytes:
        """The bytes of the UPS that have arrived since the last call."""
        self._carry(now)
        arrived = bytearray()
        while self._to_host and self._to_host[0][0] <= now:
            arrived.append(self._to_host.popleft()[1])
        return bytes(arrived) if self._host_baud == self._baud else b""

    def _carry(self, now: float) -> None:
        while self._to_ups and self._to_ups[0][0] <= now:
            at, byte = self._to_ups.popleft()
            if byte is None or at < self._replying_until:
                continue  # half duplex: while it speaks, it does not listen
            reply = self._unit.hear(byte, at)
            if reply:
                self._reply(reply, at)

    def _reply(self, reply: bytes, at: float) -> None:
        begin = at + self._thinking_s * self._pace
        for index, byte in enumerate(reply, start=1):
            self._replying_until = begin + index * byte_s(self._baud) * self._pace
            self._to_host.append((self._replying_until, byte))


def serial_line(device: UpsDevice, faults: Faults | None = None, speed: float = 1.0) -> SerialLine:
    """The line to this UPS, which speaks what its profile says."""
    profile = device.profile
    unit: Unit = Responder(device, faults) if profile.sentr is None else SentrResponder(device, faults)
    return SerialLine(unit, baud=profile.baud, thinking_s=profile.thinking_s, speed=speed)
