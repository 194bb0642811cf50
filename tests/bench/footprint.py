"""What the daemon costs the machine, and how fast its command line starts, with NUT beside it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_sim.ups.pty import serial_port
from tests.bench.cold_start import time_commands
from tests.bench.daemon import running_daemon
from tests.bench.figures import tell
from tests.bench.nut import DEFAULT, watching_nut, why_not
from tests.bench.usage import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

_SETTLE_S = 14.0
"""Until everything that happens once after the start has happened, such as the first look at the cluster."""
_IDLE_S = 60.0


async def measure_footprint(directory: Path) -> None:
    """Measure and report it."""
    async with AsyncExitStack() as stack:
        tell("starting the simulated rack, Mosquitto and the daemon")
        ours = await stack.enter_async_context(running_daemon(directory))
        groups: dict[str, Sequence[int]] = {"daemon": (ours.pid,)}
        upsctl = str(Path(sys.executable).with_name("upsctl"))
        commands: dict[str, Sequence[str]] = {
            "python": (sys.executable, "-c", "pass"),
            "upsctl_status": (upsctl, "--socket", str(ours.rack.control_socket), "status"),
        }
        if reason := why_not():
            tell(f"nothing to compare with: {reason}")
        else:
            tell("starting NUT beside it")
            port = await stack.enter_async_context(serial_port(ours.rack.device))
            nut = await stack.enter_async_context(watching_nut(directory / "nut", "nut", port, DEFAULT))
            groups["nut"] = nut.pids
            commands["upsc"] = nut.upsc
        await asyncio.sleep(_SETTLE_S)
        tell(f"idle for {_IDLE_S:.0f} s")
        for name, usage in (await watch(_IDLE_S, groups)).items():
            usage.report(name)
        tell("cold starts")
        await time_commands(commands)
