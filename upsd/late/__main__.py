"""`python -m upsd.late VERB [DIRECTORY CONSOLE...]`: what `systemd/upsd-late` runs at the very end of a power-off.

It is root then, and without a daemon; file systems are unmounted or read-only, and there is no network. Nothing here
may keep the machine from going off: it takes ten seconds at the most, and its exit code is 0, or that of the alarm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from upsd.late.hook import is_current, see_to_it, transport_to
from upsd.ups.cycle_order import FILE, read_order

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS: Final = frozenset({"poweroff", "halt"})
_PLACES = ("/run/upsd", "/dev/console", "/dev/kmsg")
_LIFETIME_S = 10


def main(verb: str, directory: Path, consoles: Sequence[Path]) -> None:
    """Do it, if there is anything to be done, and tell what came of it."""
    if verb not in VERBS:
        return
    try:
        order = read_order(directory / FILE)
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if order is None or not is_current(order, now_s):
            return
        told = asyncio.run(see_to_it(order, transport_to(order), now_s))
    except Exception as error:  # noqa: BLE001 - the machine has to go off
        told = f"the outlet cycle could not be looked after: {error!r}"
    tell(told, consoles)


def tell(text: str, consoles: Sequence[Path]) -> None:
    """One line for whoever looks at the screen; where there is none, for the kernel's log."""
    for path in consoles:
        with contextlib.suppress(OSError):
            console = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(console, f"upsd: {text}\r\n".encode())
            return


if __name__ == "__main__":
    # By default the signal ends the process, whatever it hangs in.
    signal.alarm(_LIFETIME_S)
    verb, *places = sys.argv[1:]
    directory, *consoles = map(Path, places or _PLACES)
    main(verb, directory, consoles)
    # A thread that hangs on USB would be waited for.
    os._exit(0)
