"""`python -m tests.bench`: measure, and print one line `name value unit` for each figure."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.cold_start import time_commands
from tests.bench.daemon import as_installed, running_daemon
from tests.bench.figures import report_latencies, tell
from tests.bench.nut import NutStack, running_nut, why_not
from tests.bench.outage import WatchedSupply, time_outages
from tests.bench.usage import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardware_sim.rack import SimulatedRack

_SETTLE_S = 14.0
"""Until everything that happens once after the start has happened, such as the first look at the cluster."""
_IDLE_S = 60.0
_OUTAGES = 30
_NUT_OUTAGES = 15
"""It takes its time to tell, and there can be only one `upsmon` on a machine."""


async def _measure(directory: Path, *, latency_only: bool) -> None:
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        tell("starting the simulated rack, Mosquitto and the daemon")
        rack, supply = await stack.enter_async_context(running_daemon(directory))
        settled_at = loop.time() + _SETTLE_S
        peer: NutStack | None = None
        if reason := why_not():
            tell(f"nothing to compare with: {reason}")
        else:
            tell("starting NUT beside it")
            peer = await stack.enter_async_context(running_nut(directory / "nut"))
        await asyncio.sleep(settled_at - loop.time())
        if not latency_only:
            await _usage(rack, peer)
            await _cold_starts(rack, peer)
        await _latencies(supply, peer)


async def _usage(rack: SimulatedRack, peer: NutStack | None) -> None:
    tell(f"idle for {_IDLE_S:.0f} s")
    assert rack.daemon
    groups: dict[str, Sequence[int]] = {"daemon": (rack.daemon.pid,)}
    if peer:
        groups["nut"] = peer.pids
    for name, usage in (await watch(_IDLE_S, groups)).items():
        usage.report(name)


async def _cold_starts(rack: SimulatedRack, peer: NutStack | None) -> None:
    tell("cold starts")
    upsctl = str(Path(sys.executable).with_name("upsctl"))
    commands: dict[str, Sequence[str]] = {
        "python": (sys.executable, "-c", "pass"),
        "upsctl_status": (upsctl, "--socket", str(rack.control_socket), "status"),
    }
    if peer:
        commands["upsc"] = peer.upsc
    await time_commands(commands)


async def _latencies(supply: WatchedSupply, peer: NutStack | None) -> None:
    tell(f"{_OUTAGES} outages, and {_NUT_OUTAGES} of NUT's UPS at the same time" if peer else f"{_OUTAGES} outages")
    async with asyncio.TaskGroup() as group:
        told = group.create_task(time_outages(supply, _OUTAGES))
        notified = group.create_task(time_outages(peer.supply, _NUT_OUTAGES)) if peer else None
    report_latencies("mains_lost_to_mqtt", told.result())
    if notified:
        report_latencies("nut_mains_lost_to_notifycmd", notified.result())


def _compile(directory: Path) -> None:
    """As after an installation: a daemon that compiles its modules first needs a sixth more memory for good."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "pycache")
    # The way to the cluster imports much of itself when it is made, and the rest when it is used.
    way = "httpx2.AsyncHTTPTransport(); anyio.run(anyio.sleep, 0)"
    load = f"import upsd.daemon, hardware_sim.usb_backend, anyio, httpx2; {way}"
    for environment in ({}, as_installed(directory)):
        subprocess.run([sys.executable, "-c", load], check=True, env={**os.environ, **environment})


def main() -> None:
    """Measure it all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--latency", action="store_true", help="only from the mains cut to the event")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upsd-bench-") as directory:
        _compile(Path(directory))
        asyncio.run(_measure(Path(directory), latency_only=arguments.latency))


if __name__ == "__main__":
    main()
