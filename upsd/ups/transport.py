"""A way to the UPS: what the driver needs of USB and of a serial port alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.ups.exchange import Exchange, Quiet, Reply


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is plugged in that may be a UPS.

    Attributes:
        path: names the place for a person and in the settings, such as `1-4.2` or `/dev/ttyUSB0`.
        plugged: another number whenever something is plugged in anew.
    """

    path: str
    plugged: int


class Transport(Protocol):
    """A way to the UPS. Every method that is awaited raises `UpsError`.

    `loses_sight` is whether another unit can be put in the place of one that has fallen silent, without being noticed.
    """

    loses_sight: bool

    async def places(self) -> Sequence[Place]:
        """Where something is that may be a UPS."""

    async def open(self, path: str, baud: int) -> None:
        """Take what is there and set its line to this speed; closes what was open."""

    async def exchange(self, exchange: Exchange, quiet: Quiet | None = None) -> Reply:
        """Send the request; the reply that came back, the last one if the question was repeated.

        A repetition that fails is no error yet: it ends the repeating, and what is wrong shows at the next exchange.
        """

    def hurry(self) -> None:
        """Repeat no question any more: somebody waits."""

    def slow_down(self) -> None:
        """A request reached the UPS damaged: send the next ones with more care."""

    async def reset(self) -> None:
        """Bring a device that hangs to its senses, if there is a way; it has to be opened again."""

    async def close(self) -> None:
        """Give the device back."""

    def shutdown(self) -> None:
        """Let go of everything; nothing can be asked after it."""
