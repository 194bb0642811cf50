"""The serial line between bridge and UPS: 1200 baud, half duplex. Pure: time is an argument."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.frames import FrameCollector

if TYPE_CHECKING:
    from collections.abc import Callable

BYTE_S: Final = 10 / 1200
"""One start bit, eight data bits and one stop bit at 1200 baud."""
_THINKING_S: Final = 0.02
"""How long the UPS takes to begin its reply."""


class SerialLine:
    """Carries bytes to `answer(frame, now)` and its replies back, as slowly as the real line.

    `speed` makes it that many times faster; 0 or infinity means at once.
    """

    def __init__(self, answer: Callable[[bytes, float], bytes], speed: float = 1.0) -> None:
        self._answer = answer
        self._pace = 0.0 if speed == 0 or math.isinf(speed) else 1.0 / speed
        self._collector = FrameCollector()
        self._to_ups: deque[tuple[float, int]] = deque()
        self._to_host: deque[tuple[float, int]] = deque()
        self._sending_until = -math.inf
        self._replying_until = -math.inf

    def feed(self, data: bytes, now: float) -> None:
        """Send bytes to the UPS."""
        for byte in data:
            self._sending_until = max(now, self._sending_until) + BYTE_S * self._pace
            self._to_ups.append((self._sending_until, byte))

    def backlog(self, now: float) -> int:
        """How many bytes still wait to be sent to the UPS."""
        self._carry(now)
        return len(self._to_ups)

    def available(self, now: float) -> bytes:
        """The bytes of the UPS that have arrived since the last call."""
        self._carry(now)
        arrived = bytearray()
        while self._to_host and self._to_host[0][0] <= now:
            arrived.append(self._to_host.popleft()[1])
        return bytes(arrived)

    def _carry(self, now: float) -> None:
        while self._to_ups and self._to_ups[0][0] <= now:
            at, byte = self._to_ups.popleft()
            if at < self._replying_until:
                continue  # half duplex: while it speaks, it does not listen
            frame = self._collector.feed(byte)
            if frame is not None:
                self._reply(self._answer(frame, at), at)

    def _reply(self, reply: bytes, at: float) -> None:
        begin = at + _THINKING_S * self._pace
        for index, byte in enumerate(reply, start=1):
            self._replying_until = begin + index * BYTE_S * self._pace
            self._to_host.append((self._replying_until, byte))
