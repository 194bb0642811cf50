"""Simulated UPSes on simulated USB, and the real driver that reads them, all of it in virtual time.

Only the wire and what is behind it are simulated: pyusb, the USB thread and everything above are what the daemon runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import usb.backend

from hardware_sim.ups.bridge import CypressBridge, bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.ports import LocalPort
from hardware_sim.ups.profiles import IPLUG_800
from hardware_sim.usb_backend import SimulatedBackend
from hardware_sim.virtual_time import VirtualTimeLoop
from upsd.power import PowerRules, PowerView, observe, tick
from upsd.ups.driver import Probe, UpsDriver
from upsd.ups.gpser_dialect import GpserDialect
from upsd.ups.pacing import PiecePause
from upsd.ups.selection import Selection, Wanted
from upsd.ups.sentr_dialect import SentrDialect
from upsd.ups.usb_port import UsbPort, UsbTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from hardware_sim.ups.faults import Faults
    from hardware_sim.ups.profiles import Profile
    from upsd.domain.power import Event, Reading
    from upsd.ups.selection import Known

RULES = PowerRules(debounce_s=3.0, silence_s=2.5)
OURS, OTHER = "1-4", "1-5"


def loop() -> VirtualTimeLoop:
    """The running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


class Socket:
    """A USB port of the host with a UPS's cable in it."""

    def __init__(self, bridge: CypressBridge, path: str) -> None:
        self.bridge = bridge
        self.path = path
        self.backend: Any = SimulatedBackend(LocalPort(bridge, clock=loop().time, pause=loop().sleep_in_job))


class Bus(usb.backend.IBackend):  # type: ignore[misc]  # pyusb ships no types
    """A pyusb backend with several devices, each at its own path; it counts what is open and what was written."""

    def __init__(self, sockets: list[Socket]) -> None:
        self.sockets = sockets
        self.opened = 0
        self.written: list[bytes] = []

    def enumerate_devices(self) -> Iterator[tuple[Socket, int]]:
        """A device is a socket and the address that it gave it."""
        for socket in self.sockets:
            for address in socket.backend.enumerate_devices():
                yield socket, address

    def get_parent(self, dev: object) -> None:
        """No hubs here."""

    def get_device_descriptor(self, dev: tuple[Socket, int]) -> SimpleNamespace:
        """As of the device, but for where it is plugged in."""
        socket, address = dev
        descriptor: SimpleNamespace = socket.backend.get_device_descriptor(address)
        ports = tuple(int(number) for number in socket.path.split("-")[1].split("."))
        return SimpleNamespace(**{**vars(descriptor), "port_numbers": ports, "port_number": ports[-1]})

    def get_configuration_descriptor(self, dev: tuple[Socket, int], config: int) -> Any:
        """As of the device."""
        return dev[0].backend.get_configuration_descriptor(dev[1], config)

    def get_interface_descriptor(self, dev: tuple[Socket, int], intf: int, alt: int, config: int) -> Any:
        """As of the device."""
        return dev[0].backend.get_interface_descriptor(dev[1], intf, alt, config)

    def get_endpoint_descriptor(self, dev: tuple[Socket, int], ep: int, intf: int, alt: int, config: int) -> Any:
        """As of the device."""
        return dev[0].backend.get_endpoint_descriptor(dev[1], ep, intf, alt, config)

    def open_device(self, dev: tuple[Socket, int]) -> tuple[Any, Any]:
        """A handle is a backend and its own handle."""
        handle = dev[0].backend, dev[0].backend.open_device(dev[1])
        self.opened += 1
        return handle

    def close_device(self, dev_handle: tuple[Any, Any]) -> None:
        """Close it."""
        dev_handle[0].close_device(dev_handle[1])
        self.opened -= 1

    def intr_write(self, dev_handle: tuple[Any, Any], ep: int, intf: int, data: Any, timeout: int) -> Any:
        """Note what was written."""
        self.written.append(bytes(data))
        return dev_handle[0].intr_write(dev_handle[1], ep, intf, data, timeout)

    def __getattribute__(self, name: str) -> Any:
        if name in _DELEGATED:
            return lambda dev_handle, *arguments: getattr(dev_handle[0], name)(dev_handle[1], *arguments)
        return super().__getattribute__(name)


