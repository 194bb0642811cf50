"""The machine that we run on: the last one to go off."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.rack.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 30.0
_CHECK_S = 5.0
_LOGIN1 = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_RIGHTS = (
    "if it lacks the right, install the polkit rule that allows the daemon's user org.freedesktop.login1.power-off,"
    " power-off-multiple-sessions and power-off-ignore-inhibit"
)


class ThisHost:
    """Powers this machine off with a command; fits `upsd.domain.rack.LocalHost`."""

    def __init__(self, poweroff_command: Sequence[str], timeout_s: float = _TIMEOUT_S) -> None:
        """Take the command, and the seconds that it gets to begin the power-off."""
        self._poweroff_command = tuple(poweroff_command)
        self._timeout_s = timeout_s

    async def poweroff(self) -> None:
        """Begin an orderly power-off; returns once the command has ended.

        Raises:
            RackError: It failed or hung; the machine stays on.
        """
        try:
            await run_command(self._poweroff_command, timeout_s=self._timeout_s)
        except RackError as error:
            raise RackError(f"this machine did not begin to power off: {error}; {_RIGHTS}") from error

    async def check_poweroff(self) -> str:
        """Ask logind whether it would power off for us, or look for the program where it is another one.

        Raises:
            RackError: It would not, or that can't be told.
        """
        program, *arguments = self._poweroff_command
        if (program.rpartition("/")[2], arguments[:1]) == ("systemctl", ["poweroff"]):
            answer = await run_command(["busctl", "call", *_LOGIN1, "CanPowerOff"], timeout_s=_CHECK_S)
            if answer.strip() != 's "yes"':
                raise RackError(f"logind answers {answer.strip()} to CanPowerOff: {_RIGHTS}")
            return "logind would power this machine off"
        if shutil.which(program) is None:
            raise RackError(f"there is no program {program} on this machine: see master.poweroff_command")
        return f"{program} is there; whether it may power this machine off can't be told without doing it"
