"""The rack of one scenario, with physics: what is on, what was lost, and what everybody did.

It knows what a daemon may only guess. Everything that happens goes into `acts`, and everything that loses power while
it should not into `losses`.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.memory_cluster import MARK, MemoryCluster
from hardware_sim.memory_faults import Act, Faults
from hardware_sim.outages.machine import Machine, MachineState
from hardware_sim.outages.scenario import MASTER, NAS
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.outlets import OffCause
from upsd.domain.rack import Node, Pod, RackError
from upsd.domain.storage import Flushed, WrittenOut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hardware_sim.outages.scenario import Scenario

_STEP_ON_BATTERY_S = 4.0
_STEP_ON_LINE_S = 30.0
_READY_AFTER_S = 5.0
_CONTROLLER = "web/web"


@dataclass(frozen=True, slots=True)
class Loss:
    """A machine whose power went while it was not off; `why` is what switched the outlets off."""

    at: float
    machine: str
    state: MachineState
    why: OffCause
    flushed: bool


class Cluster(MemoryCluster):
    """The Kubernetes API: it runs on the master, and its nodes are machines."""

    def __init__(self, acts: list[Act], is_up: Callable[[], bool]) -> None:
        super().__init__(acts)
        self._is_up = is_up

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""
        self._refuse_when_down()
        return await super().nodes()

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark it."""
        self._refuse_when_down()
        return await super().cordon(node, outage)

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable if it carries our mark."""
        self._refuse_when_down()
        return await super().uncordon(node)

    async def pods(self, node: str | None = None) -> Sequence[Pod]:
        """The pods bound to the node, or to any."""
        self._refuse_when_down()
        return await super().pods(node)

    async def workloads(self) -> Mapping[str, int]:
        """How many pods of each controller are Ready."""
        self._refuse_when_down()
        return await super().workloads()

    def _refuse_when_down(self) -> None:
        if not self._is_up():
            raise RackError("the Kubernetes API can't be reached: connection refused")


class World:
    """Everything that hangs on the UPS."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.acts: list[Act] = []
        self.losses: list[Loss] = []
        self._resting: set[asyncio.Future[None]] = set()
        self.machines = {spec.name: Machine(spec, self._machine_did) for spec in scenario.machines}
        self.master = self.machines[MASTER]
        self.nas = self.machines[NAS]
        self.cluster = Cluster(self.acts, lambda: self.master.state is MachineState.ON)
        self.storage = Nas(self)
        self.outlet_faults = Faults()
        self.on_machine: list[Callable[[Machine, str], None]] = []
        self.before_act: Callable[[str, str], None] = lambda _kind, _target: None
        for name in (*(worker.name for worker in scenario.workers), MASTER):
            self.cluster.add_node(name, unschedulable=name in scenario.cordoned)
            for number in range(scenario.pods):
                pod = Pod("web", f"{name}-{number}", uid=f"{name}-{number}", grace_s=600)
                self.cluster.add_pod(name, pod, stop_s=scenario.pod_stop_s, controller=_CONTROLLER)
                if pod.full_name in scenario.stubborn:
                    self.cluster.refused[pod.full_name] = float("inf")
        self.pods_before = self.cluster.ready_pods()
        self.device = UpsDevice(
            load_w=self.load_w, battery=scenario.battery, charge=scenario.charge, step_s=_STEP_ON_BATTERY_S
        )
        self.device.listen(self._feed)

    def load_w(self) -> float:
        """What the outlets deliver."""
        return self.scenario.other_watts + sum(machine.draws_w for machine in self.machines.values())

    def faults_of(self, part: str) -> Faults:
        """Where the faults of a part of the rack are switched on."""
        parts = {"cluster": self.cluster.faults, "storage": self.storage.faults, "outlets": self.outlet_faults}
        machine = self.master if part == "local_host" else self.machines.get(part)
        return machine.faults if machine else parts[part]

    def did(self, what: str) -> None:
        """Note what somebody did."""
        self.acts.append(Act(asyncio.get_running_loop().time(), what))

    def stir(self) -> None:
        """Wake whoever waits for something to happen."""
        for woken in self._resting:
            _wake(woken)

    async def live(self) -> None:
        """Let the physics go on, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.device.advance(loop.time())
            self.cluster.reconcile()
            step_s = _STEP_ON_BATTERY_S if self.device.on_battery else _STEP_ON_LINE_S
            deadline = self.device.outlets.next_deadline(loop.time()) or math.inf
            await self.rest(max(0.0, min(step_s, deadline - loop.time())))

    async def rest(self, seconds: float) -> None:
        """Wait until something stirs, for so long at the most."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, woken)
        self._resting.add(woken)
        try:
            await woken
        finally:
            timer.cancel()
            self._resting.discard(woken)

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Schedule the outlet cycle; fits `Outlets`."""
        await self.outlet_faults.meet("cycle")
        self.before_act("outlet-cycle", "ups")
        self.device.advance(asyncio.get_running_loop().time())
        self.device.cancel_shutdown()
        self.device.shutdown_and_restore(off_after_s, restore_after_min)
        self.did(f"cycle {off_after_s}s")
        self.stir()
        return True

    def _feed(self, on: bool) -> None:  # noqa: FBT001 - fits the listener of an outlet
        now = asyncio.get_running_loop().time()
        why = self.device.outlets.cause or OffCause.SHUTDOWN
        self.did("outlets on" if on else f"outlets off: {why.value}")
        for machine in self.machines.values():
            if not on and machine.state is not MachineState.OFF:
                flushed = machine is self.nas and self.storage.flushed
                self.losses.append(Loss(now, machine.spec.name, machine.state, why, flushed))
            machine.feed(on)
        self.stir()

    def _machine_did(self, machine: Machine, what: str) -> None:
        name = machine.spec.name
        if what == "power-off-asked":
            self.before_act("host-poweroff" if machine is self.master else "poweroff", name)
        self.did(f"{name} {what}")
        if name in self.cluster.node_by_name:
            if what == MachineState.ON.value:
                asyncio.get_running_loop().call_later(_READY_AFTER_S, self._node_ready, machine)
            elif what in {MachineState.STOPPING.value, "cut", "dies"}:
                self.cluster.node_off(name)
        for listener in self.on_machine:
            listener(machine, what)
        self.stir()

    def _node_ready(self, machine: Machine) -> None:
        if machine.answers:
            self.cluster.node_on(machine.spec.name)


def _wake(resting: asyncio.Future[None]) -> None:
    if not resting.done():
        resting.set_result(None)


class Nas:
    """The NAS as the master mounts it; fits `Storage`. What is written to it is safe once it is flushed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = Faults()
        self.mounted = True
        self.flushed = False
        self.mount_due = False
        """Whether the master's mount unit still waits for the NAS since the boot."""

    def mounted_at_boot(self) -> None:
        """The mount unit has found it."""
        self.mounted, self.flushed, self.mount_due = True, False, False

    async def flush(self, within_s: float) -> Flushed:  # noqa: ARG002
        """Write everything out."""
        await self._reach("flush")
        self._world.before_act("flush", NAS)
        self.flushed = True
        self._world.did("flush")
        return Flushed()

    async def unmount(self) -> WrittenOut:
        """Unmount it, which writes out what is cached on the master."""
        await self.faults.meet("unmount")
        self._take_off("unmount")
        return WrittenOut(0, 0, 0.0)

    async def detach(self) -> tuple[str, ...]:
        """Take it off, whoever hangs on it."""
        await self.faults.meet("detach")
        self._take_off("detach")
        return (NAS,)

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
        self.mounted, self.flushed = True, False
        self._world.did("mount")

    async def _reach(self, operation: str) -> None:
        await self.faults.meet(operation)
        if not self._world.nas.answers:
            raise RackError("nas: no route to host")


def ours(cluster: MemoryCluster) -> set[str]:
    """The nodes that carry a mark of upsd's."""
    return {node.name for node in cluster.node_by_name.values() if MARK in node.annotations}
