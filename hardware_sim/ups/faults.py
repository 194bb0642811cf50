"""What can go wrong between the UPS and its reader: one knob for each, turned by tests."""

from __future__ import annotations

from dataclasses import dataclass

from hardware_sim.ups.frames import NakCode


@dataclass(slots=True)
class Faults:
    """Booleans hold until they are set back; counters are for so many of the next replies."""

    silent: bool = False
    """The UPS is not heard: the bridge gives empty reports for ever."""
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
    """Refused, with `nak_code`."""
    nak_code: NakCode = NakCode.NOT_POSSIBLE
    nonsense_statuses: int = 0
    """An RS reply, properly sealed, whose measurements can't be: 4094 V, charge 0."""
    false_off_statuses: int = 0
    """An RS reply that says that the output is off while it is on."""

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

    def take(self, counter: str) -> bool:
        """Whether this counter still has one to spend; spends it."""
        left: int = getattr(self, counter)
        setattr(self, counter, max(0, left - 1))
        return left > 0
