"""From settings to the adapters that touch the rack and the broker. Nothing is connected here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.publish.mqtt import MqttPublisher, tls_context
from upsd.rack.host import ThisHost
from upsd.rack.kubernetes import KubernetesCluster
from upsd.rack.ssh import SshHost, SshIdentity
from upsd.rack.storage import MountedNas
from upsd.shutdown.steps import Rack, RemoteMachine
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.domain.power import Event
    from upsd.domain.rack import Cluster
    from upsd.settings import NasSettings, Settings, WorkerSettings
    from upsd.status import StatusBoard
    from upsd.ups.driver import UpsDriver


class UpsOutlets:
    """The outlets of the UPS behind a driver."""

    def __init__(self, driver: UpsDriver) -> None:
        self._driver = driver

    async def cycle(self, off_after_s: int, restore_after_min: int) -> None:
        """Switch them off after the delay, and on again that many minutes later."""
        try:
            await self._driver.cycle(off_after_s, restore_after_min)
        except UpsError as error:
            raise RackError(f"the outlet cycle was not scheduled: {error}") from error


def ssh_identity(settings: Settings) -> SshIdentity | None:
    """The key and the known hosts, if there is a machine to reach with them."""
    remote = settings.workers or (settings.nas and settings.nas.host)
    return SshIdentity(settings.ssh.key_file, settings.ssh.known_hosts_file) if remote else None


def cluster(settings: Settings) -> KubernetesCluster | None:
    """The Kubernetes API, if there is one."""
    kubernetes = settings.kubernetes
    return KubernetesCluster(kubernetes.kubeconfig, kubernetes.request_timeout) if kubernetes else None


def rack(
    settings: Settings,
    *,
    emit: Callable[[Event], None],
    driver: UpsDriver,
    cluster: Cluster | None,
    identity: SshIdentity | None,
) -> Rack:
    """Everything that the steps act on."""
    machines = {
        worker.name: RemoteMachine(_host(worker, settings, identity), worker.poweroff_command)
        for worker in settings.workers
    }
    nas = settings.nas
    if nas and nas.poweroff_command:
        machines[nas.name] = RemoteMachine(_host(nas, settings, identity), nas.poweroff_command)
    return Rack(
        emit=emit,
        outlets=UpsOutlets(driver),
        outlet_off_delay_s=round(settings.ups.outlet_off_delay),
        outlet_restore_delay_min=round(settings.ups.outlet_restore_delay / 60),
        local_host=ThisHost(settings.master.poweroff_command),
        machines=machines,
        cluster=cluster,
        delete_grace_s=round(settings.kubernetes.delete_grace) if settings.kubernetes else 0,
        storage=_storage(nas, settings, identity) if nas else None,
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


def _storage(nas: NasSettings, settings: Settings, identity: SshIdentity | None) -> MountedNas:
    return MountedNas(
        mount_point=nas.mount,
        timeout_s=nas.flush_limit,
        mount_command=nas.mount_command,
        unmount_command=nas.unmount_command,
        # A `sync` whose line is cut has perhaps not ended.
        remote=_host(nas, settings, identity, cut_is_error=True) if nas.host else None,
        remote_flush_command=nas.flush_command,
    )


def _host(
    machine: WorkerSettings | NasSettings,
    settings: Settings,
    identity: SshIdentity | None,
    *,
    cut_is_error: bool = False,
) -> SshHost:
    if machine.host is None or identity is None:
        raise ValueError(f"{machine.name} is not reached over SSH")
    timeout_s = settings.ssh.connect_timeout
    return SshHost(
        machine.name, machine.host, machine.port, machine.user, identity, timeout_s, cut_is_error=cut_is_error
    )
