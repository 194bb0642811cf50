"""GPSER frames from the UPS's side: cut them out of a byte stream, judge requests, build replies.

Source: Riello "GPSER" 1.04. A frame is STX, source, destination, two command letters, two length digits,
data, four check digits, ETX; a digit is one nibble written as the character 30 + nibble (hexadecimal).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

STX: Final = 0x02
ETX: Final = 0x03
NAK: Final = 0x15
UPS_ADDRESS: Final = 0x22
LONGEST_FRAME: Final = 12 + 255
_OVERHEAD: Final = 12
_DIGIT_ZERO: Final = 0x30

DATA_LENGTH: Final = {
    "GI": 0,
    "GN": 0,
    "RS": 0,
    "RE": 0,
    "RK": 0,
    "CS": 4,
    "CR": 8,
    "CD": 0,
    "TB": 3,
    "TP": 0,
}
"""The requests of the document, with the number of their data characters."""
THREE_PHASE_COMMANDS: Final = frozenset({"RE", "RK"})
"""Known only to units with three phases out."""
ONE_PHASE_COMMANDS: Final = frozenset(DATA_LENGTH) - THREE_PHASE_COMMANDS


class CheckMode(enum.Enum):
    """How all frames but GI are protected."""

    SUM = "sum"
    CRC = "crc"


class NakCode(enum.IntEnum):
    """Why a request is refused."""

    NO_REASON = 0
    UNKNOWN_COMMAND = 1
    UNKNOWN_SUBCOMMAND = 2
    WRONG_LENGTH = 3
    WRONG_CHECK = 4
    NOT_POSSIBLE = 5


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request; `sender` is the address to answer."""

    command: str
    data: bytes
    sender: int


class RefusedError(Exception):
    """A request that must be answered with a NAK."""

    def __init__(self, code: NakCode, command: str = "") -> None:
        super().__init__(f"{command or 'frame'} refused: {code.name}")
        self.code = code
        self.command = command


def digits(value: int | None, width: int) -> bytes:
    """A number in nibble coding; `None` (not available) is all `?`, and no reading is ever written so."""
    largest = 16**width - 1
    number = largest if value is None else max(0, min(value, largest - 1))
    return plain_digits(number, width)


def plain_digits(number: int, width: int) -> bytes:
    """A number in nibble coding, where all `?` is a number like any other (check fields, lengths)."""
    return bytes(_DIGIT_ZERO + (number >> 4 * place & 0xF) for place in reversed(range(width)))


def number_of(field: bytes) -> int | None:
    """The number in a nibble-coded field, or `None` if a character is no digit."""
    if any(character & 0xF0 != _DIGIT_ZERO for character in field):
        return None
    value = 0
    for character in field:
        value = value << 4 | character & 0xF
    return value


def crc(body: bytes) -> int:
    """The check word of CRC mode: x^16+x^12+x^5+1, preset 554D, least significant bit first."""
    register = 0x554D
    for byte in body:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return register


def check_digits(body: bytes, mode: CheckMode) -> bytes:
    """The four check digits of everything between STX and the check field."""
    return plain_digits(crc(body) if mode is CheckMode.CRC else sum(body) & 0xFFFF, 4)


def build_reply(command: str, data: bytes, mode: CheckMode, to: int) -> bytes:
    """The reply to a request; no data means a plain acknowledgement."""
    body = bytes((UPS_ADDRESS, to)) + command.encode("ascii") + plain_digits(len(data), 2) + data
    return _seal(body, CheckMode.SUM if command == "GI" else mode)


def build_nak(code: int, mode: CheckMode, to: int) -> bytes:
    """A refusal."""
    return _seal(bytes((UPS_ADDRESS, to, NAK, _DIGIT_ZERO + code)) + plain_digits(0, 2), mode)


def _seal(body: bytes, mode: CheckMode) -> bytes:
    return bytes((STX,)) + body + check_digits(body, mode) + bytes((ETX,))


def sender_of(frame: bytes) -> int | None:
    """Whom to answer, or `None` if the frame is too short for an address or meant for another unit."""
    if len(frame) < _OVERHEAD or frame[2] != UPS_ADDRESS:
        return None
    return frame[1]


def parse_request(frame: bytes, mode: CheckMode, known: AbstractSet[str] = ONE_PHASE_COMMANDS) -> Request:
    """Judge a frame that is addressed to this UPS, which knows these commands.

    Raises:
        RefusedError: with the code that a UPS answers. The check field comes first: when it is wrong,
            nothing else in the frame can be believed.
    """
    command = frame[3:5].decode("ascii", errors="replace")
    body, check = frame[1:-5], frame[-5:-1]
    if check_digits(body, CheckMode.SUM if command == "GI" else mode) != check:
        raise RefusedError(NakCode.WRONG_CHECK, command)
    if command not in known:
        known_letter = any(name[0] == command[0] for name in known)
        raise RefusedError(NakCode.UNKNOWN_SUBCOMMAND if known_letter else NakCode.UNKNOWN_COMMAND, command)
    data = frame[7:-5]
    if number_of(frame[5:7]) != len(data) or len(data) != DATA_LENGTH[command]:
        raise RefusedError(NakCode.WRONG_LENGTH, command)
    if number_of(data) is None:
        raise RefusedError(NakCode.NO_REASON, command)
    return Request(command, data, sender=frame[1])


class FrameCollector:
    """Cuts frames out of a byte stream; what stands before an STX is noise, and STX begins anew."""

    def __init__(self) -> None:
        self._collected = bytearray()

    def feed(self, byte: int) -> bytes | None:
        """Take the next byte; a frame, from STX to ETX, if this byte completes one."""
        if byte == STX:
            self._collected.clear()
        elif not self._collected:
            return None
        self._collected.append(byte)
        if byte == ETX:
            frame = bytes(self._collected)
            self._collected.clear()
            return frame
        if len(self._collected) >= LONGEST_FRAME:
            self._collected.clear()
        return None
