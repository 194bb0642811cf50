"""Foreign programs that run while something is tested or measured."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs: its process id and its standard output."""

    pid: int
    lines: asyncio.StreamReader


@contextlib.asynccontextmanager
async def running(*command: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """The program, until the block ends; what it says on standard error is nobody's business."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        yield Running(process.pid, process.stdout)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port() -> int:
    """A TCP port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
