"""What processes cost the machine, by what Linux says of them under `/proc`."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of some processes together; `pss_mib` is `None` where it may not be read."""

    rss_mib: float
    pss_mib: float | None
    cpu_percent: float
    """Of one core."""

    def report(self, name: str) -> None:
        """Print it."""
        report(f"{name}_rss", self.rss_mib, "MiB")
        if self.pss_mib is not None:
            report(f"{name}_pss", self.pss_mib, "MiB")
        report(f"{name}_cpu", self.cpu_percent, "%")


async def watch(duration_s: float, groups: Mapping[str, Sequence[int]]) -> dict[str, Usage]:
    """What each named group of processes (by id) costs during that time; memory is taken at its end."""
    loop = asyncio.get_running_loop()
    began_at, before = loop.time(), {name: _cpu_s(pids) for name, pids in groups.items()}
    await asyncio.sleep(duration_s)
    lasted_s = loop.time() - began_at
    return {
        name: Usage(_mib(pids, "status", "VmRSS:"), _pss_mib(pids), 100 * (_cpu_s(pids) - before[name]) / lasted_s)
        for name, pids in groups.items()
    }


def _cpu_s(pids: Sequence[int]) -> float:
    """User and system time so far."""
    ticks = 0
    for pid in pids:
        # The name in brackets may contain blanks; the fields after it count from 3.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        ticks += int(fields[14 - 3]) + int(fields[15 - 3])
    return ticks / _TICKS_PER_S


def _pss_mib(pids: Sequence[int]) -> float | None:
    try:
        return _mib(pids, "smaps_rollup", "Pss:")
    except PermissionError:
        return None


def _mib(pids: Sequence[int], file: str, key: str) -> float:
    lines = (line.split() for pid in pids for line in _read(pid, file).splitlines())
    return sum(int(words[1]) for words in lines if words[0] == key) / 1024


def _read(pid: int, file: str) -> str:
    return Path("/proc", str(pid), file).read_text(encoding="ascii", errors="replace")
