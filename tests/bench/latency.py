"""From the cut of the mains to the first program that knows it: the daemon and NUT on one and the same UPS.

Each of them has a line of its own to the device, at 1200 baud; the mains is cut for all of them at the same moment.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from hardware_sim.ups.pty import serial_port
from tests.bench.daemon import daemon_at_serial_port, running_daemon
from tests.bench.figures import p99, report, report_latencies, tell
from tests.bench.nut import DEFAULT, TUNED, watching_nut, why_not
from tests.bench.outage import time_outages
from tests.bench.usage import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.outage import Watcher

_SETTLE_S = 14.0
_POLLING_S = 60.0
_OUTAGES = 30
_HOUR_S = 3600.0
_OURS = "upsd"


async def measure_latency(directory: Path) -> None:
    """Measure and report it, and what the polling costs."""
    async with AsyncExitStack() as stack:
        tell("starting the simulated rack, Mosquitto and the daemon, and another one at a serial port")
        ours = await stack.enter_async_context(running_daemon(directory))
        device = ours.rack.device
        port = await stack.enter_async_context(serial_port(device))
        serial = await stack.enter_async_context(daemon_at_serial_port(directory / "serial", ours.rack, port))
        groups: dict[str, Sequence[int]] = {_OURS: (ours.pid,), serial.watcher.name: (serial.pid,)}
        watchers: list[Watcher] = [ours.watcher, serial.watcher]
        if reason := why_not():
            tell(f"nothing to compare with: {reason}")
        else:
            for name, pace in {"nut": DEFAULT, "nut_tuned": TUNED}.items():
                tell(f"starting NUT as {name}")
                port = await stack.enter_async_context(serial_port(device))
                nut = await stack.enter_async_context(watching_nut(directory / name, name, port, pace))
                groups[name] = nut.pids
                watchers.append(nut.watcher)
        await asyncio.sleep(_SETTLE_S)
        tell(f"polling for {_POLLING_S:.0f} s")
        for name, usage in (await watch(_POLLING_S, groups)).items():
            report(f"{name}_cpu_per_hour", usage.cpu_percent / 100 * _HOUR_S, "s")
        tell(f"{_OUTAGES} outages")
        _report(await time_outages(device, watchers, _OUTAGES))


def _report(times: Mapping[str, Sequence[float]]) -> None:
    ours = times[_OURS]
    for name, taken in times.items():
        report_latencies(f"{name}_mains_lost", taken)
        if taken is not ours:
            report(f"{name}_to_{_OURS}_median", statistics.median(taken) / statistics.median(ours), "times")
            report(f"{name}_to_{_OURS}_p99", p99(taken) / p99(ours), "times")
    report("outages", len(ours), "")
