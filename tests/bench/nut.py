"""The peer: NUT's driver for the same UPS, its server and its monitor, with their defaults or as fast as they can.

Everything runs out of a folder of its own. Only `upsmon` insists on one file outside it, its process id, for which
there can be no other `upsmon` on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.outage import Watcher
from tests.integration.brokers import until
from tests.nut import PASSWORD, USER, program, running_nut
from tests.programs import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.nut import Nut

_PID_FILE = Path("/run/nut/upsmon.pid")
_START_S = 60.0  # the driver tries 9600 baud first, and gives each of three attempts five seconds
_LOOK_AGAIN_S = 0.2
_UPS = "ups"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often NUT looks: more lines for ups.conf and for upsmon.conf."""

    driver: tuple[str, ...] = ()
    monitor: str = ""


DEFAULT = Pace()
TUNED = Pace(("pollinterval = 1",), "POLLFREQ 1\nPOLLFREQALERT 1\n")
"""The shortest pauses that either takes; both count in whole seconds."""


@dataclass(frozen=True, slots=True)
class NutStack:
    """One UPS watched by NUT: its processes, how to ask for the UPS, and what `upsmon` tells."""

    pids: tuple[int, ...]
    upsc: tuple[str, ...]
    watcher: Watcher


def why_not() -> str | None:
    """Why there is no NUT to compare with; `None` if there is."""
    try:
        for name in ("riello_ser", "upsd", "upsmon", "upsc"):
            program(name)
    except FileNotFoundError as error:
        return str(error)
    if _PID_FILE.exists():
        return f"another upsmon runs here, or its {_PID_FILE} was left behind: stop it, or remove the file"
    return None


@contextlib.asynccontextmanager
async def watching_nut(directory: Path, name: str, serial: str, pace: Pace) -> AsyncIterator[NutStack]:
    """NUT in this folder, once it has the first reading of the UPS at this serial port; `name` is for the watcher."""
    driver = ("driver = riello_ser", f"port = {serial}", *pace.driver)
    async with AsyncExitStack() as stack:
        nut = await stack.enter_async_context(running_nut(directory, {_UPS: driver}))
        async with asyncio.timeout(_START_S):
            while "OL" not in (await nut.variables(_UPS)).get("ups.status", ""):  # noqa: ASYNC110  # upsd has no event for it
                await asyncio.sleep(_LOOK_AGAIN_S)
        _configure_monitor(nut, pace)
        monitor = await stack.enter_async_context(running(program("upsmon"), "-F", "-p", environment=nut.environment))
        await until(_PID_FILE.exists, _START_S)
        # Or the next `upsmon`, which watches on somebody else's behalf, would not start.
        _PID_FILE.unlink()  # noqa: ASYNC240  # it takes no time
        watcher = Watcher(name, monitor.lines, b"ONBATT", b"ONLINE")
        yield NutStack((*nut.pids, monitor.pid), (program("upsc"), nut.address(_UPS)), watcher)


def _configure_monitor(nut: Nut, pace: Pace) -> None:
    # What is notified is what `echo` prints on upsmon's own output.
    text = f"""\
MONITOR {nut.address(_UPS)} 1 {USER} {PASSWORD} primary
SHUTDOWNCMD /bin/true
NOTIFYCMD /bin/echo
NOTIFYMSG ONBATT ONBATT
NOTIFYMSG ONLINE ONLINE
NOTIFYFLAG ONBATT EXEC
NOTIFYFLAG ONLINE EXEC
{pace.monitor}"""
    (nut.directory / "upsmon.conf").write_text(text, encoding="ascii")
