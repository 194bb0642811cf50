"""The real daemon with everything switched on, against the simulated rack and a real Mosquitto."""

from __future__ import annotations

import contextlib
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.rack import SimulatedRack
from tests.bench.outage import Watcher, until_line
from tests.integration.brokers import Broker, program
from tests.programs import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Polled as by default; the mains may come and go as it likes, and no shutdown begins.
_NEVER_SHUT_DOWN = """\
[power]
debounce = "1h"
[shutdown]
auto = false
battery_low = false
"""
_SETTINGS = """\
[ups]
backend = "hardware_sim.usb_backend"
[kubernetes]
kubeconfig = "{directory}/kubeconfig"
"""
_SERIAL_SETTINGS = """\
state_directory = "{directory}"
[control]
socket = "{directory}/control.sock"
[master]
name = "k3s-master"
watts = 25
[ups]
name = "serial"
port = "serial:{port}"
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that runs, and somebody who has subscribed to what it publishes."""

    rack: SimulatedRack
    pid: int
    watcher: Watcher


def as_installed(directory: Path) -> dict[str, str]:
    """The environment in which the daemon is as the unit starts it: lean, and without the `sim` extra.

    structlog would load rich, which is here only for the demo's screen.
    """
    absent = directory / "absent"
    absent.mkdir(exist_ok=True)
    (absent / "rich.py").write_text("raise ImportError", encoding="ascii")
    lean = {"PYTHONOPTIMIZE": "2", "PYTHONNODEBUGRANGES": "1", "MALLOC_ARENA_MAX": "1"}
    return {**lean, "PYTHONPATH": str(absent)}


@contextlib.asynccontextmanager
async def running_daemon(directory: Path) -> AsyncIterator[Daemon]:
    """The rack with its daemon, once a subscriber of the broker has learnt that the rack is on line."""
    settings = _SETTINGS.format(directory=directory) + _NEVER_SHUT_DOWN
    rack = SimulatedRack(directory, settings, runs_broker=False, starts_daemon=False)
    broker = Broker(directory, rack.mqtt_port)
    await broker.start()
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(rack)
            watcher = await _subscribe(stack, "upsd", "iplug", rack.mqtt_port)
            await rack.start_daemon(as_installed(directory))
            await until_line(watcher.lines, b'"on_line"')
            assert rack.daemon
            yield Daemon(rack, rack.daemon.pid, watcher)
    finally:
        await broker.stop()


@contextlib.asynccontextmanager
async def daemon_at_serial_port(directory: Path, rack: SimulatedRack, port: str) -> AsyncIterator[Daemon]:
    """Another daemon of the same broker, which does nothing but read the rack's UPS at this port."""
    command = (sys.executable, "-m", "upsd", "--config", str(_write_settings(directory, rack, port)))
    environment = {**os.environ, **as_installed(directory)}
    async with AsyncExitStack() as stack:
        watcher = await _subscribe(stack, "upsd_serial", "serial", rack.mqtt_port)
        started = await stack.enter_async_context(running(*command, environment=environment))
        await until_line(watcher.lines, b'"on_line"')
        yield Daemon(rack, started.pid, watcher)


async def _subscribe(stack: AsyncExitStack, name: str, ups: str, mqtt_port: int) -> Watcher:
    subscribe = (program("mosquitto_sub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", str(mqtt_port))
    topics = ("-q", "1", "-t", f"upsd/{ups}/state", "-t", f"upsd/{ups}/event")
    subscriber = await stack.enter_async_context(running(*subscribe, *topics))
    return Watcher(name, subscriber.lines, b'"mains_lost"', b'"mains_back"')


def _write_settings(directory: Path, rack: SimulatedRack, port: str) -> Path:
    directory.mkdir()
    path = directory / "upsd.toml"
    settings = _SERIAL_SETTINGS.format(directory=directory, port=port, mqtt_port=rack.mqtt_port)
    path.write_text(settings + _NEVER_SHUT_DOWN, encoding="utf-8")
    return path
