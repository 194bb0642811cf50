"""The one error of this room: what went wrong between us and the UPS, with a name."""

from __future__ import annotations

import enum


class Fault(enum.StrEnum):
    """Why an exchange with the UPS gave no value."""

    NOT_PRESENT = "not-present"
    """No such device, or it went away."""
    ACCESS_DENIED = "access-denied"
    BUSY = "busy"
    """Another program holds the USB interface, or the serial port."""
    STALLED = "stalled"
    """The USB endpoint stalled."""
    HUNG = "hung"
    """The USB layer itself did not return in time."""
    PORT = "port"
    """Any other error of the USB or serial port."""
    NO_REPLY = "no-reply"
    TORN = "torn"
    """The reply began and did not end in time."""
    OVERSIZED = "oversized"
    BAD_PACKET = "bad-packet"
    """A USB report claims more bytes than it has."""
    MALFORMED = "malformed"
    """The bytes between STX and ETX are no frame."""
    ECHO = "echo"
    """Our own request came back."""
    BAD_INTEGRITY = "bad-integrity"
    WRONG_COMMAND = "wrong-command"
    """The reply answers another command."""
    WRONG_LENGTH = "wrong-length"
    NOT_A_NUMBER = "not-a-number"
    """A character outside 0x30 to 0x3F in a numeric field."""
    REFUSED = "refused"
    """The UPS said NAK."""
    MISHEARD = "misheard"
    """The UPS said NAK because our request reached it damaged."""
    NOT_POSSIBLE = "not-possible"
    """This kind of UPS has no such command, or not in its present state."""
    ANOTHER_UNIT = "another-unit"
    """A UPS answers, but not the one that was asked for."""


_CLOSES_DEVICE = frozenset({Fault.NOT_PRESENT, Fault.ACCESS_DENIED, Fault.BUSY, Fault.HUNG, Fault.PORT})


class UpsError(Exception):
    """An exchange that gave no value; `fault` names why, the text is for a person."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault

    @property
    def closes_device(self) -> bool:
        """Whether the device must be opened anew before the next exchange."""
        return self.fault in _CLOSES_DEVICE
