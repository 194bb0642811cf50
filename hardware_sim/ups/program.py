"""`python -m hardware_sim ups`: one simulated UPS on as many cables as are asked for, until it is stopped."""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

from hardware_sim.ups import command_line, obstacles, scenario
from hardware_sim.ups.actions import markdown_table
from hardware_sim.ups.bridge import FASTEST_BAUD, bridge_to
from hardware_sim.ups.narrator import HeardDevice, narrate
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.recording import Recording
from hardware_sim.ups.rig import PROFILES, Rig
from hardware_sim.ups.server import UpsServer, let_time_pass

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from hardware_sim.ups.actions import Deed
    from hardware_sim.ups.scenario import Scenario

_Entered = TypeVar("_Entered")


class StartError(Exception):
    """It can't start; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code."""
    parser = command_line.parser()
    options = parser.parse_args(arguments)
    if options.actions:
        _say(markdown_table())
        return 0
    if options.usbip is None and options.pty is None and options.socket is None:
        parser.error("how shall it be reached? there are --usbip, --pty and --socket")
    try:
        played = scenario.NOTHING if options.scenario is None else scenario.load(options.scenario)
        asyncio.run(_Run(options, played).run())
    except (StartError, scenario.ScenarioError) as error:
        sys.stderr.write(f"hardware_sim ups: {error}\n")
        return 1
    return 0


class _Run:
    """One run of the program."""

    def __init__(self, options: argparse.Namespace, played: Scenario) -> None:
        self._options = options
        self._played = played
        self._profile = options.profile or played.profile or "iplug-800"
        self._stack = AsyncExitStack()
        self._recording: Recording | None = None
        self._began_at = 0.0

    async def run(self) -> None:
        """Begin, live and end."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        self._began_at = loop.time()
        async with self._stack:
            rig = self._rig()
            rig.device.advance(self._began_at)
            _say(await self._begin(rig))
            narrate(rig, self._tell)
            async with asyncio.TaskGroup() as group:
                living = [group.create_task(let_time_pass(rig.device)), group.create_task(self._play(rig))]
                await stop.wait()
                for task in living:
                    task.cancel()
        self._tell("stopped")

    def _rig(self) -> Rig:
        options, profile = self._options, PROFILES[self._profile]
        if profile.baud > FASTEST_BAUD and (options.usbip or options.socket):
            raise StartError(f"a {self._profile} speaks {profile.baud} baud and has no USB: use --pty alone")
        return Rig(
            profile,
            charge=_first(options.charge, self._played.charge, 1.0),
            load_w=_first(options.load, self._played.load_w, 80.0),
            speed=_first(options.speed, self._played.speed, 1.0),
            usb=options.usbip is not None or options.socket is not None,
            make=functools.partial(HeardDevice, self._tell),
        )

    async def _begin(self, rig: Rig) -> str:
        """Plug in whatever is asked for, what may be somebody else's last; how each is reached."""
        profile = rig.device.profile
        title = f"Riello {profile.model}, {profile.apparent_power_va} VA"
        title += f"; load {rig.load_w:g} W, battery {100 * rig.device.battery.charge:.0f} %"
        usbip, control = await self._usbip(rig), await self._control(rig)
        socket, pty = await self._socket(rig), await self._pty(rig)
        self._record(rig)
        return "\n".join(note for note in (title, usbip, pty, socket, control) if note)

    async def _usbip(self, rig: Rig) -> str | None:
        if self._options.usbip is None:
            return None
        from hardware_sim.ups.usbip import BUS_ID, UsbIpServer  # noqa: PLC0415  # each run loads only what it needs

        host, port = self._options.usbip
        bridge = bridge_to(rig.device, faults=rig.faults)
        server = UsbIpServer(rig.device, bridge, host=host, port=port)
        await self._listen(f"--usbip={host}:{port}", server)
        reached_at = "ADDRESS-OF-THIS-MACHINE" if host == "0.0.0.0" else host  # noqa: S104  # it is not bound here
        return _USBIP.format(host=reached_at, port=server.port, bus_id=BUS_ID)

    async def _control(self, rig: Rig) -> str | None:
        if self._options.control is None:
            return None
        from hardware_sim.ups.control import http_control  # noqa: PLC0415

        port = self._options.control
        url = await self._listen(f"--control={port}", http_control(rig, port=port, told=self._hear))
        return _CONTROL.format(url=url)

    async def _socket(self, rig: Rig) -> str | None:
        if (path := self._options.socket) is None:
            return None
        await self._make("--socket", path, UpsServer(rig.device, bridge_to(rig.device, faults=rig.faults), path))
        return _POWER_DAEMON.format(path=path.absolute())

    async def _pty(self, rig: Rig) -> str | None:
        if self._options.pty is None:
            return None
        link = None if self._options.pty == command_line.NO_LINK else self._options.pty.absolute()
        path = await self._make("--pty", self._options.pty, serial_port(rig.device, rig.faults, link=link))
        return _SERIAL.format(path=path, user=getpass.getuser())

    def _record(self, rig: Rig) -> None:
        if (path := self._options.record) is None:
            return
        try:
            self._recording = self._stack.enter_context(Recording(path, rig, self._profile))
        except OSError as error:
            raise StartError(f"--record: {obstacles.at_path(error, path)}") from error

    def _hear(self, deed: Deed) -> None:
        """What the control does."""
        if self._recording is not None:
            self._recording.note(deed)
        self._tell(f"control: {deed}")

    async def _play(self, rig: Rig) -> None:
        if self._played is scenario.NOTHING:
            return

        def told(deed: Deed) -> None:
            hindrance = deed.hindrance(rig)
            self._tell(f"scenario: {deed}" if hindrance is None else f"scenario, passed over: {hindrance}")

        self._tell(f"scenario: {self._played.title}")
        await scenario.play(self._played, rig, told)
        self._tell("scenario: over")

    async def _listen(self, option: str, cable: AbstractAsyncContextManager[_Entered]) -> _Entered:
        try:
            return await self._stack.enter_async_context(cable)
        except OSError as error:
            raise StartError(f"{option}: {obstacles.at_port(error)}") from error

    async def _make(self, option: str, path: Path, cable: AbstractAsyncContextManager[_Entered]) -> _Entered:
        try:
            return await self._stack.enter_async_context(cable)
        except OSError as error:
            raise StartError(f"{option}: {obstacles.at_path(error, path)}") from error

    def _tell(self, text: str) -> None:
        _say(f"{asyncio.get_running_loop().time() - self._began_at:9.1f} s  {text}")


_USBIP = """
USB device 04b4:5500, for a Linux kernel; as root:
    modprobe vhci-hcd
    usbip --tcp-port {port} attach -r {host} -b {bus_id}
  NUT then reads it with this in ups.conf:
    [simulated]
        driver = riello_usb
        port = auto"""
_SERIAL = """
Serial port {path}
  NUT reads it with this in ups.conf:
    [simulated]
        driver = riello_ser
        port = {path}
        user = {user}"""
_POWER_DAEMON = """
pyusb without a kernel: set UPSD_SIM_UPS, and take the backend of the module hardware_sim.usb_backend
    export UPSD_SIM_UPS={path}
  upsd then reads it with this in upsd.toml:
    [ups]
    backend = "hardware_sim.usb_backend\""""
_CONTROL = """
Control:
    curl {url}
    curl -X POST {url}cut
    curl -X POST '{url}brown-out?volts=180'
    curl -X POST {url}restore"""


def _first(*choices: float | None) -> float:
    """The first that is one."""
    return next(choice for choice in choices if choice is not None)


def _say(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has gone; the UPS lives on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
