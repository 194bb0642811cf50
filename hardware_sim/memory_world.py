"""A whole outage in memory: the simulated UPS with its physics, and the machines of a rack that hang on its outlets.

The world knows what a daemon may only guess: who was off when the power went, and what was lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hardware_sim.memory_faults import Act
from hardware_sim.memory_rack import MASTER, memory_rack
from hardware_sim.ups.battery import BatterySpec
from hardware_sim.ups.device import UpsDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hardware_sim.memory_rack import MemoryRack

WORKLOAD = "web/app"
"""The controller of all ordinary pods."""

_MASTER_OFF_S = 20.0
_ALWAYS_ON_W = 26.0  # the NAS and the switch
_STEP_S = 1.0


class MemoryWorld:
    """A rack on a UPS; everything happens on the event loop's time."""

    def __init__(
        self,
        *,
        workers: Iterable[str] = ("pi4-a", "pi4-b"),
        servers: Iterable[str] = (),
        worker_w: float = 7.0,
        master_w: float = 25.0,
        battery: BatterySpec | None = None,
    ) -> None:
        self.rack: MemoryRack = memory_rack(workers, servers=servers, controller=WORKLOAD)
        self._worker_w = worker_w
        self._master_w = master_w
        self.device = UpsDevice(load_w=self.load_w, battery=battery or BatterySpec())
        self.device.listen(self._feed)
        self.master_off_at: float | None = None
        self.on_when_cut: list[str] | None = None
        """Who was not off when the outlets went off; `None` while they are on."""
        self.flushed_when_cut = False

    def load_w(self) -> float:
        """What the outlets deliver."""
        workers = sum(not host.off for host in self.rack.hosts.values())
        return _ALWAYS_ON_W + self._worker_w * workers + (0.0 if self._master_is_off() else self._master_w)

    def asked_to_power_off(self) -> None:
        """The master begins to go off, as systemd does it; asking again changes nothing."""
        if self.master_off_at is None:
            self.master_off_at = asyncio.get_running_loop().time() + _MASTER_OFF_S

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Schedule the outlet cycle on the device; fits `Outlets`."""
        await self.rack.outlets.cycle(off_after_s, restore_after_min)
        self.device.cancel_shutdown()
        self.device.shutdown_and_restore(off_after_s, restore_after_min)
        return True

    async def check_cycle(self) -> str:
        """Ask the device how it is; fits `Outlets`."""
        return await self.rack.outlets.check_cycle()

    async def check_poweroff(self) -> str:
        """Ask the master whether it would power off; fits `LocalHost`."""
        return await self.rack.local_host.check_poweroff()

    async def poweroff(self) -> None:
        """Power the master off; fits `LocalHost`."""
        await self.rack.local_host.poweroff()
        self.asked_to_power_off()

    async def live(self) -> None:
        """Let the physics go on, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.device.advance(loop.time())
            await asyncio.sleep(_STEP_S)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is true of the world; whether it came true in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while not condition() and loop.time() < end:  # noqa: ASYNC110  # its time jumps, so looking costs nothing
            await asyncio.sleep(_STEP_S)
        return condition()

    def _master_is_off(self) -> bool:
        return self.master_off_at is not None and asyncio.get_running_loop().time() >= self.master_off_at

    def _feed(self, on: bool) -> None:  # noqa: FBT001 - fits the listener of an outlet
        if on:
            self._start_anew()
        elif self.on_when_cut is None:
            self._take_the_power()

    def _start_anew(self) -> None:
        self.on_when_cut = self.master_off_at = None
        self.rack.datastore.running = True
        self.rack.cluster.stopped.discard(MASTER)
        for host in self.rack.hosts.values():
            host.outlet(on=True)

    def _take_the_power(self) -> None:
        self.on_when_cut = [name for name, host in self.rack.hosts.items() if not host.off]
        self.on_when_cut += [] if self._master_is_off() else [MASTER]
        self.flushed_when_cut = self.rack.storage.flushed
        self.rack.acts.append(Act(asyncio.get_running_loop().time(), "outlets off"))
        self.rack.storage.mounted = False
        for host in self.rack.hosts.values():
            host.outlet(on=False)