_DELEGATED = {
    "get_configuration",
    "set_configuration",
    "set_interface_altsetting",
    "claim_interface",
    "release_interface",
    "is_kernel_driver_active",
    "detach_kernel_driver",
    "attach_kernel_driver",
    "intr_read",
    "ctrl_transfer",
    "clear_halt",
    "reset_device",
}


@dataclass
class Cabled:
    """A UPS with the driver on it, and everything that followed."""

    device: UpsDevice
    bridge: CypressBridge
    bus: Bus
    transport: UsbTransport
    driver: UpsDriver
    remembered: list[Known] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    told_at: list[float] = field(default_factory=list)
    """When somebody was told of each reading."""
    events: list[Event] = field(default_factory=list)
    view: PowerView = field(default_factory=lambda: PowerView(heard_at=loop().time()))
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.bridge.faults

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self.events]

    async def follow(self) -> None:
        """Read, until cancelled."""
        async for reading in self.driver.readings():
            self.readings.append(reading)
            self.told_at.append(loop().time())
            self.view, events = observe(self.view, reading, RULES)
            self.events += events
            self._heard.set()

    async def watch(self) -> None:
        """Notice silence as the daemon does, until cancelled."""
        while True:
            silent_in_s = self.view.heard_at + RULES.silence_s - loop().time()
            await asyncio.sleep(silent_in_s + 0.02 if silent_in_s > 0 else 1.0)
            self.view, events = tick(self.view, loop().time(), RULES, self.driver.trouble)
            self.events += events

    async def until(self, wanted: Callable[[Reading], bool], within_s: float = 60.0) -> float:
        """Wait for a reading from now on that says so; how long it took until somebody was told of it."""
        began_at, seen = loop().time(), len(self.readings)
        async with asyncio.timeout(within_s):
            while True:
                for number in range(seen, len(self.readings)):
                    if self.readings[number].at >= began_at and wanted(self.readings[number]):
                        return self.told_at[number] - began_at
                seen = len(self.readings)
                self._heard.clear()
                await self._heard.wait()

    async def good(self, within_s: float = 60.0) -> float:
        """Wait for a good reading from now on; how long it took."""
        return await self.until(lambda reading: reading.output_powered, within_s)


def plugged(
    profile: Profile = IPLUG_800,
    *,
    poll_interval_s: float = 0.5,
    wanted: Wanted | None = None,
    known: Known | None = None,
    beside: list[Socket] | None = None,
    pause: PiecePause | None = None,
    **bridge: Any,
) -> Cabled:
    """A UPS at 1-4, beside others, and a driver for it that is not started."""
    device = UpsDevice(profile, load_w=lambda: 76.0)
    made = bridge_to(device, **bridge)
    bus = Bus([Socket(made, OURS), *(beside or [])])
    port = UsbPort(load_backend=lambda: bus, pause=pause or PiecePause(), clock=loop().time, sleep=loop().sleep_in_job)
    transport = UsbTransport(port)
    remembered: list[Known] = []
    driver = UpsDriver(
        transport,
        probes=[Probe(GpserDialect(), 1200), Probe(SentrDialect(), 1200)],
        selection=Selection(wanted or Wanted(), known),
        poll_interval_s=poll_interval_s,
        remember=remembered.append,
    )
    return Cabled(device, made, bus, transport, driver, remembered)


@contextlib.asynccontextmanager
async def living(cabled: Cabled) -> AsyncIterator[Cabled]:
    """The driver reads while the block runs."""
    tasks = [asyncio.create_task(cabled.follow()), asyncio.create_task(cabled.watch())]
    try:
        yield cabled
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await cabled.driver.close()
        cabled.transport.shutdown()


@contextlib.asynccontextmanager
async def reading(profile: Profile = IPLUG_800, **options: Any) -> AsyncIterator[Cabled]:
    """A UPS that is being read, from its first good reading on."""
    async with living(plugged(profile, **options)) as cabled:
        await cabled.good()
        yield cabled


@contextlib.asynccontextmanager
async def connected(profile: Profile = IPLUG_800, **options: Any) -> AsyncIterator[Cabled]:
    """A UPS that has identified itself and is not read but by who asks it."""
    cabled = plugged(profile, **options)
    try:
        await cabled.driver._connect()
        yield cabled
    finally:
        await cabled.driver.close()
        cabled.transport.shutdown()
