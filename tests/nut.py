"""NUT, the Network UPS Tools of Debian: its drivers for these UPSes, its server and its clients, out of a folder.

Everything runs in the foreground as the user who runs it, and listens on loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.programs import free_port, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

_DIRECTORIES = "/lib/nut:/usr/lib/nut:/usr/libexec/nut:/usr/sbin:/usr/bin"
_ANSWERS_WITHIN_S = 10.0
USER, PASSWORD = "monitor", "made-up"


def program(name: str) -> str:
    """The path of one of NUT's programs.

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = shutil.which(name, path=_DIRECTORIES)
    if path is None:
        raise FileNotFoundError(f"there is no {name} of NUT; apt-get install nut-server nut-client")
    return path


@dataclass(frozen=True, slots=True)
class Nut:
    """NUT's server and what it serves."""

    directory: Path
    port: int
    pids: tuple[int, ...]
    """Of the drivers and the server."""

    @property
    def environment(self) -> dict[str, str]:
        """What its programs must be started with."""
        return {**os.environ} | dict.fromkeys(("NUT_CONFPATH", "NUT_STATEPATH", "NUT_ALTPIDPATH"), str(self.directory))

    def address(self, ups: str) -> str:
        """What clients call a UPS."""
        return f"{ups}@127.0.0.1:{self.port}"

    async def variables(self, ups: str) -> dict[str, str]:
        """What `upsc` prints, by name; empty while the driver has no data."""
        _, printed = await self.run("upsc", self.address(ups))
        return dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line and not line.startswith("E"))

    async def command(self, ups: str, *command: str) -> str:
        """What `upscmd` says to a command."""
        return (await self.run("upscmd", "-w", "-u", USER, "-p", PASSWORD, self.address(ups), *command))[1]

    async def commands(self, ups: str) -> list[str]:
        """The commands that the driver knows."""
        _, printed = await self.run("upscmd", "-l", self.address(ups))
        return [line.split(" - ")[0] for line in printed.splitlines() if " - " in line]

    async def run(self, name: str, *arguments: str) -> tuple[int, str]:
        """Run one of the clients: its exit status, and what it says."""
        process = await asyncio.create_subprocess_exec(
            program(name),
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace")


@contextlib.asynccontextmanager
async def running_nut(directory: Path, drivers: Mapping[str, Sequence[str]]) -> AsyncIterator[Nut]:
    """NUT with these UPSes: to each name the lines of its section of ups.conf, of which the first is its driver's.

    None of them may have been read yet.
    """
    nut = Nut(directory, free_port(), ())
    _configure(nut, drivers)
    as_us = ("-u", getpass.getuser())  # it would step down to a user who can't read our files
    async with AsyncExitStack() as stack:

        async def start(name: str, *arguments: str) -> int:
            started = running(program(name), *arguments, *as_us, environment=nut.environment)
            return (await stack.enter_async_context(started)).pid

        pids = [await start(lines[0].split(" = ")[1], "-a", name, "-F") for name, lines in drivers.items()]
        pids.append(await start("upsd", "-F"))
        yield Nut(directory, nut.port, tuple(pids))


def _configure(nut: Nut, drivers: Mapping[str, Sequence[str]]) -> None:
    sections = (f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in drivers.items())
    files = {
        "ups.conf": "nolock\n" + "".join(sections),
        "upsd.conf": f"LISTEN 127.0.0.1 {nut.port}\n",
        "upsd.users": f"[{USER}]\npassword = {PASSWORD}\ninstcmds = ALL\nupsmon primary\n",
    }
    nut.directory.mkdir()
    for name, text in files.items():
        (nut.directory / name).write_text(text, encoding="ascii")
        (nut.directory / name).chmod(0o600)
