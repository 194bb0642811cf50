"""The simulated UPS on a serial port: a pseudo terminal that a program written for real ones can open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from typing import TYPE_CHECKING

from hardware_sim.ups.line import BYTE_S, SerialLine
from hardware_sim.ups.responder import Responder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hardware_sim.ups.device import UpsDevice


@contextlib.asynccontextmanager
async def serial_port(device: UpsDevice) -> AsyncIterator[str]:
    """The path of a port with this UPS behind 1200 baud, while the block lasts."""
    loop, line = asyncio.get_running_loop(), SerialLine(Responder(device).answer)
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    async def reply() -> None:
        while True:
            await asyncio.sleep(BYTE_S)
            device.advance(loop.time())
            if arrived := line.available(loop.time()):
                os.write(ours, arrived)

    loop.add_reader(ours, lambda: line.feed(os.read(ours, 256), loop.time()))
    replying = asyncio.create_task(reply())
    try:
        yield os.ttyname(theirs)
    finally:
        replying.cancel()
        await asyncio.gather(replying, return_exceptions=True)
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)
