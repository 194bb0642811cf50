"""The real daemon with everything switched on, against the simulated rack and a real Mosquitto."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hardware_sim.rack import SimulatedRack
from tests.bench.outage import WatchedSupply, until_line
from tests.bench.programs import running
from tests.integration.brokers import Broker, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Polled as by default; the mains may come and go as it likes, and no shutdown begins.
_SETTINGS = """\
[ups]
backend = "hardware_sim.usb_backend"
[power]
debounce = "1h"
[shutdown]
auto = false
battery_low = false
[kubernetes]
kubeconfig = "{directory}/kubeconfig"
"""
_POLL_INTERVAL_S = 1.0


def as_installed(directory: Path) -> dict[str, str]:
    """The environment in which the daemon is as the unit starts it: lean, and without the `sim` extra.

    structlog would load rich, which is here only for the demo's screen.
    """
    absent = directory / "absent"
    absent.mkdir(exist_ok=True)
    (absent / "rich.py").write_text("raise ImportError", encoding="ascii")
    return {"PYTHONOPTIMIZE": "2", "PYTHONNODEBUGRANGES": "1", "PYTHONPATH": str(absent)}


@contextlib.asynccontextmanager
async def running_daemon(directory: Path) -> AsyncIterator[tuple[SimulatedRack, WatchedSupply]]:
    """The rack with its daemon, once a subscriber of the broker has learnt that the rack is on line."""
    rack = SimulatedRack(directory, _SETTINGS.format(directory=directory), runs_broker=False, starts_daemon=False)
    broker = Broker(directory, rack.mqtt_port)
    await broker.start()
    try:
        subscribe = (program("mosquitto_sub", "mosquitto-clients"), "-h", broker.host, "-p", str(broker.port))
        topics = ("-q", "1", "-t", "upsd/+/state", "-t", "upsd/+/event")
        async with rack, running(*subscribe, *topics) as subscriber:
            await rack.start_daemon(as_installed(directory))
            await until_line(subscriber.lines, b'"on_line"')
            lost, back = b'"mains_lost"', b'"mains_back"'
            yield rack, WatchedSupply(rack.device, subscriber.lines, lost, back, _POLL_INTERVAL_S)
    finally:
        await broker.stop()
