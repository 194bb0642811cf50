"""How long it takes until somebody is told that the mains is gone."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardware_sim.ups.device import UpsDevice

_TOLD_WITHIN_S = 30.0
_LONGEST_PERIOD_S = 5.0
"""With which any of them looks: the mains goes at any moment of it."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Somebody who watches a UPS, and the lines that they print about it."""

    name: str
    lines: asyncio.StreamReader
    lost: bytes
    back: bytes


async def time_outages(device: UpsDevice, watchers: Sequence[Watcher], samples: int) -> dict[str, list[float]]:
    """Cut the mains so many times; how long (s) each time until each watcher had been told."""
    times: dict[str, list[float]] = {watcher.name: [] for watcher in watchers}
    for number in range(1, samples + 1):
        await asyncio.sleep(random.uniform(0.0, _LONGEST_PERIOD_S))
        device.cut_mains()
        for name, taken_s in (await _until_told(watchers)).items():
            times[name].append(taken_s)
        device.restore_mains()
        await asyncio.gather(*(until_line(watcher.lines, watcher.back) for watcher in watchers))
        tell(f"{number} of {samples}: {', '.join(f'{name} {taken[-1]:.2f} s' for name, taken in times.items())}")
    return times


async def _until_told(watchers: Sequence[Watcher]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    cut_at = loop.time()

    async def told(watcher: Watcher) -> float:
        await until_line(watcher.lines, watcher.lost)
        return loop.time() - cut_at

    taken_s = await asyncio.gather(*map(told, watchers))
    return {watcher.name: taken for watcher, taken in zip(watchers, taken_s, strict=True)}


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
