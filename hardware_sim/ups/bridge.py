"""The Cypress "USB to Serial" bridge of the UPS: 8-byte reports on one side, a serial line on the other.

An OUT report is a byte with the count of data bytes in its low three bits, and up to seven of them; an IN
report likewise, with the line's state (`F0`) in the other bits. An idle bridge gives empty reports, one at
each poll, so silence does not look like a timeout. Errors are `OSError` with the number that Linux gives.
"""

from __future__ import annotations

import errno
import math
import struct
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.descriptors import CONFIGURATION, IN_ENDPOINT, REPORT_LENGTH, descriptor
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.line import serial_line

if TYPE_CHECKING:
    import random

    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.line import SerialLine

POLL_INTERVAL_S: Final = 0.010
LINE_SETUP: Final = bytes.fromhex("B0 04 00 00 03")
"""1200 baud, 8 data bits, no parity, one stop bit: the only setting at which an iPlug is understood."""
FASTEST_BAUD: Final = 4800
"""8 bytes in 10 ms, which is all that the low-speed device can move, are little more."""

_ADDRESSES: Final = 127
_COUNT: Final = 0x07
_LINE_STATE: Final = 0xF0
_LINE_SETTING: Final = struct.Struct("<IB")
_EIGHT_DATA_BITS_NO_PARITY_ONE_STOP_BIT: Final = 0x03
_FEATURE_REPORT: Final = 0x0300
_ENDPOINT_HALT: Final = 0
_BABBLE_START: Final = bytes.fromhex("02 22 20 52 53 32 34")
_BABBLE_MORE: Final = b"0000000"
_BABBLE_REPORTS: Final = 64


