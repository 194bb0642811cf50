"""GPSER frames: how a request is put into bytes, and how a reply is proven to be the answer to it.

Source: Riello "GPSER" 1.04, pages 2 and 13 (frame, coding, integrity); the bit order of the CRC from the
catalogue entry CRC-16/RIELLO. All functions are pure.
"""

from __future__ import annotations

import enum

from upsd.ups.errors import Fault, UpsError

STX = 0x02
ETX = 0x03
NAK = 0x15
HOST = 0x20
UPS = 0x22

OVERHEAD = 12
LONGEST_FRAME = OVERHEAD + 0xFF
_HEADER = 7

NAK_REASONS = {
    "0": "no reason given",
    "1": "main command unknown",
    "2": "sub-command unknown",
    "3": "wrong data length",
    "4": "wrong integrity field",
    "5": "not possible at this moment",
    "6": "security PIN not accepted",
}
_NAK_MISHEARD = {"3", "4"}


class Check(enum.Enum):
    """How frames are protected; GI, request and reply, always uses the sum."""

    SUM = "0"
    CRC = "1"


def encode_number(value: int, digits: int) -> bytes:
    """Nibble-code an unsigned number: one character 0x30 to 0x3F per four bits, high first."""
    if not 0 <= value < 16**digits:
        raise ValueError(f"{value} does not fit {digits} nibbles")
    return bytes(0x30 | (value >> 4 * place) & 0x0F for place in reversed(range(digits)))


def decode_nibbles(field: bytes) -> int:
    """The bits in a nibble-coded field, high first.

    Raises:
        UpsError: a character is outside 0x30 to 0x3F.
    """
    bits = 0
    for character in field:
        if character & 0xF0 != 0x30:
            raise UpsError(Fault.NOT_A_NUMBER, f"the UPS sent {field!r} where a number belongs")
        bits = bits << 4 | character & 0x0F
    return bits


def decode_number(field: bytes) -> int | None:
    """The number in a nibble-coded field; `None` when it is all `?`, which means "not available"."""
    number = decode_nibbles(field)
    return None if number == 16 ** len(field) - 1 else number


def integrity(body: bytes, check: Check) -> int:
    """The 16-bit integrity value of everything from the source address to the last data character."""
    if check is Check.SUM:
        return sum(body) & 0xFFFF
    crc = 0x554D
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return crc


def encode_request(command: str, data: bytes, check: Check) -> bytes:
    """A whole request frame, STX to ETX."""
    body = bytes((HOST, UPS)) + command.encode("ascii") + encode_number(len(data), 2) + data
    return bytes((STX,)) + body + encode_number(integrity(body, check), 4) + bytes((ETX,))


def open_reply(frame: bytes, command: str, check: Check) -> bytes:
    """The data characters of a reply that is proven to answer `command`.

    Raises:
        UpsError: the frame is not whole, not ours, not intact, a refusal, or answers something else.
    """
    if not OVERHEAD <= len(frame) <= LONGEST_FRAME or frame[0] != STX or frame[-1] != ETX:
        raise UpsError(Fault.MALFORMED, f"{len(frame)} bytes from the UPS are no GPSER frame")
    body, sent = frame[1:-5], frame[-5:-1]
    if body[4:6] != encode_number(len(body) - 6, 2):
        raise UpsError(Fault.WRONG_LENGTH, "the reply's length field does not fit its length")
    if sent != encode_number(integrity(body, check), 4):
        raise UpsError(Fault.BAD_INTEGRITY, f"the answer to {command} was damaged on the line; check the cable")
    if body[:2] == bytes((HOST, UPS)):
        raise UpsError(Fault.ECHO, f"our own {command} request came back; is the cable looped?")
    if body[:2] != bytes((UPS, HOST)):
        raise UpsError(Fault.MALFORMED, "the reply carries somebody else's addresses")
    if body[2] == NAK:
        code = chr(body[3])
        fault = Fault.MISHEARD if code in _NAK_MISHEARD else Fault.REFUSED
        raise UpsError(fault, f"the UPS refused {command}: {NAK_REASONS.get(code, code)}")
    if body[2:4] != command.encode("ascii"):
        raise UpsError(Fault.WRONG_COMMAND, f"asked {command}, got the answer to {body[2:4]!r}")
    return body[6:]


class FrameAssembler:
    """Collects bytes until one frame, STX to ETX, is whole.

    Neither STX nor ETX occurs inside a frame, so a second STX means that the first frame was torn.
    """

    __slots__ = ("_frame", "_length")

    def __init__(self) -> None:
        self._frame = bytearray()
        self._length = 0

    @property
    def started(self) -> bool:
        """Whether a frame has begun."""
        return bool(self._frame)

    @property
    def missing(self) -> int:
        """How many bytes the frame lacks, by its length field once that is there."""
        return max(1, (self._length or OVERHEAD) - len(self._frame))

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; the frame once it is whole. What follows it in `data` is stale and dropped."""
        frame = self._frame
        for byte in data:
            if byte == STX:
                frame.clear()
                self._length = 0
            elif not frame:
                continue
            frame.append(byte)
            if byte == ETX:
                return bytes(frame)
            if len(frame) == _HEADER:
                self._length = OVERHEAD + ((frame[5] & 0x0F) << 4 | frame[6] & 0x0F)
            elif len(frame) == self._length:
                raise UpsError(Fault.OVERSIZED, "the UPS sends without end; its frame is longer than it says")
        return None
