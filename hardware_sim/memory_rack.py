"""The machines of a rack as plain objects in memory, on the event loop's time, with faults to switch on.

They fit the protocols of `upsd.domain.rack` by shape. Whatever they do goes into one list of `Act`s, so that a test can
say in which order things happened. A machine is *asked* at once and *acts* once the call's latency has passed, so that
a daemon killed in between has asked for nothing.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hardware_sim.memory_cluster import MemoryCluster
from hardware_sim.memory_faults import Act, Faults, loop_time
from upsd.domain.rack import Pod, PortAnswer, RackError
from upsd.domain.storage import Flushed, WrittenOut

if TYPE_CHECKING:
    from collections.abc import Iterable

MASTER = "k3s-master"


@dataclass(slots=True)
class MemoryHost:
    """A machine that is reached over SSH, goes off some time after it was told to, and can be woken.

    Attributes:
        deaf: how many more commands it takes without doing anything.
        sshd_s: from the command until its sshd accepts no more.
        boot_s: from its power-on until it answers.
        wakes: whether Wake-on-LAN switches it on.
        starts_with_power: whether it boots by itself when its outlet gets power.
        up_at: since when it answers, or until when it boots.
        forced: whether its sshd runs the power-off, whatever is asked for.
        says: what its command answers.
    """

    name: str
    acts: list[Act]
    poweroff_s: float = 5.0
    faults: Faults = field(default_factory=Faults)
    deaf: int = 0
    forced: bool = False
    off_at: float = math.inf
    cluster: MemoryCluster | None = None
    boot_s: float = 20.0
    sshd_s: float = 0.0
    wakes: bool = True
    starts_with_power: bool = True
    up_at: float = -math.inf
    powered: bool = True
    says: str = ""

    @property
    def off(self) -> bool:
        """Whether it is off by now."""
        return loop_time() >= self.off_at

    async def run(self, command: str) -> str:
        """Take the command as one to power off."""
        await self.faults.meet("run")
        if self._port is PortAnswer.REFUSES:
            raise RackError(f"{self.name}: connection refused")
        if self._port is PortAnswer.SILENT:
            raise RackError(f"{self.name}: no route to host")
        self.acts.append(Act(loop_time(), f"{command} {self.name}"))
        if self.deaf:
            self.deaf -= 1
        elif math.isinf(self.off_at):
            self.off_at = loop_time() + self.poweroff_s
            if self.cluster:
                self.cluster.stopped.add(self.name)
            asyncio.get_running_loop().call_at(self.off_at, self._went_off)
        return self.says

    async def run_unforced(self, command: str) -> str:  # noqa: ARG002
        """Take the command as one that changes nothing."""
        await self.faults.meet("run_unforced")
        if self.off:
            raise RackError(f"{self.name}: no route to host")
        if self.forced:
            raise RackError(f"{self.name}: authorized_keys there has a forced command")
        return ""

    async def call_port(self) -> PortAnswer:
        """Its sshd ends first; once it is off it is silent."""
        await self.faults.meet("call_port")
        return self._port

    @property
    def _port(self) -> PortAnswer:
        if self.off or loop_time() < self.up_at:
            return PortAnswer.SILENT
        ends_at = self.off_at - self.poweroff_s + self.sshd_s
        return PortAnswer.ACCEPTS if loop_time() < ends_at else PortAnswer.REFUSES

    async def wake(self) -> None:
        """Hear the signal, if it is off and has power; fits `Waker`."""
        await self.faults.meet("wake")
        self.acts.append(Act(loop_time(), f"wake {self.name}"))
        if self.wakes:
            self.power_on()

    def power_on(self) -> None:
        """Boot, if it is off and its outlet has power."""
        if not self.off or not self.powered:
            return
        self.off_at, self.up_at = math.inf, loop_time() + self.boot_s
        self.acts.append(Act(loop_time(), f"on {self.name}"))
        asyncio.get_running_loop().call_at(self.up_at, self._came_up)

    def outlet(self, on: bool) -> None:  # noqa: FBT001 - as the outlet says it
        """Lose power, however unready, or get it again."""
        self.powered = on
        if on and self.starts_with_power:
            self.power_on()
        elif not on and not self.off:
            self.off_at = loop_time()
            self._went_off()

    def _came_up(self) -> None:
        if self.cluster and not self.off and loop_time() >= self.up_at:
            self.cluster.node_on(self.name)

    def _went_off(self) -> None:
        self.acts.append(Act(loop_time(), f"off {self.name}"))
        if self.cluster:
            self.cluster.node_off(self.name)


@dataclass(slots=True)
class MemoryStorage:
    """A NAS: what is written to it is safe once it is flushed."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)
    mounted: bool = True
    flushed: bool = False
    figures: Flushed = field(default_factory=lambda: Flushed(WrittenOut(421888, 102, 6.2)))
    others: set[str] = field(default_factory=set)
    """Where it is mounted besides."""

    async def flush(self, within_s: float) -> Flushed:  # noqa: ARG002
        """Write everything out."""
        await self.faults.meet("flush")
        self.flushed = True
        self.acts.append(Act(loop_time(), "flush"))
        return self.figures

    async def unmount(self) -> WrittenOut:
        """Unmount it."""
        await self.faults.meet("unmount")
        self.mounted, self.others = False, set()
        self.acts.append(Act(loop_time(), "unmount"))
        return WrittenOut(2048, 0, 0.1)

    async def detach(self) -> tuple[str, ...]:
        """Take it off, whoever hangs on it."""
        await self.faults.meet("detach")
        detached = ("/mnt/nas", *sorted(self.others))
        self.mounted, self.others = False, set()
        self.acts.append(Act(loop_time(), "detach"))
        return detached

    async def also_mounted(self) -> tuple[str, ...]:
        """Where it is mounted besides."""
        return tuple(self.others)

    async def mount_also(self, place: str) -> None:
        """Mount it there."""
        await self.faults.meet("mount_also")
        self.others.add(place)
        self.acts.append(Act(loop_time(), f"mount {place}"))

    async def is_mounted(self) -> bool:
        """Whether it is mounted."""
        await self.faults.meet("is_mounted")
        return self.mounted

    def rehearsed(self) -> MemoryStorage:
        """The same."""
        return self

    async def check_unmount(self) -> str:
        """Say that it could be unmounted."""
        await self.faults.meet("check_unmount")
        return "can be unmounted"

    async def mount(self) -> None:
        """Mount it."""
        await self.faults.meet("mount")
        self.mounted = True
        self.acts.append(Act(loop_time(), "mount"))


