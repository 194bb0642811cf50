"""What a Sentry answers to each byte: polls, keys of its panel typed from afar, and the commands that NUT sends.

Polls, text mode and the shutdown keys are as the document has them (SENTR pages 2 and 6). It says that a shutdown can
be stopped, not how; the five-byte commands are not in it at all, but NUT's driver sends them to real machines.
"""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING, Final

from hardware_sim.ups import sentr
from hardware_sim.ups.device import NotPossibleError
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.profiles import SentrSettings
from hardware_sim.ups.sentr_memory import EventMemory

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.sentr import Moment

SHUTDOWN_KEYS: Final = b"3747263"
SHUTDOWN_DELAY_S: Final = 600.0

_SILENCE: Final = b""
_POLLS: Final = (sentr.PRESENT, sentr.PREVIOUS_EVENT, sentr.PAST_EVENT)
_TEXT_NINE: Final = ord("9")
_TEXT_COLON: Final = ord(":")
_FIRST_IDENT: Final = ord("0")
_PANEL_KEYS: Final = b"12345678"
_OPENING_S: Final = (0.5, 2.0)
_BETWEEN_KEYS_S: Final = (0.6, 1.8)

_COMMAND: Final = 176
_COMMAND_BYTES: Final = 5
_TORN_AFTER_S: Final = 0.5


class _Command(enum.IntEnum):
    REBOOT = 1
    SET_REBOOT_DELAY = 2
    TEST_BATTERY = 4
    CANCEL = 5
    SHUTDOWN = 6


class _Opened(enum.Enum):
    BY_POLL = "by a poll"
    BY_TEXT = "by the text sequence"


class SentrResponder:
    """Answers bytes of the line, through the faults that tests have set."""

    def __init__(self, device: UpsDevice, faults: Faults | None = None) -> None:
        self.device = device
        self.faults = faults or Faults()
        self._sentr = device.profile.sentr or SentrSettings()
        self._memory = EventMemory(device)
        self._opened: _Opened | None = None
        self._nine_at: float | None = None
        self._menu = 0
        self._typed = b""
        self._typed_at = 0.0
        self._command = b""
        self._heard_at = 0.0
        self._reboot_delay_s = 0

    def hear(self, byte: int, now: float) -> bytes:
        """What is answered to this byte; empty where the machine keeps silent."""
        self.device.advance(now)
        if self.faults.frozen or not self.device.awake:
            return _SILENCE
        if now - self._heard_at > _TORN_AFTER_S:
            self._command = b""
        self._heard_at = now
        return self.faults.spoil(bytes((byte,)), self._answer(byte, now))

    def _answer(self, byte: int, now: float) -> bytes:
        if self._command or byte == _COMMAND:
            return self._collect(byte)
        if byte - self._sentr.ident in _POLLS:
            self._opened, self._typed = _Opened.BY_POLL, b""
            return self._record(byte - self._sentr.ident)
        if self._opened is None:
            self._open(byte, now)
            return _SILENCE
        if byte == _TEXT_COLON:
            return sentr.text_colon(self._present(), self.device.profile)
        if byte == _TEXT_NINE:
            return self._text_nine()
        if byte in _PANEL_KEYS:
            self._press(byte, now)
            return self._text_nine()
        self._opened = None
        return _SILENCE

    def _record(self, poll: int) -> bytes:
        if self.faults.take("mismatch_replies"):
            poll = _POLLS[_POLLS.index(poll) - 1]
        match poll:
            case sentr.PRESENT:
                moment = self._memory.present(self.faults.misreport(self.device.status()))
            case sentr.PREVIOUS_EVENT:
                moment = self._memory.previous()
            case _:
                moment = self._memory.past()
        profile, counters = self.device.profile, self.device.counters
        return sentr.record(poll + self._sentr.ident, moment, profile, self._sentr, counters, self._menu)

    def _present(self) -> Moment:
        return self._memory.present(self.device.status())

    def _text_nine(self) -> bytes:
        return sentr.text_nine(self._present(), self.device.profile)

    def _open(self, byte: int, now: float) -> None:
        """Take "9", and some time after it the digit of the IDENT."""
        if byte == _TEXT_NINE:
            self._nine_at = now
        elif self._nine_at is not None:
            earliest_s, latest_s = _OPENING_S
            if byte == _FIRST_IDENT + self._sentr.ident and earliest_s <= now - self._nine_at <= latest_s:
                self._opened = _Opened.BY_TEXT
            self._nine_at = None

    def _press(self, key: int, now: float) -> None:
        """A key of the panel; seven certain ones at the right pace switch the machine off later."""
        self._menu = key - _FIRST_IDENT
        earliest_s, latest_s = _BETWEEN_KEYS_S
        in_pace = earliest_s <= now - self._typed_at <= latest_s
        typed = (self._typed if in_pace else b"") + bytes((key,))
        self._typed = typed if SHUTDOWN_KEYS.startswith(typed) else typed[-1:]
        self._typed_at = now
        if self._typed == SHUTDOWN_KEYS and self._opened is _Opened.BY_POLL:
            with contextlib.suppress(NotPossibleError):
                self.device.trip(SHUTDOWN_DELAY_S)

    def _collect(self, byte: int) -> bytes:
        """Take a byte of a command; those that are unknown or damaged are not answered."""
        self._command += bytes((byte,))
        if len(self._command) < _COMMAND_BYTES:
            return _SILENCE
        command, self._command = self._command, b""
        if sum(command[:-1]) % 256 != command[-1]:
            return _SILENCE
        with contextlib.suppress(NotPossibleError):
            if not self._obey(command[1], int.from_bytes(command[2:4], "little")):
                return _SILENCE
        return self._record(sentr.PRESENT)

    def _obey(self, code: int, delay_s: int) -> bool:
        """Do a command; whether it is known. That delays are in seconds is what NUT calls them."""
        match code:
            case _Command.REBOOT:
                self.device.shutdown_and_restore(delay_s, self._reboot_delay_s / 60.0)
            case _Command.SET_REBOOT_DELAY:
                self._reboot_delay_s = delay_s
            case _Command.TEST_BATTERY:
                self.device.test_battery()
            case _Command.CANCEL:
                self.device.cancel_shutdown()
            case _Command.SHUTDOWN:
                self.device.shutdown(delay_s)
            case _:
                return False
        return True
