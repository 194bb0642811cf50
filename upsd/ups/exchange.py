"""One question and its answer, whatever the protocol and the wire. Pure.

A dialect (GPSER, SENTR) makes an `Exchange`; a transport (USB, serial) carries it out; neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BITS_PER_BYTE = 10  # a start bit, eight data bits, a stop bit

USUALLY_BEGINS_WITHIN_S = 0.5
"""More than twice what the slowest unit takes of which a log is known: a Net Power 1500, in NUT's issue 1692."""


class Collector(Protocol):
    """Gathers the bytes of one reply."""

    @property
    def started(self) -> bool:
        """Whether the reply has begun."""

    @property
    def missing(self) -> int:
        """How many bytes the reply lacks at the least; more than none while it is not whole."""

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; the reply once it is whole. Raises `UpsError` for what can't become one."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and what its reply must be.

    Attributes:
        request: the bytes to send.
        collector: makes what gathers its reply.
        proven: the data of a whole reply; raises `UpsError` unless it is the answer to this request.
        begins_within_s: how long the UPS may think before it replies.
    """

    request: bytes
    collector: Callable[[], Collector]
    proven: Callable[[bytes], bytes]
    begins_within_s: float = USUALLY_BEGINS_WITHIN_S


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, not proven yet, and when it came (the event loop's time)."""

    data: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """While a question is answered with just this reply, ask it again and again, until then (the event loop's time)."""

    reply: bytes
    until: float


Ask: TypeAlias = "Callable[[Exchange], Awaitable[bytes]]"
"""Carries an exchange out and gives the proven data of its reply; raises `UpsError`."""


def line_s(count: int, baud: int) -> float:
    """How long so many bytes take on a serial line, in seconds."""
    return count * _BITS_PER_BYTE / baud
