"""The peer: NUT's driver for the same UPS, its server and its monitor, with their defaults.

Everything runs in the foreground, out of a folder of its own. Only `upsmon` insists on one file outside it, its
process id, for which there can be no other `upsmon` on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_sim.rack import WATTS
from hardware_sim.ups.device import UpsDevice
from tests.bench.outage import WatchedSupply
from tests.bench.programs import free_port, running
from tests.bench.serial_port import serial_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_DIRECTORIES = "/lib/nut:/usr/lib/nut:/usr/libexec/nut:/usr/bin"
_PROGRAMS = ("riello_ser", "upsd", "upsmon", "upsc")
_PID_FILE = Path("/run/nut/upsmon.pid")
_POLLFREQ_S = 5.0
_START_S = 30.0
_ANSWER_S = 5.0
_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class NutStack:
    """One UPS watched by NUT: its processes, how to ask for the UPS, and what `upsmon` tells."""

    pids: tuple[int, ...]
    upsc: tuple[str, ...]
    supply: WatchedSupply


def why_not() -> str | None:
    """Why there is no NUT to compare with; `None` if there is."""
    if not all(map(_program, _PROGRAMS)):
        return "NUT is not installed: apt-get install nut-server nut-client"
    if _PID_FILE.exists():
        return f"another upsmon runs here, or its {_PID_FILE} was left behind: stop it, or remove the file"
    return None


@contextlib.asynccontextmanager
async def running_nut(directory: Path) -> AsyncIterator[NutStack]:
    """NUT in this folder, once it has the first reading of its UPS."""
    device, port = UpsDevice(load_w=lambda: sum(WATTS.values())), free_port()
    environment = {**os.environ} | dict.fromkeys(("NUT_CONFPATH", "NUT_STATEPATH", "NUT_ALTPIDPATH"), str(directory))
    user = ("-u", getpass.getuser())  # it would step down to a user who can't read our files
    upsc = (_program("upsc"), f"ups@127.0.0.1:{port}")
    async with AsyncExitStack() as stack:
        _configure(directory, await stack.enter_async_context(serial_port(device)), port)

        async def start(name: str, *arguments: str) -> tuple[int, asyncio.StreamReader]:
            program = await stack.enter_async_context(running(_program(name), *arguments, environment=environment))
            return program.pid, program.lines

        driver, _ = await start("riello_ser", "-a", "ups", "-D", *user)
        server, _ = await start("upsd", "-F", *user)
        async with asyncio.timeout(_START_S):
            while not await asyncio.to_thread(_is_on_line, upsc):  # noqa: ASYNC110  # upsd has no event for it
                await asyncio.sleep(_LOOK_AGAIN_S)
        stack.callback(_PID_FILE.unlink, missing_ok=True)
        monitor, notices = await start("upsmon", "-F", "-p")
        supply = WatchedSupply(device, notices, b"ONBATT", b"ONLINE", _POLLFREQ_S)
        yield NutStack((driver, server, monitor), upsc, supply)


def _program(name: str) -> str:
    return shutil.which(name, path=_DIRECTORIES) or ""


def _configure(directory: Path, serial: str, port: int) -> None:
    files = {
        "ups.conf": f"nolock\n[ups]\ndriver = riello_ser\nport = {serial}\n",
        "upsd.conf": f"LISTEN 127.0.0.1 {port}\n",
        "upsd.users": "[monitor]\npassword = made-up\nupsmon primary\n",
        # What is notified is what `echo` prints on upsmon's own output.
        "upsmon.conf": f"""\
MONITOR ups@127.0.0.1:{port} 1 monitor made-up primary
SHUTDOWNCMD /bin/true
NOTIFYCMD /bin/echo
NOTIFYMSG ONBATT ONBATT
NOTIFYMSG ONLINE ONLINE
NOTIFYFLAG ONBATT EXEC
NOTIFYFLAG ONLINE EXEC
""",
    }
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="ascii")


def _is_on_line(upsc: Sequence[str]) -> bool:
    asked = subprocess.run([*upsc, "ups.status"], check=False, capture_output=True, timeout=_ANSWER_S)
    return b"OL" in asked.stdout
