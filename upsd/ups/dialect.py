"""What the driver asks of a UPS, whichever protocol it speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Reading, Scalar, UpsIdentity
    from upsd.ups.exchange import Ask


class Dialect(Protocol):
    """One protocol, spoken to one UPS. Every method raises `UpsError`."""

    name: str
    cycles: bool
    """Whether it can be told to cycle its outlets."""

    async def identify(self, ask: Ask) -> UpsIdentity:
        """Who answers; what does not answer so is no UPS of this kind."""

    async def read(self, ask: Ask, clock: Callable[[], float]) -> Reading:
        """How it is now, by loop time."""

    async def details(self, ask: Ask) -> Mapping[str, Scalar]:
        """What else it says of itself, for a person who asks: NUT's names where NUT has one."""

    async def test_battery(self, ask: Ask) -> None:
        """Start a short battery test."""

    async def test_panel(self, ask: Ask) -> None:
        """Start a test of its lamps."""

    async def switch_off(self, ask: Ask, off_after_s: int) -> None:
        """Switch the outlets off after the delay (s)."""

    async def cycle(self, ask: Ask, off_after_s: int, restore_after_min: int) -> None:
        """Switch the outlets off after the delay (s), and on again that many minutes later."""

    async def cancel(self, ask: Ask) -> None:
        """Call off a switch-off that waits, or a restore that waits (then the outlets stay off)."""
