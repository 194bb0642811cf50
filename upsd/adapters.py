"""From settings to the adapters that touch the UPS, the rack and the broker. Nothing is connected here."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from upsd.domain.rack import Workload
from upsd.publish.mqtt import MqttPublisher, tls_context
from upsd.rack.datastore import UnitDatastore
from upsd.rack.host import ThisHost
from upsd.rack.kubernetes import KubernetesCluster
from upsd.rack.nas import RemoteNas
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_identity import SshIdentity
from upsd.rack.ssh_line import SshLine
from upsd.rack.storage import MountedNas
from upsd.rack.wake import WakeOnLan
from upsd.shutdown.steps import DrainRules, Rack, RemoteMachine
from upsd.shutdown.tiers import DEFAULT_TIERS, Tier
from upsd.ups.driver import Probe, UpsDriver
from upsd.ups.gpser_dialect import GpserDialect
from upsd.ups.pacing import PiecePause
from upsd.ups.selection import Selection, Wanted
from upsd.ups.sentr_dialect import SentrDialect
from upsd.ups.serial_port import SerialTransport
from upsd.ups.usb_port import UsbPort, UsbTransport, load_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Event, OutputLoad
    from upsd.domain.rack import Cluster, Outlets
    from upsd.settings import KubernetesSettings, NasSettings, Settings, UpsSettings, WorkerSettings
    from upsd.settings_datastore import DatastoreSettings
    from upsd.shutdown.floor import BatteryLevel
    from upsd.status import StatusBoard
    from upsd.ups.profile import DeviceProfile
    from upsd.ups.selection import Known
    from upsd.ups.transport import Transport

# How a UPS may speak, the likeliest first. The bridge of a USB cable manages no more than 1200 baud.
_USB_PROBES = (("gpser", 1200), ("sentr", 1200))
_SERIAL_PROBES = (
    ("gpser", 1200),
    ("sentr", 9600),
    ("gpser", 9600),
    ("sentr", 1200),
    ("sentr", 4800),
    ("sentr", 2400),
)


def ups_transport(ups: UpsSettings, profile: DeviceProfile | None) -> Transport:
    """The way to the UPS that `ups.port` names."""
    kind, _, path = ups.port.partition(":")
    if kind == "serial":
        return SerialTransport(path)
    proven_s = profile.packet_pause_s if profile else None
    return UsbTransport(
        UsbPort(
            load_backend=partial(load_backend, ups.backend),
            pause=PiecePause() if proven_s is None else PiecePause(shortest_s=proven_s),
            clock=time.monotonic,  # noqa: TID251  # the USB thread has no event loop to ask
            sleep=time.sleep,  # noqa: TID251  # it blocks on USB anyway
        )
    )


def ups_driver(
    ups: UpsSettings,
    transport: Transport,
    *,
    known: Known | None = None,
    remember: Callable[[Known], None] = lambda _: None,
    reports_load: Callable[[], bool] = lambda: False,
) -> UpsDriver:
    """What reads the UPS; nothing is opened yet."""
    kind, _, path = ups.port.partition(":")
    gpser, sentr = GpserDialect(reports_load), SentrDialect(ups.ident)
    probes = _SERIAL_PROBES if kind == "serial" else _USB_PROBES
    dialects = {dialect.name: dialect for dialect in (gpser, sentr) if ups.protocol in {"auto", dialect.name}}
    return UpsDriver(
        transport,
        probes=[Probe(dialects[name], baud) for name, baud in probes if name in dialects],
        selection=Selection(Wanted(path or None, ups.serial, ups.model), known),
        poll_interval_s=ups.poll_interval,
        remember=remember,
    )


def ssh_identity(settings: Settings) -> SshIdentity | None:
    """The key and the known hosts, if there is a machine to reach with them."""
    remote = settings.workers or (settings.nas and settings.nas.host)
    return SshIdentity(settings.ssh.key_file, settings.ssh.known_hosts_file) if remote else None


def ssh_hosts(settings: Settings, identity: SshIdentity | None) -> dict[str, SshHost]:
    """Each machine that is reached over SSH, by name; nothing is connected yet."""
    reached: list[WorkerSettings | NasSettings] = [*settings.workers, *([settings.nas] if settings.nas else [])]
    timeout_s = settings.ssh.connect_timeout
    return {
        machine.name: SshHost(SshLine(machine.name, machine.host, machine.port, machine.user, identity, timeout_s))
        for machine in reached
        if machine.host and identity
    }


def cluster(settings: Settings) -> KubernetesCluster | None:
    """The Kubernetes API, if there is one."""
    found = settings.kubernetes
    return KubernetesCluster(found.kubeconfig, found.request_timeout, found.servers) if found else None


def rack(
    settings: Settings,
    *,
    emit: Callable[[Event], None],
    outlets: Outlets,
    cluster: Cluster | None,
    hosts: Mapping[str, SshHost],
    battery: Callable[[], BatteryLevel],
    load: Callable[[], OutputLoad | None],
) -> Rack:
    """Everything that the steps act on."""

    def machine(found: WorkerSettings | NasSettings, poweroff_command: str) -> RemoteMachine:
        waker = WakeOnLan(found.mac, settings.recovery.wake_address) if found.mac else None
        return RemoteMachine(hosts[found.name], poweroff_command, waker, found.rehearse_command)

    machines = {worker.name: machine(worker, worker.poweroff_command) for worker in settings.workers}
    nas = settings.nas
    if nas and nas.poweroff_command:
        machines[nas.name] = machine(nas, nas.poweroff_command)
    return Rack(
        emit=emit,
        outlets=outlets,
        outlet_off_delay_s=round(settings.ups.outlet_off_delay),
        outlet_restore_delay_min=round(settings.ups.outlet_restore_delay / 60),
        local_host=ThisHost(settings.master.poweroff_command),
        machines=machines,
        cluster=cluster,
        scaled=tuple(_workload(text) for text in settings.kubernetes.scale_to_zero) if settings.kubernetes else (),
        drain=_drain_rules(settings.kubernetes, nas) if settings.kubernetes else DrainRules(),
        datastore=_datastore(settings.datastore) if settings.datastore else None,
        storage=_storage(nas, hosts.get(nas.name)) if nas else None,
        battery=battery,
        load=load,
        watts={found.name: found.watts for found in settings.machines},
    )


def _workload(text: str) -> Workload:
    kind, namespace, name = text.split("/")
    return Workload({"deployment": "Deployment", "statefulset": "StatefulSet"}[kind], namespace, name)


def _drain_rules(kubernetes: KubernetesSettings, nas: NasSettings | None) -> DrainRules:
    tiers = tuple(
        Tier(
            name=tier.name,
            namespaces=tier.namespaces,
            labels=tier.labels,
            priority_classes=tier.priority_classes,
            stateful_sets=tier.stateful_sets,
        )
        for tier in kubernetes.tiers
    )
    return DrainRules(
        delete_grace_s=max(1, round(kubernetes.delete_grace)),
        budget_patience_s=kubernetes.budget_patience,
        tiers=tiers or DEFAULT_TIERS,
        nas=(nas.host or "") if nas else None,
    )


def publisher(settings: Settings, board: StatusBoard) -> MqttPublisher | None:
    """The way to the broker, if there is one.

    Raises:
        PublishError: its CA file can't be read.
    """
    mqtt = settings.mqtt
    if mqtt is None:
        return None
    return MqttPublisher(
        board,
        host=mqtt.host,
        port=mqtt.port,
        prefix=mqtt.prefix,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        tls_context=tls_context(mqtt.ca_file) if mqtt.tls else None,
    )


def _datastore(datastore: DatastoreSettings) -> UnitDatastore:
    return UnitDatastore(timeout_s=datastore.snapshot_limit, stop_unit=datastore.stop_unit)


def _storage(nas: NasSettings, host: SshHost | None) -> MountedNas:
    return MountedNas(
        mount_point=nas.mount,
        timeout_s=nas.flush_limit,
        host=nas.host,
        mount_command=nas.mount_command,
        unmount_command=nas.unmount_command,
        # A `sync` whose line is cut has perhaps not ended.
        remote=RemoteNas(host.finishing(), nas.flush_command) if host else None,
        forced_is_safe=nas.rehearse_command is not None,
    )