@dataclass(slots=True)
class MemoryDatastore:
    """The master's k3s server, whose datastore can be copied, to a NAS that is mounted."""

    acts: list[Act]
    storage: MemoryStorage
    cluster: MemoryCluster
    faults: Faults = field(default_factory=Faults)
    running: bool = True

    async def snapshot(self, outage: str) -> str:
        """Copy it."""
        await self.faults.meet("snapshot")
        await self.cluster.ask("snapshot")
        if not self.storage.mounted:
            raise RackError("there is no directory for it")
        self.acts.append(Act(loop_time(), "snapshot"))
        return f"k3s-{outage}.db is whole"

    async def check_snapshot(self) -> str:
        """Say that it could be copied."""
        await self.faults.meet("check_snapshot")
        return "a copy was made and removed"

    async def give_up(self, outage: str) -> None:  # noqa: ARG002
        """End the copying."""
        await self.faults.meet("give_up")
        self.acts.append(Act(loop_time(), "give up the snapshot"))

    async def stop(self) -> None:
        """Stop the server."""
        await self.faults.meet("stop")
        self.running = False
        self.cluster.stopped.add(MASTER)
        self.acts.append(Act(loop_time(), "stop k3s"))

    async def start(self) -> None:
        """Start it again; running already is no error."""
        await self.faults.meet("start")
        if not self.running:
            self.running = True
            self.cluster.stopped.discard(MASTER)
            self.acts.append(Act(loop_time(), "start k3s"))

    async def check_stop(self) -> None:
        """Say that it could be stopped."""
        await self.faults.meet("check_stop")


@dataclass(slots=True)
class MemoryOutlets:
    """The outlets of a UPS, which write down what they were told."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Schedule the cycle."""
        await self.faults.meet("cycle")
        self.acts.append(Act(loop_time(), f"cycle {off_after_s}s {restore_after_min}min"))
        return True

    async def check_cycle(self) -> str:
        """Say that it could be scheduled."""
        await self.faults.meet("check_cycle")
        return "the UPS answers"


@dataclass(slots=True)
class MemoryLocalHost:
    """The machine that the daemon runs on; it lives on, so that a test sees what the daemon would do then."""

    acts: list[Act]
    faults: Faults = field(default_factory=Faults)

    async def poweroff(self) -> None:
        """Take the request."""
        await self.faults.meet("poweroff")
        self.acts.append(Act(loop_time(), f"poweroff {MASTER}"))

    async def check_poweroff(self) -> str:
        """Say that it would power off."""
        await self.faults.meet("check_poweroff")
        return "it would power off"


@dataclass(slots=True)
class MemoryRack:
    """A whole rack and everything that it did."""

    acts: list[Act]
    cluster: MemoryCluster
    hosts: dict[str, MemoryHost]
    storage: MemoryStorage
    outlets: MemoryOutlets
    local_host: MemoryLocalHost
    datastore: MemoryDatastore

    def did(self) -> list[str]:
        """What the machines did, in order."""
        return [act.what for act in self.acts]

    def first(self, what: str) -> float:
        """When something was first done; infinite if it was not."""
        return min((act.at for act in self.acts if act.what == what), default=math.inf)


def memory_rack(
    workers: Iterable[str] = ("pi4-a", "pi4-b"),
    *,
    servers: Iterable[str] = (),
    pods: int = 2,
    controller: str | None = None,
) -> MemoryRack:
    """A master and workers, each a node with so many ordinary pods and one of a DaemonSet, and a NAS.

    The ordinary pods belong to `controller` (`namespace/name`), if there is one. `servers` are the workers that hold
    the datastore together with the master.
    """
    acts: list[Act] = []
    members = frozenset(servers)
    cluster = MemoryCluster(acts, members=members | {MASTER} if members else members)
    hosts = {name: MemoryHost(name, acts, cluster=cluster) for name in workers}
    for node in (*hosts, MASTER):
        cluster.add_node(node)
        for number in range(pods):
            cluster.add_pod(node, Pod("web", f"{node}-{number}", uid=f"{node}-{number}"), controller=controller)
        cluster.add_pod(node, Pod("kube-system", f"proxy-{node}", uid=f"proxy-{node}", daemonset=True))
    storage = MemoryStorage(acts)
    datastore = MemoryDatastore(acts, storage, cluster)
    return MemoryRack(acts, cluster, hosts, storage, MemoryOutlets(acts), MemoryLocalHost(acts), datastore)
