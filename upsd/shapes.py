"""From settings to what the decisions go by: the shape of the rack, the rules, the battery. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from upsd.domain.plan import StepKind
from upsd.power import PowerRules
from upsd.readiness import ReadinessRules
from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, RecoveryShape, StorageShape
from upsd.shutdown.shedding import ShedGroup
from upsd.shutdown.trigger import TriggerRules
from upsd.supervisor import SupervisorRules
from upsd.ups.battery.facts import BatteryFacts

if TYPE_CHECKING:
    from upsd.domain.plan import Plan, Step
    from upsd.domain.power import UpsIdentity
    from upsd.settings import KubernetesSettings, NasSettings, Settings
    from upsd.settings_datastore import DatastoreSettings
    from upsd.ups.profile import DeviceProfile

# What the smallest UPS of the kind holds, until it says more.
_FALLBACK_V = 12.0
_FALLBACK_AH = 7.0
_MASTER_ASKED_TIMES = 3
# How long a small UPS is trusted to last once it has said that its battery is low; nobody documents it.
_AFTER_LOW_S = 120.0
_SURE_SHARE = 0.7


def rack_shape(settings: Settings) -> RackShape:
    """What the plan is made from."""
    master = settings.master
    return RackShape(
        master=HostShape(master.name, master.poweroff_expected, _MASTER_ASKED_TIMES * master.poweroff_expected),
        workers=tuple(
            HostShape(
                worker.name,
                worker.poweroff_expected,
                worker.poweroff_limit,
                wakes=worker.mac is not None,
                server=worker.role == "server",
            )
            for worker in settings.workers
        ),
        cluster=_cluster_shape(settings.kubernetes) if settings.kubernetes else None,
        storage=_storage_shape(settings.nas) if settings.nas else None,
        datastore=_datastore_shape(settings.datastore) if settings.datastore else None,
        outlet_off_delay_s=settings.ups.outlet_off_delay,
        recovery=RecoveryShape(
            boot_s=settings.recovery.boot_expected,
            boot_limit_s=settings.recovery.boot_limit,
            battery_limit_s=settings.recovery.battery_limit,
            workloads_limit_s=settings.recovery.workloads_limit,
        ),
    )


def supervisor_rules(settings: Settings) -> SupervisorRules:
    """What the decisions go by."""
    return SupervisorRules(
        ups=settings.ups.name,
        power=PowerRules(debounce_s=settings.power.debounce, silence_s=settings.power.silence),
        trigger=TriggerRules(
            auto=settings.shutdown.auto,
            margin_s=settings.shutdown.margin,
            reserve_s=settings.battery.reserve,
            on_battery_s=settings.shutdown.on_battery,
            charge_percent=settings.shutdown.charge_percent,
            runtime_s=settings.shutdown.runtime,
            silence_s=settings.shutdown.silence,
            battery_low=settings.shutdown.battery_low,
            shutdown_imminent=settings.shutdown.shutdown_imminent,
        ),
        watts={machine.name: machine.watts for machine in settings.machines},
        shedding=tuple(
            ShedGroup(
                name=group.name,
                workers=tuple(group.workers),
                on_battery_s=group.on_battery,
                runtime_s=group.runtime,
            )
            for group in settings.shedding
        ),
    )


def readiness_rules(settings: Settings) -> ReadinessRules:
    """How long a proof counts, and when the next one is due."""
    rehearsal = settings.rehearsal
    return ReadinessRules(rehearsal.valid_for, rehearsal.every if rehearsal.automatic else None)


def battery_facts(
    settings: Settings, identity: UpsIdentity | None, profile: DeviceProfile | None = None
) -> BatteryFacts:
    """What is known of the battery: from the settings, else from the UPS, else the smallest there is.

    How long it lasts once it is low is known only if a bench test has measured it.
    """
    told = settings.battery
    voltage_v = told.voltage_v or (identity and identity.battery_voltage_v) or _FALLBACK_V
    capacity_ah = told.capacity_ah or (identity and identity.battery_capacity_ah) or _FALLBACK_AH
    measured_s = profile.low_to_off_s if profile else None
    return BatteryFacts(
        voltage_v=voltage_v,
        capacity_ah=capacity_ah,
        health=told.health,
        inverter_efficiency=told.inverter_efficiency,
        inverter_idle_w=told.inverter_idle_w,
        # The load of the bench was another one, so what was measured can only shorten it.
        after_low_s=_AFTER_LOW_S if measured_s is None else min(_AFTER_LOW_S, _SURE_SHARE * measured_s),
        low_v=profile.low_battery_v if profile else None,
    )


def step_fingerprints(settings: Settings, plan: Plan) -> dict[str, str]:
    """Of each step of the plan, what changes if anything that it acts on or with is set to something else."""
    ssh = {"key_file": settings.ssh.key_file, "known_hosts_file": settings.ssh.known_hosts_file}
    machines: dict[str, object] = {
        worker.name: (worker.host, worker.port, worker.user, worker.poweroff_command, ssh)
        for worker in settings.workers
    }
    nas, ups = settings.nas, settings.ups
    if nas:
        machines[nas.name] = (nas.host, nas.port, nas.user, nas.poweroff_command, ssh)
    mounted = nas and (nas.mount, nas.host, nas.unmount_command)
    datastore = settings.datastore
    cluster = settings.kubernetes and (settings.kubernetes.kubeconfig, *settings.kubernetes.servers)
    outlets = (ups.port, ups.serial, ups.model, ups.protocol, ups.ident, ups.outlet_off_delay, ups.outlet_restore_delay)

    def acts_on(step: Step) -> object:
        match step.kind:
            case StepKind.POWEROFF | StepKind.CONFIRM_OFF:
                return machines[step.target]
            case StepKind.LAST_LOOK:
                return machines
            case StepKind.CORDON:
                return cluster, settings.kubernetes and settings.kubernetes.scale_to_zero
            case StepKind.DRAIN:
                return cluster
            case StepKind.SNAPSHOT:
                return datastore and (datastore.kind, datastore.path, datastore.directory)
            case StepKind.STOP:
                return datastore and datastore.stop_unit
            case StepKind.UNMOUNT:
                return mounted
            case StepKind.FLUSH:
                return mounted, nas and (nas.host, nas.port, nas.user, nas.flush_command, ssh)
            case StepKind.OUTLET_CYCLE:
                return outlets
            case StepKind.HOST_POWEROFF:
                return settings.master.poweroff_command
        return None

    return {step.id: sha256(repr(acts_on(step)).encode()).hexdigest()[:12] for step in plan.steps}


def _cluster_shape(kubernetes: KubernetesSettings) -> ClusterShape:
    return ClusterShape(
        cordon_s=kubernetes.cordon_expected,
        drain_s=kubernetes.drain_expected,
        drain_limit_s=kubernetes.drain_limit,
        delete_grace_s=kubernetes.delete_grace,
        ready_limit_s=kubernetes.ready_limit,
    )


def _datastore_shape(datastore: DatastoreSettings) -> DatastoreShape:
    stops = datastore.stop_unit is not None
    return DatastoreShape(datastore.snapshot_expected, datastore.snapshot_limit, stops)


def _storage_shape(nas: NasSettings) -> StorageShape:
    host = HostShape(nas.name, nas.poweroff_expected, nas.poweroff_limit) if nas.poweroff_command else None
    return StorageShape(nas.name, nas.flush_expected, nas.flush_limit, host)
