"""`python -m upsd.late VERB`: what `systemd/upsd-late` runs at the very end of a power-off, as root, without a daemon.

File systems are unmounted or read-only by now, and there is no network. Nothing here may keep the machine from going
off: it takes ten seconds at the most, and its exit code is always 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from upsd.late.hook import is_current, see_to_it, transport_to
from upsd.ups.cycle_order import FILE, read_order

VERBS: Final = frozenset({"poweroff", "halt"})
_DIRECTORY = Path("/run/upsd")
_CONSOLES = (Path("/dev/console"), Path("/dev/kmsg"))
_LIFETIME_S = 10


def main(verb: str, directory: Path = _DIRECTORY) -> None:
    """Do it, if there is anything to be done."""
    if verb not in VERBS:
        return
    order = read_order(directory / FILE)
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    if order is None or not is_current(order, now_s):
        return
    tell(asyncio.run(see_to_it(order, transport_to(order), now_s)))


def tell(text: str) -> None:
    """One line for whoever looks at the screen; where there is none, for the kernel's log."""
    for path in _CONSOLES:
        with contextlib.suppress(OSError):
            console = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(console, f"upsd: {text}\r\n".encode())
            return


if __name__ == "__main__":
    # By default the signal ends the process, whatever it hangs in.
    signal.alarm(_LIFETIME_S)
    try:
        main(sys.argv[1], *map(Path, sys.argv[2:3]))
    except Exception as error:  # noqa: BLE001 - the machine has to go off
        tell(f"the outlet cycle could not be looked after: {error!r}")
    # A thread that hangs on USB would be waited for.
    os._exit(0)
