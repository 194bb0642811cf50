"""What is legal in settings but unwise, in sentences that say what to do about it."""

from __future__ import annotations

import ipaddress
import stat
from typing import TYPE_CHECKING

from upsd.shutdown.plan import FORCED_S
from upsd.shutdown.tiers import LONGEST_SURE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from upsd.settings import MqttSettings, Settings
    from upsd.settings_kubernetes import KubernetesSettings

NOMINAL_W = 480
"""What the iPlug 800 can feed."""

_LONGEST_DEBOUNCE_S = 30
_SLOW_ANSWER_S = 2
_SPARE_TO_HALT_S = 30


def advise(settings: Settings, *, file_mode: int | None = None) -> tuple[str, ...]:
    """One sentence for each unwise choice; `file_mode` is the mode of the settings file, if it is known."""
    return (
        *_about_starting(settings),
        *_about_power(settings),
        *_about_the_rack(settings),
        *_about_the_servers(settings),
        *(_about_the_drain(settings.kubernetes) if settings.kubernetes else ()),
        *_about_shedding(settings),
        *(_about_the_broker(settings.mqtt, file_mode) if settings.mqtt else ()),
    )


def _about_starting(settings: Settings) -> Iterator[str]:
    shutdown, power = settings.shutdown, settings.power
    reckoned = shutdown.auto or shutdown.on_battery is not None or shutdown.runtime is not None
    told = shutdown.battery_low or shutdown.shutdown_imminent or shutdown.charge_percent is not None
    if not reckoned and not told:
        yield "shutdown: nothing ever starts a shutdown; set auto = true, or at least battery_low = true"
    elif not reckoned:
        yield "shutdown: only what the UPS says of itself starts a shutdown, which may be too late; set auto = true"
    if power.debounce > _LONGEST_DEBOUNCE_S:
        yield f"power.debounce: an outage stays unnoticed for {power.debounce:g} s; set {_LONGEST_DEBOUNCE_S} s or less"
    if power.silence < settings.ups.poll_interval + _SLOW_ANSWER_S:
        least = f"set at least {_SLOW_ANSWER_S} s more than ups.poll_interval"
        yield f"power.silence: one slow answer counts as lost communication; {least}"
    if shutdown.on_battery is not None and shutdown.on_battery <= power.debounce:
        yield "shutdown.on_battery: a flicker can start a shutdown; set it longer than power.debounce"


def _about_power(settings: Settings) -> Iterator[str]:
    for machine in settings.machines:
        if machine.watts == 0:
            yield f"{machine.name}: draws 0 W, so the battery seems to last longer than it does; set its watts"
    total = sum(machine.watts for machine in settings.machines)
    if total > NOMINAL_W:
        yield f"watts: {total:g} W in all is more than the UPS's {NOMINAL_W} W; check them, or unplug a machine"
    if settings.battery.health == 1:
        yield "battery.health: 1.0 is a battery fresh from the factory; set 0.7 unless it was measured"
    off_after, needed = settings.ups.outlet_off_delay, settings.master.poweroff_expected + _SPARE_TO_HALT_S
    if off_after < needed:
        yield (
            f"ups.outlet_off_delay: the outlets may go off before the master has halted; set {needed:g} s or more,"
            f" {_SPARE_TO_HALT_S} s above master.poweroff_expected"
        )


def _about_the_rack(settings: Settings) -> Iterator[str]:
    if not settings.workers:
        yield "workers: there are none, so only the master is powered off; add a [[workers]] table for each"
    if settings.kubernetes is None:
        yield "kubernetes: without it no node is cordoned or drained; add a [kubernetes] table"
    for worker in settings.workers:
        if worker.poweroff_limit < worker.poweroff_expected:
            yield f"{worker.name}: poweroff_limit is below poweroff_expected; raise it, to give it time to end"
    if settings.nas and settings.nas.poweroff_command is None:
        yield f"{settings.nas.name}: it loses power while it runs; set its host and poweroff_command"


def _about_the_servers(settings: Settings) -> Iterator[str]:
    servers, datastore = settings.servers, settings.datastore
    if servers % 2 == 0:
        yield (
            f"workers: with {servers} k3s servers (the master included) no more may fail than with {servers - 1}; make"
            " it an odd number"
        )
    if servers > 1 and datastore and datastore.kind == "sqlite":
        yield 'datastore.kind: several k3s servers do not use SQLite; set kind = "etcd"'


def _about_the_drain(kubernetes: KubernetesSettings) -> Iterator[str]:
    needed_s = len(kubernetes.tiers) * LONGEST_SURE_S + kubernetes.delete_grace + FORCED_S
    if kubernetes.tiers and kubernetes.drain_limit < needed_s:
        yield (
            f"kubernetes.tiers: there is no time for {len(kubernetes.tiers)} tiers, so all workloads end at once; set"
            f" drain_limit to {needed_s:g} s or more"
        )


def _about_shedding(settings: Settings) -> Iterator[str]:
    asleep = {worker.name for worker in settings.workers if worker.mac is None}
    for group in settings.shedding:
        for name in group.workers:
            if name in asleep:
                yield (
                    f"shedding {group.name}: {name} can be shed but not woken: after a short outage it stays off until"
                    " somebody switches it on; set its mac, or take it out of the group"
                )
        if group.on_battery is not None and group.on_battery <= settings.power.debounce:
            yield f"shedding {group.name}: a flicker can power it off; set on_battery longer than power.debounce"


def _about_the_broker(mqtt: MqttSettings, file_mode: int | None) -> Iterator[str]:
    if not mqtt.tls and not _is_local(mqtt.host):
        yield f"mqtt.tls: {mqtt.host} is another machine and anyone between can read along; set tls = true"
    if mqtt.username and mqtt.password is None:
        yield "mqtt.username: there is no password for it; set password_file"
    if mqtt.password is not None and mqtt.password_file is None:
        yield "mqtt.password: it stands in the open; put it into a file of its own and set password_file"
        if file_mode is not None and file_mode & stat.S_IROTH:
            yield "mqtt.password: everyone on this machine may read it; run chmod 0640 on the settings file"
    if mqtt.ca_file is not None and not mqtt.tls:
        yield "mqtt.ca_file: it is not used without TLS; set tls = true"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
