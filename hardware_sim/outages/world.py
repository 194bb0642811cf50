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
from hardware_sim.outages.kept import GONE
from hardware_sim.outages.machine import Machine, MachineState
from hardware_sim.outages.scenario import MASTER, NAS
from hardware_sim.outages.storage import Nas, ServerDatastore
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.outlets import OffCause
from upsd.domain.rack import Attachment, Node, Pod, RackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hardware_sim.outages.scenario import Scenario

_STEP_ON_BATTERY_S = 4.0
_STEP_ON_LINE_S = 30.0
_READY_AFTER_S = 5.0
NODE_GRACE_S = 45.0
"""From the end of a kubelet until its node is not Ready: k3s waits 40 s, and looks every five."""
_CONTROLLER = "web/web"


@dataclass(frozen=True, slots=True)
class Loss:
    """A machine whose power went while it was not off; `why` is what switched the outlets off."""

    at: float
    machine: str
    state: MachineState
    why: OffCause
    flushed: bool


@dataclass(frozen=True, slots=True)
class LateWrite:
    """A worker that wrote to the NAS when that had been flushed for the last time: its last pages, as it unmounted."""

    at: float
    machine: str


class Cluster(MemoryCluster):
    """The Kubernetes API: it runs on the master, and its nodes are machines."""

    def __init__(self, acts: list[Act], is_up: Callable[[], bool]) -> None:
        super().__init__(acts)
        self._is_up = is_up

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""
        self._refuse_when_down()
        return await super().nodes()

    async def heartbeats(self) -> Mapping[str, str]:
        """When each node last reported."""
        self._refuse_when_down()
        return await super().heartbeats()

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

    async def attachments(self) -> Sequence[Attachment]:
        """The volumes that are attached to nodes."""
        self._refuse_when_down()
        return await super().attachments()

    def _refuse_when_down(self) -> None:
        if not self._is_up():
            raise RackError("the Kubernetes API can't be reached: connection refused")


class World:
    """Everything that hangs on the UPS."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.acts: list[Act] = []
        self.losses: list[Loss] = []
        self.late_writes: list[LateWrite] = []
        self._resting: set[asyncio.Future[None]] = set()
        self.machines = {spec.name: Machine(spec, self._machine_did) for spec in scenario.machines}
        self.master = self.machines[MASTER]
        self.nas = self.machines[NAS]
        kept = scenario.kept
        self.storage = Nas(self)
        self.datastore = ServerDatastore(self, kept.datastore) if kept.datastore else None
        self.cluster = Cluster(self.acts, self._api_is_up)
        self.cluster.stuck.update(kept.stuck)
        self.cluster.attached += [Attachment(volume, GONE) for volume in kept.attached]
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
        if self.datastore:
            parts["datastore"] = self.datastore.faults
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
                self.cluster.dead.add(name)
                asyncio.get_running_loop().call_later(NODE_GRACE_S, self._node_lost, machine)
            elif what == MachineState.OFF.value and machine is not self.master and self.storage.closed:
                self.late_writes.append(LateWrite(asyncio.get_running_loop().time(), name))
        for listener in self.on_machine:
            listener(machine, what)
        self.stir()

    def _api_is_up(self) -> bool:
        return self.master.state is MachineState.ON and (self.datastore is None or self.datastore.running)

    def _node_lost(self, machine: Machine) -> None:
        if not machine.answers:
            self.cluster.node_off(machine.spec.name)

    def _node_ready(self, machine: Machine) -> None:
        if machine.answers:
            self.cluster.node_on(machine.spec.name)


def _wake(resting: asyncio.Future[None]) -> None:
    if not resting.done():
        resting.set_result(None)


def ours(cluster: MemoryCluster) -> set[str]:
    """The nodes that carry a mark of upsd's."""
    return {node.name for node in cluster.node_by_name.values() if MARK in node.annotations}
