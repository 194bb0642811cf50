"""How long a command takes from its start to its end."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
from time import perf_counter
from typing import TYPE_CHECKING

from tests.bench.figures import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNS = 20
_LIMIT_S = 10.0


async def time_commands(commands: Mapping[str, Sequence[str]]) -> None:
    """Run each command in turn, many times over, and report the median of each under its name.

    Raises:
        subprocess.CalledProcessError: one of them failed.
    """
    # In a thread, so that the simulated UPS keeps answering, and nothing but the command is on the clock.
    times = {name: [await asyncio.to_thread(_time, command)] for name, command in commands.items()}
    for _ in range(_RUNS):
        for name, command in commands.items():
            times[name].append(await asyncio.to_thread(_time, command))
    for name, (_, *taken) in times.items():  # the first start fills the caches
        report(f"{name}_cold_start_median", 1000 * statistics.median(taken), "ms")


def _time(command: Sequence[str]) -> float:
    began = perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_S)
    return perf_counter() - began
