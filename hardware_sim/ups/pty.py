"""The UPS on a serial port: a pseudo terminal that a program written for real ones can open.

The program sets the speed with termios, as on a real port; at another than the UPS's it hears nothing. Nothing here
lets time pass for the UPS, and whether its cable is in is looked at whenever that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.faults import Faults
from hardware_sim.ups.line import serial_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.line import SerialLine

_READ_SIZE: Final = 256
_OUTPUT_SPEED: Final = 5
_NO_SPEED_OF_A_UPS: Final = 38400
_SPEEDS: Final = {getattr(termios, f"B{baud}"): baud for baud in (300, 600, 1200, 2400, 4800, 9600, 19200)}


@contextlib.asynccontextmanager
async def serial_port(
    device: UpsDevice, faults: Faults | None = None, speed: float = 1.0, *, link: Path | None = None
) -> AsyncIterator[str]:
    """The path of a port with this UPS behind its line, while the block lasts.

    With `faults.unplugged` the line hangs up, and when the cable is put back there is another port. `link` is a
    symbolic link that always leads to the present one; it is then the path. Should somebody take that name while the
    cable is out, then the port is back when the name is free. `speed` is that of the line, by the real one.

    Raises:
        FileExistsError: there is something at `link` that is no symbolic link, or one that leads somewhere.
    """
    faults = faults or Faults()
    if link is not None:
        _refuse_if_taken(link)
    port = _SerialPort(serial_line(device, faults, speed), faults, link)
    try:
        port.look_at_the_cable()
        device.watch(port.look_at_the_cable)
        yield str(link or port.path)
    finally:
        port.close()


class _SerialPort:
    def __init__(self, line: SerialLine, faults: Faults, link: Path | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self._faults = faults
        self._link = link
        self._plugged_in = 0
        """The plug count of the open port, 0 without one."""
        self._ours = self._theirs = -1
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def path(self) -> str:
        """Of the present port."""
        return os.ttyname(self._theirs)

    def look_at_the_cable(self) -> None:
        """Hang up if it is out, and begin anew when it is back."""
        plugged_in = 0 if self._faults.unplugged else self._faults.plug_count
        if self._closed or plugged_in == self._plugged_in:
            return
        self._hang_up()
        if plugged_in:
            try:
                self._open()
            except FileExistsError:
                return  # It looks again whenever time passes.
        self._plugged_in = plugged_in

    def close(self) -> None:
        """Hang up for good."""
        self._closed = True
        self._hang_up()

    def _open(self) -> None:
        if self._link is not None:
            # Before there is a terminal, as it may be just the one to which a link leads that was left behind.
            _refuse_if_taken(self._link)
            self._link.unlink(missing_ok=True)
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self._line.available(self._loop.time())
        self._loop.add_reader(self._ours, self._hear)
        if self._link is not None:
            self._link.symlink_to(self.path)

    def _hang_up(self) -> None:
        if self._ours < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._ours)
        # It may lead to somebody else's port by now.
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = self._theirs = -1

    def _hear(self) -> None:
        self._follow_speed()
        self._line.feed(os.read(self._ours, _READ_SIZE), self._loop.time())
        self._wait_for_next()

    def _speak(self, due_at: float) -> None:
        self._follow_speed()
        arrived = self._line.available(max(due_at, self._loop.time()))
        # As on a real port, what nobody reads is lost.
        with contextlib.suppress(BlockingIOError):
            os.write(self._ours, arrived)
        self._wait_for_next()

    def _wait_for_next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due_at = self._line.next_due()
        self._timer = None if due_at is None else self._loop.call_at(due_at, self._speak, due_at)

    def _follow_speed(self) -> None:
        speed = termios.tcgetattr(self._theirs)[_OUTPUT_SPEED]
        self._line.set_host_baud(_SPEEDS.get(speed, _NO_SPEED_OF_A_UPS))


def _refuse_if_taken(link: Path) -> None:
    """A link that leads nowhere was left behind by a run that was killed; whatever else is there is somebody's."""
    if not link.is_symlink():
        if link.exists():
            raise FileExistsError(f"{link} is something else than a link to a serial port; name another path")
        return
    if link.exists():
        target = link.readlink()
        raise FileExistsError(
            f"{link} leads to {target}, where another simulator may be; end that, or name another path, "
            "or remove the link if it was left behind"
        )
