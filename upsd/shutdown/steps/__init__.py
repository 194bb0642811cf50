"""One file for each kind of step, and the tables that say who does what, and who proves it in a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from upsd.domain.plan import StepKind
from upsd.shutdown.floor import AMPLE
from upsd.shutdown.steps.announce import Announce, RehearseAnnounce
from upsd.shutdown.steps.confirm_off import ConfirmOff, RehearseConfirmOff
from upsd.shutdown.steps.cordon import Cordon, RehearseCordon, Uncordon, WaitReady
from upsd.shutdown.steps.datastore import RehearseSnapshot, RehearseStopServer, Snapshot, StartServer, StopServer
from upsd.shutdown.steps.drain import Drain, NasUsers, RehearseDrain
from upsd.shutdown.steps.host_poweroff import HostPoweroff, RehearseHostPoweroff
from upsd.shutdown.steps.last_look import LastLook, RehearseLastLook
from upsd.shutdown.steps.node_drain import DrainRules
from upsd.shutdown.steps.off_evidence import OffEvidence
from upsd.shutdown.steps.outlet_cycle import OutletCycle, RehearseOutletCycle
from upsd.shutdown.steps.poweroff import GoingOff, Poweroff, RehearsePoweroff, RemoteMachine
from upsd.shutdown.steps.storage import Flush, MountMemory, RehearseUnmount, Unmount, WaitStorage
from upsd.shutdown.steps.wait_battery import WaitBattery
from upsd.shutdown.steps.wait_host import WaitHost
from upsd.shutdown.steps.wait_quorum import WaitQuorum
from upsd.shutdown.steps.workloads import AwaitWorkloads
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Event, OutputLoad
    from upsd.domain.rack import Cluster, Datastore, LocalHost, Outlets, Storage, Workload
    from upsd.shutdown.engine import Performer
    from upsd.shutdown.floor import BatteryLevel
    from upsd.shutdown.records import Unfinished

__all__ = ["DrainRules", "GoingOff", "NasUsers", "Rack", "RemoteMachine", "performers", "rehearsers"]


@dataclass(frozen=True, slots=True)
class Rack:
    """Everything that the steps act on; `None` for what this rack does not have.

    `battery` is what the battery gives at the moment, and what it must give before anything is started again.
    `scaled` are the workloads that are scaled to zero before a drain, and back after it.
    `going_off` is what is known of machines that were asked to power off, `nas_users` what the drains leave on the NAS,
    `mounts` where the NAS is mounted besides.
    `load` is what the UPS says that it delivers, `watts` what each machine draws.
    """

    emit: Callable[[Event], None]
    outlets: Outlets
    outlet_off_delay_s: int
    outlet_restore_delay_min: int
    local_host: LocalHost
    machines: Mapping[str, RemoteMachine]
    cluster: Cluster | None = None
    scaled: tuple[Workload, ...] = ()
    drain: DrainRules = field(default_factory=DrainRules)
    storage: Storage | None = None
    datastore: Datastore | None = None
    battery: Callable[[], BatteryLevel] = lambda: AMPLE
    workloads: WorkloadMemory = field(default_factory=WorkloadMemory)
    going_off: GoingOff = field(default_factory=GoingOff)
    date: Callable[[], datetime] = lambda: datetime.now(UTC)
    nas_users: NasUsers = field(default_factory=NasUsers)
    mounts: MountMemory = field(default_factory=MountMemory)
    load: Callable[[], OutputLoad | None] = lambda: None
    watts: Mapping[str, float] = field(default_factory=dict)

    def recall(self, unfinished: Unfinished, boot_id: str) -> None:
        """Know what an earlier run of the daemon knew; of machines and pods only what it has seen in this boot."""
        self.workloads.before, self.mounts.others = unfinished.workloads, unfinished.mounts
        if unfinished.boot_id == boot_id:
            self.going_off.recall(unfinished)
            self.nas_users.recall(unfinished)

    def forget(self) -> None:
        """Let the next outage find out anew what this one knew."""
        self.workloads.forget()
        self.mounts.forget()
        self.nas_users.forget()


def performers(rack: Rack) -> dict[StepKind, Performer]:
    """Who does each kind of step in this rack."""
    evidence = _evidence(rack)
    table: dict[StepKind, Performer] = {
        StepKind.ANNOUNCE: Announce(rack.emit),
        StepKind.POWEROFF: Poweroff(rack.machines, rack.going_off, evidence, rack.emit),
        StepKind.CONFIRM_OFF: ConfirmOff(rack.machines, rack.going_off, evidence),
        StepKind.LAST_LOOK: LastLook(rack.machines, rack.going_off),
        StepKind.OUTLET_CYCLE: OutletCycle(rack.outlets, rack.outlet_off_delay_s, rack.outlet_restore_delay_min),
        StepKind.HOST_POWEROFF: HostPoweroff(rack.local_host),
        StepKind.WAIT_BATTERY: WaitBattery(rack.battery, rack.emit),
        StepKind.WAIT_HOST: WaitHost(rack.machines, rack.going_off.asked),
    }
    if rack.cluster:
        table[StepKind.CORDON] = Cordon(rack.cluster, rack.workloads, rack.scaled)
        table[StepKind.DRAIN] = Drain(rack.cluster, rack.drain, rack.nas_users)
        table[StepKind.UNCORDON] = Uncordon(rack.cluster, rack.scaled)
        table[StepKind.WAIT_QUORUM] = WaitQuorum(rack.cluster)
        table[StepKind.WAIT_READY] = WaitReady(rack.cluster)
        table[StepKind.WORKLOADS] = AwaitWorkloads(rack.cluster, rack.workloads, rack.date)
    if rack.storage:
        table[StepKind.UNMOUNT] = Unmount(rack.storage, rack.mounts)
        table[StepKind.FLUSH] = Flush(rack.storage, rack.emit, rack.nas_users)
        table[StepKind.WAIT_STORAGE] = WaitStorage(rack.storage, rack.mounts)
    if rack.datastore:
        table[StepKind.SNAPSHOT] = Snapshot(rack.datastore)
        table[StepKind.STOP] = StopServer(rack.datastore)
        table[StepKind.START] = StartServer(rack.datastore)
    return table


def rehearsers(rack: Rack) -> dict[StepKind, Performer]:
    """Who proves each kind of step of the shutdown in this rack, with the same rights and without harm."""
    table: dict[StepKind, Performer] = {
        StepKind.ANNOUNCE: RehearseAnnounce(rack.emit),
        StepKind.POWEROFF: RehearsePoweroff(rack.machines),
        StepKind.CONFIRM_OFF: RehearseConfirmOff(rack.machines, _evidence(rack)),
        StepKind.LAST_LOOK: RehearseLastLook(rack.machines),
        StepKind.OUTLET_CYCLE: RehearseOutletCycle(rack.outlets),
        StepKind.HOST_POWEROFF: RehearseHostPoweroff(rack.local_host),
    }
    if rack.cluster:
        cluster = rack.cluster.rehearsed()
        table[StepKind.CORDON] = RehearseCordon(cluster, rack.scaled)
        table[StepKind.DRAIN] = RehearseDrain(cluster, rack.drain)
    if rack.storage:
        table[StepKind.UNMOUNT] = RehearseUnmount(rack.storage)
        table[StepKind.FLUSH] = Flush(rack.storage.rehearsed(), rack.emit)
    if rack.datastore:
        table[StepKind.SNAPSHOT] = RehearseSnapshot(rack.datastore)
        table[StepKind.STOP] = RehearseStopServer(rack.datastore)
    return table


def _evidence(rack: Rack) -> OffEvidence:
    return OffEvidence(rack.going_off, rack.cluster, rack.load, rack.watts)
