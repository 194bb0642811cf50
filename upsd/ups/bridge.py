"""The Cypress USB bridge: serial bytes in 8-byte reports. Pure.

Source: Linux `cypress_m8` and logs of real devices: byte 0 carries the count of valid bytes in its low three bits
and line states above; any split of 0 to 7 bytes occurs, and an idle bridge sends empty reports without end.
"""

from __future__ import annotations

import functools

from upsd.ups.errors import Fault, UpsError

VENDOR_ID = 0x04B4
PRODUCT_ID = 0x5500
INTERFACE = 0
ENDPOINT_IN = 0x81
ENDPOINT_OUT = 0x02
REPORT_SIZE = 8

PIECE = REPORT_SIZE - 1
"""The most serial bytes that one report carries."""

LINE_SETUP_REQUEST = (0x21, 0x09, 0x0300, INTERFACE)
"""SET_REPORT of feature report 0."""

_EIGHT_DATA_BITS_NO_PARITY_ONE_STOP_BIT = 3
_RTS_DTR = 0x30


def line_setup(baud: int) -> bytes:
    """The feature report that sets the serial line."""
    return baud.to_bytes(4, "little") + bytes((_EIGHT_DATA_BITS_NO_PARITY_ONE_STOP_BIT,))


@functools.lru_cache(maxsize=8)  # the same question is asked twice a second
def packetise(frame: bytes) -> tuple[bytes, ...]:
    """Cut a frame into OUT reports of up to 7 bytes, RTS and DTR asserted."""
    pieces = [frame[start : start + PIECE] for start in range(0, len(frame), PIECE)]
    return tuple(bytes((_RTS_DTR | len(piece),)) + piece.ljust(PIECE, b"0") for piece in pieces)


def payload(reports: bytes) -> bytes:
    """The serial bytes of one or more IN reports, 0 to 7 of each.

    The line-error bit is not looked at: the reply's own check judges the bytes.
    """
    received = b""
    for start in range(0, len(reports), REPORT_SIZE):
        report = reports[start : start + REPORT_SIZE]
        count = report[0] & 0x07
        if count > len(report) - 1:
            raise UpsError(Fault.BAD_PACKET, f"a USB report of {len(report)} bytes claims {count} of data")
        received += report[1 : 1 + count]
    return received


def idle_reports(reports: bytes) -> int:
    """How many of the last IN reports carry nothing: so much earlier had the line gone silent."""
    starts = range(0, len(reports), REPORT_SIZE)
    return next((count for count, start in enumerate(reversed(starts)) if reports[start] & 0x07), len(starts))
