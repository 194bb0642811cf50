"""What can go wrong between the UPS and its reader: one knob for each, turned by tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.ups.frames import NakCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.ups.reports import Status

UNTIL_SET_BACK: Final = -1
"""A counter of this value is never spent."""

NONSENSE: Final = MappingProxyType(
    {"input_voltage_v": 4094.0, "battery_voltage_v": 6553.4, "load_percent": 254.0, "charge_percent": 0.0}
)
"""Measurements that can't be, for `Faults.override`."""
FALSE_OFF: Final = MappingProxyType({"output_powered": False})
"""The output is said to be off while it is on."""


@dataclass(slots=True)
class Faults:
    """Booleans hold until they are set back; counters are for so many of the next replies, -1 until set back."""

    silent: bool = False
    """The UPS obeys but is not heard: the bridge gives empty reports for ever."""
    frozen: bool = False
    """The controller that talks has hung: nothing is heard, obeyed or answered. Power and timers go on."""
    hung: bool = False
    """The bridge answers no read at all: each one runs into its timeout."""
    babble: bool = False
    """A reply that begins well and never ends."""
    stalled: bool = False
    """The IN endpoint is halted (pipe error) until the host clears the halt or resets the device."""

    corrupt_replies: int = 0
    """One bit is flipped."""
    truncate_replies: int = 0
    """The second half is missing."""
    echo_replies: int = 0
    """The request comes back instead of a reply."""
    mismatch_replies: int = 0
    """A proper reply to another request."""
    nak_replies: int = 0
    """Refused, with `nak_code`; SENTR has no refusals."""
    nak_code: NakCode = NakCode.NOT_POSSIBLE
    override_statuses: int = 0
    """An RS reply or a present record, properly sealed, in which `status_overrides` stand for what is measured."""
    status_overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of `Status` and their values; a figure of `None` is "not available" in GPSER and 0 in SENTR."""

    plug_count: int = 1
    """How many times the cable has been plugged in."""
    _unplugged: bool = False

    @property
    def unplugged(self) -> bool:
        """Whether the USB cable is out; each time it is put back the device has a new address."""
        return self._unplugged

    @unplugged.setter
    def unplugged(self, out: bool) -> None:
        if self._unplugged and not out:
            self.plug_count += 1
        self._unplugged = out

    def override(self, figures: Mapping[str, Any], replies: int = 1) -> None:
        """Let the next status replies say this."""
        self.status_overrides, self.override_statuses = dict(figures), replies

    def take(self, counter: str) -> bool:
        """Whether this counter still has one to spend; spends it."""
        left: int = getattr(self, counter)
        setattr(self, counter, left - 1 if left > 0 else left)
        return left != 0

    def misreport(self, status: Status) -> Status:
        """What is said in place of this."""
        return replace(status, **self.status_overrides) if self.take("override_statuses") else status

    def spoil(self, request: bytes, reply: bytes) -> bytes:
        """What becomes of a reply on its way."""
        middle = len(reply) // 2
        if self.silent or not reply:
            return b""
        if self.take("echo_replies"):
            return request
        if self.take("corrupt_replies"):
            return reply[:middle] + bytes((reply[middle] ^ 0x01,)) + reply[middle + 1 :]
        if self.take("truncate_replies"):
            return reply[:middle]
        return reply
