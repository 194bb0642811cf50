"""Where the rack of an outage keeps its data: the NAS as the master mounts it, and the datastore of its server."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from hardware_sim.memory_faults import Faults, loop_time
from hardware_sim.outages.scenario import NAS
from upsd.domain.rack import RackError
from upsd.domain.storage import Flushed, WrittenOut

if TYPE_CHECKING:
    from hardware_sim.outages.kept import DatastoreSpec
    from hardware_sim.outages.world import World

_K3S = "k3s"


class Nas:
    """The NAS as the master mounts it; fits `Storage`. What is written to it is safe once it is flushed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = Faults()
        self.mounted = True
        self.flushed = False
        self.mount_due = False
        """Whether the master's mount unit still waits for the NAS since the boot."""
        self.closed = False
        """Whether it was flushed for a shutdown, and has neither started nor been mounted since."""

    def mounted_at_boot(self) -> None:
        """The mount unit has found it."""
        self.mounted, self.flushed, self.mount_due, self.closed = True, False, False, False

    async def flush(self, within_s: float) -> Flushed:  # noqa: ARG002
        """Write everything out."""
        await self._reach("flush")
        self._world.before_act("flush", NAS)
        self.flushed = self.closed = True
        self._world.did("flush")
        return Flushed()

    async def unmount(self) -> WrittenOut:
        """Unmount it, which writes out what is cached on the master."""
        await self.faults.meet("unmount")
        if self._world.datastore and self._world.datastore.keeps_mount_busy:
            raise RackError("target is busy")
        self._take_off("unmount")
        return WrittenOut(0, 0, 0.0)

    async def detach(self) -> tuple[str, ...]:
        """Take it off, whoever hangs on it."""
        await self.faults.meet("detach")
        self._take_off("detach")
        return (NAS,)

    async def also_mounted(self) -> tuple[str, ...]:
        """Nowhere else."""
        return ()

    def _take_off(self, how: str) -> None:
        self._world.before_act("unmount", NAS)
        self.mounted = self.mount_due = False
        self._world.did(how)

    async def is_mounted(self) -> bool:
        """Whether it is mounted and answers."""
        await self.faults.meet("is_mounted")
        return self.mounted and self._world.nas.answers

    async def mount(self) -> None:
        """Mount it."""
        await self._reach("mount")
        self.mounted, self.flushed, self.closed = True, False, False
        self._world.did("mount")

    async def _reach(self, operation: str) -> None:
        await self.faults.meet(operation)
        if not self._world.nas.answers:
            raise RackError("nas: no route to host")


class ServerDatastore:
    """The datastore on the master; fits `Datastore`. A unit of its own copies it, and goes on without the daemon."""

    def __init__(self, world: World, spec: DatastoreSpec) -> None:
        self._world = world
        self._spec = spec
        self.faults = Faults()
        self.running = True
        self._copying_until = -math.inf

    @property
    def keeps_mount_busy(self) -> bool:
        """Whether a copy is being written to the NAS."""
        return self._spec.on_nas and loop_time() < self._copying_until

    def booted(self) -> None:
        """The master has started, and the server with it."""
        self.running, self._copying_until = True, -math.inf

    async def snapshot(self, outage: str) -> str:
        """Copy it."""
        await self.faults.meet("snapshot")
        spec, world = self._spec, self._world
        world.before_act("snapshot", _K3S)
        if spec.on_nas and not world.storage.mounted:
            raise RackError("there is no directory for it")
        takes_s = spec.snapshot_s / 2 if spec.full else spec.snapshot_s
        self._copying_until = loop_time() + takes_s
        await (asyncio.sleep(takes_s) if math.isfinite(takes_s) else asyncio.Event().wait())
        if spec.full:
            raise RackError("No space left on device; make room")
        world.did("snapshot")
        return f"k3s-{outage}.db is whole"

    async def give_up(self, outage: str) -> None:  # noqa: ARG002
        """End the copying."""
        await self.faults.meet("give_up")
        self._copying_until = -math.inf
        self._world.did("snapshot given up")

    async def stop(self) -> None:
        """Stop the server, and the API with it."""
        await self.faults.meet("stop")
        self._world.before_act("stop", _K3S)
        self.running = False
        self._world.did("stop k3s")

    async def start(self) -> None:
        """Start it again."""
        await self.faults.meet("start")
        self.running = True
        self._world.did("start k3s")
