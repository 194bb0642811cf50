"""One file for each kind of step, and the tables that say who does what, and who proves it in a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepKind
from upsd.shutdown.floor import AMPLE
from upsd.shutdown.steps.announce import Announce, RehearseAnnounce
from upsd.shutdown.steps.confirm_off import ConfirmOff, RehearseConfirmOff
from upsd.shutdown.steps.cordon import Cordon, RehearseCordon, Uncordon, WaitReady
from upsd.shutdown.steps.datastore import RehearseSnapshot, RehearseStopServer, Snapshot, StartServer, StopServer
from upsd.shutdown.steps.drain import Drain, RehearseDrain
from upsd.shutdown.steps.host_poweroff import HostPoweroff, RehearseHostPoweroff
from upsd.shutdown.steps.last_look import LastLook, RehearseLastLook
from upsd.shutdown.steps.outlet_cycle import OutletCycle, RehearseOutletCycle
from upsd.shutdown.steps.poweroff import GoingOff, Poweroff, RehearsePoweroff, RemoteMachine
from upsd.shutdown.steps.storage import Flush, RehearseUnmount, Unmount, WaitStorage
from upsd.shutdown.steps.wait_battery import WaitBattery
from upsd.shutdown.steps.wait_host import WaitHost
from upsd.shutdown.steps.workloads import AwaitWorkloads
from upsd.shutdown.workloads import WorkloadMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Event
    from upsd.domain.rack import Cluster, Datastore, LocalHost, Outlets, Storage
    from upsd.shutdown.engine import Performer
    from upsd.shutdown.floor import BatteryLevel

__all__ = ["GoingOff", "Rack", "RemoteMachine", "performers", "rehearsers"]


@dataclass(frozen=True, slots=True)
class Rack:
    """Everything that the steps act on; `None` for what this rack does not have.

    `battery` is what the battery gives at the moment, and what it must give before anything is started again.
    `going_off` is what is known of machines that were asked to power off.
    """

    emit: Callable[[Event], None]
    outlets: Outlets
    outlet_off_delay_s: int
    outlet_restore_delay_min: int
    local_host: LocalHost
    machines: Mapping[str, RemoteMachine]
    cluster: Cluster | None = None
    delete_grace_s: int = 5
    storage: Storage | None = None
    datastore: Datastore | None = None
    battery: Callable[[], BatteryLevel] = lambda: AMPLE
    workloads: WorkloadMemory = field(default_factory=WorkloadMemory)
    going_off: GoingOff = field(default_factory=GoingOff)


def performers(rack: Rack) -> dict[StepKind, Performer]:
    """Who does each kind of step in this rack."""
    table: dict[StepKind, Performer] = {
        StepKind.ANNOUNCE: Announce(rack.emit),
        StepKind.POWEROFF: Poweroff(rack.machines, rack.going_off),
        StepKind.CONFIRM_OFF: ConfirmOff(rack.machines, rack.going_off),
        StepKind.LAST_LOOK: LastLook(rack.machines, rack.going_off),
        StepKind.OUTLET_CYCLE: OutletCycle(rack.outlets, rack.outlet_off_delay_s, rack.outlet_restore_delay_min),
        StepKind.HOST_POWEROFF: HostPoweroff(rack.local_host),
        StepKind.WAIT_BATTERY: WaitBattery(rack.battery, rack.emit),
        StepKind.WAIT_HOST: WaitHost(rack.machines, rack.going_off.asked),
    }
    if rack.cluster:
        table[StepKind.CORDON] = Cordon(rack.cluster, rack.workloads)
        table[StepKind.DRAIN] = Drain(rack.cluster, rack.delete_grace_s)
        table[StepKind.UNCORDON] = Uncordon(rack.cluster)
        table[StepKind.WAIT_READY] = WaitReady(rack.cluster)
        table[StepKind.WORKLOADS] = AwaitWorkloads(rack.cluster, rack.workloads)
    if rack.storage:
        table[StepKind.UNMOUNT] = Unmount(rack.storage)
        table[StepKind.FLUSH] = Flush(rack.storage, rack.emit)
        table[StepKind.WAIT_STORAGE] = WaitStorage(rack.storage)
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
        StepKind.CONFIRM_OFF: RehearseConfirmOff(rack.machines),
        StepKind.LAST_LOOK: RehearseLastLook(rack.machines),
        StepKind.OUTLET_CYCLE: RehearseOutletCycle(rack.outlets),
        StepKind.HOST_POWEROFF: RehearseHostPoweroff(rack.local_host),
    }
    if rack.cluster:
        cluster = rack.cluster.rehearsed()
        table[StepKind.CORDON] = RehearseCordon(cluster)
        table[StepKind.DRAIN] = RehearseDrain(cluster, rack.delete_grace_s)
    if rack.storage:
        table[StepKind.UNMOUNT] = RehearseUnmount(rack.storage)
        table[StepKind.FLUSH] = Flush(rack.storage.rehearsed(), rack.emit)
    if rack.datastore:
        table[StepKind.SNAPSHOT] = RehearseSnapshot(rack.datastore)
        table[StepKind.STOP] = RehearseStopServer(rack.datastore)
    return table