class CypressBridge:
    """The bridge with the UPS behind it.

    It holds `out_buffer` bytes for the UPS and `in_buffer` bytes of it; what does not fit is lost. With `split` an IN
    report carries a random part of what is there, without it as much as fits.
    """

    def __init__(
        self,
        line: SerialLine,
        faults: Faults,
        *,
        poll_interval_s: float = POLL_INTERVAL_S,
        out_buffer: int = 16,
        in_buffer: int = 96,
        split: random.Random | None = None,
    ) -> None:
        self.faults = faults
        self._line = line
        self._poll_interval_s = poll_interval_s
        self._out_buffer = out_buffer
        self._in_buffer = in_buffer
        self._split = split
        self._received = bytearray()
        self._setting = bytes(_LINE_SETTING.size)
        self._line_is_set_up = False
        self._plug_count = faults.plug_count
        self._last_poll_at = -math.inf
        self._babbled = 0

    @property
    def address(self) -> int | None:
        """Its address on the bus, or `None` while the cable is out."""
        return None if self.faults.unplugged else (self.faults.plug_count - 1) % _ADDRESSES + 1

    def control(self, setup: tuple[int, int, int, int], data: bytes, now: float) -> bytes:
        """A control transfer: request type, request, value, index; for IN requests the bytes that it gives."""
        self._start_transfer(now)
        match setup:
            case (0x21, 0x09, value, 0) if value == _FEATURE_REPORT:
                self._set_line_up(data)
            case (0xA1, 0x01, value, 0) if value == _FEATURE_REPORT:
                return self._setting
            case (0x80 | 0x81, 0x06, value, _) if (described := descriptor(value >> 8, value & 0xFF)) is not None:
                return described
            case (0x80, 0x08, 0, 0):
                return bytes((CONFIGURATION.bConfigurationValue,))
            case (0x00, 0x09, value, 0) if value == CONFIGURATION.bConfigurationValue:
                # All that a device hears of a bus reset over USB/IP: the host chooses its configuration anew.
                self.reset(now)
            case (0x02, 0x01, value, endpoint) if value == _ENDPOINT_HALT:
                self.clear_halt(endpoint, now)
            case (0x80 | 0x81, 0x00, 0, _):
                return bytes(2)
            case (0x82, 0x00, 0, endpoint):
                return bytes((endpoint == IN_ENDPOINT and self.faults.stalled, 0))
            case _:
                raise OSError(errno.EPIPE, "the device knows no such request")
        return b""

    def write(self, report: bytes, now: float) -> None:
        """An OUT report; bytes that don't fit the bridge's small buffer are lost."""
        self._start_transfer(now)
        data = report[1 : 1 + (report[0] & _COUNT)] if report else b""
        if self._line_is_set_up:
            room = max(0, self._out_buffer - self._line.backlog(now))
            self._line.feed(data[:room], now)

    def wait_s(self, now: float) -> float:
        """How long until the next IN report; infinite while it hangs."""
        if self.faults.hung and self.address is not None:
            return math.inf
        return max(0.0, self._last_poll_at + self._poll_interval_s - now)

    def read(self, now: float) -> bytes:
        """The IN report of this poll."""
        self._start_transfer(now)
        if self.faults.stalled:
            raise OSError(errno.EPIPE, "the endpoint is halted")
        self._last_poll_at = now
        data = self._next_piece()
        return bytes((_LINE_STATE | len(data),)) + data.ljust(REPORT_LENGTH - 1, b"\0")

    def clear_halt(self, endpoint: int, now: float) -> None:
        """Let a halted endpoint work again."""
        self._start_transfer(now)
        if endpoint == IN_ENDPOINT:
            self.faults.stalled = False

    def reset(self, now: float) -> None:
        """A reset of the USB port: the line must be set up anew."""
        self._start_transfer(now)
        self.faults.stalled = False
        self._forget()

    def _start_transfer(self, now: float) -> None:
        if self.faults.unplugged:
            raise OSError(errno.ENODEV, "no such device (it may have been disconnected)")
        if self._plug_count != self.faults.plug_count:
            self._plug_count = self.faults.plug_count
            self._forget()
        arrived = self._line.available(now)
        if self._line_is_set_up and not self.faults.silent:
            room = self._in_buffer - len(self._received)
            self._received += arrived[:room]

    def _set_line_up(self, setting: bytes) -> None:
        if len(setting) != _LINE_SETTING.size:
            raise OSError(errno.EPIPE, "a line set-up has five bytes")
        baud, code = _LINE_SETTING.unpack(setting)
        if baud > FASTEST_BAUD:
            raise OSError(errno.EPIPE, f"{baud} baud are too much for a low-speed device")
        # Linux begins with a rate of 0, which changes nothing.
        if baud > 0:
            self._setting = setting
            self._line.set_host_baud(baud)
            self._line_is_set_up = code == _EIGHT_DATA_BITS_NO_PARITY_ONE_STOP_BIT

    def _forget(self) -> None:
        self._received.clear()
        self._setting = bytes(_LINE_SETTING.size)
        self._line_is_set_up = False

    def _next_piece(self) -> bytes:
        if self.faults.babble:
            return self._next_babble()
        self._babbled = 0
        if self.faults.silent:
            self._received.clear()
        most = min(REPORT_LENGTH - 1, len(self._received))
        length = self._split.randint(0, most) if self._split else most
        piece = bytes(self._received[:length])
        del self._received[:length]
        return piece

    def _next_babble(self) -> bytes:
        self._received.clear()
        begins = self._babbled % _BABBLE_REPORTS == 0
        self._babbled += 1
        return _BABBLE_START if begins else _BABBLE_MORE


def bridge_to(
    device: UpsDevice,
    *,
    faults: Faults | None = None,
    line_speed: float = 1.0,
    poll_interval_s: float = POLL_INTERVAL_S,
    out_buffer: int = 16,
    in_buffer: int = 96,
    split: random.Random | None = None,
) -> CypressBridge:
    """A bridge with everything between it and this UPS; `line_speed` 0 is a line without delay."""
    faults = faults or Faults()
    line = serial_line(device, faults, line_speed)
    return CypressBridge(
        line, faults, poll_interval_s=poll_interval_s, out_buffer=out_buffer, in_buffer=in_buffer, split=split
    )
