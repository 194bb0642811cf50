"""How long it takes until somebody is told that the mains is gone."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice

_TOLD_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class WatchedSupply:
    """A UPS, and the lines that a watcher prints about it.

    `period_s` is the longest pause with which it is looked at: the mains goes at any moment of it.
    """

    device: UpsDevice
    lines: asyncio.StreamReader
    lost: bytes
    back: bytes
    period_s: float


async def time_outages(supply: WatchedSupply, samples: int) -> list[float]:
    """Cut the mains so many times; how long (s) each time until the watcher had been told."""
    loop, times = asyncio.get_running_loop(), list[float]()
    for _ in range(samples):
        await asyncio.sleep(random.uniform(0.0, supply.period_s))
        cut_at = loop.time()
        supply.device.cut_mains()
        await until_line(supply.lines, supply.lost)
        times.append(loop.time() - cut_at)
        supply.device.restore_mains()
        await until_line(supply.lines, supply.back)
    return times


async def until_line(lines: asyncio.StreamReader, word: bytes) -> None:
    """Read on until a line has this in it.

    Raises:
        TimeoutError: none came.
        EOFError: whoever prints them has ended.
    """
    async with asyncio.timeout(_TOLD_WITHIN_S):
        while word not in (line := await lines.readline()):
            if not line:
                raise EOFError(f"{word.decode()} was never said")
