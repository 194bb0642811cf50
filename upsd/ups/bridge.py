"""The Cypress USB bridge: serial bytes in 8-byte reports. Pure.

Source: Linux `cypress_m8` and logs of real devices: byte 0 carries the count of valid bytes in its low three bits
and line states above; any split of 0 to 7 bytes occurs, and an idle bridge sends empty reports without end.
"""

from __future__ import annotations

from upsd.ups.errors import Fault, UpsError

VENDOR_ID = 0x04B4
PRODUCT_ID = 0x5500
INTERFACE = 0
ENDPOINT_IN = 0x81
ENDPOINT_OUT = 0x02
REPORT_SIZE = 8

# SET_REPORT of feature report 0: 1200 baud little-endian, then 3 = 8 data bits, no parity, one stop bit.
LINE_SETUP_REQUEST = (0x21, 0x09, 0x0300, INTERFACE)
LINE_SETUP = bytes((0xB0, 0x04, 0x00, 0x00, 0x03))

_PIECE = REPORT_SIZE - 1
_RTS_DTR = 0x30


def packetise(frame: bytes) -> list[bytes]:
    """Cut a frame into OUT reports of up to 7 bytes, RTS and DTR asserted."""
    pieces = [frame[start : start + _PIECE] for start in range(0, len(frame), _PIECE)]
    return [bytes((_RTS_DTR | len(piece),)) + piece.ljust(_PIECE, b"0") for piece in pieces]


def payload(report: bytes) -> bytes:
    """The serial bytes of an IN report, 0 to 7 of them.

    The line-error bit is not looked at: the frame's integrity field judges the bytes.
    """
    count = report[0] & 0x07 if report else 0
    if count > len(report) - 1 and count:
        raise UpsError(Fault.BAD_PACKET, f"a USB report of {len(report)} bytes claims {count} of data")
    return report[1 : 1 + count]
