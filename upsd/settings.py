"""One TOML file, the environment and credentials, as one validated object.

`config/upsd.toml` explains each key to the person who writes it; here stand the types, limits and defaults.
Durations are seconds; people may write them as `90s`, `5min`, `1h` or `500ms`.
"""

from __future__ import annotations

from datetime import date  # pydantic reads it
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from upsd.domain.quorum import quorum, spare
from upsd.settings_datastore import DatastoreSettings
from upsd.settings_kubernetes import KubernetesSettings
from upsd.settings_problems import EXIT_CONFIG, SettingsError, problems_of
from upsd.settings_source import collect, read_secret
from upsd.settings_types import (
    AbsolutePath,
    Command,
    Duration,
    Host,
    Ipv4,
    MacAddress,
    MachineName,
    Percent,
    Port,
    Positive,
    Section,
    Share,
    Text,
    Topic,
    TopicPart,
    UpsPort,
    Watts,
    WholeMinutes,
    WholeSeconds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EXIT_CONFIG",
    "BatterySettings",
    "ControlSettings",
    "KubernetesSettings",
    "LoadSettings",
    "LogSettings",
    "Machine",
    "MasterSettings",
    "MqttSettings",
    "NasSettings",
    "PowerSettings",
    "RecoverySettings",
    "RehearsalSettings",
    "Settings",
    "SettingsError",
    "SheddingSettings",
    "ShutdownSettings",
    "SshSettings",
    "UpsSettings",
    "WorkerSettings",
    "load_settings",
]

_Value = TypeVar("_Value")


class UpsSettings(Section):
    """The UPS and its cable. The outlet delays are what its protocol counts in: seconds, and minutes."""

    name: TopicPart = "iplug"  # part of MQTT topics
    port: UpsPort = "usb"
    serial: Text | None = Field(default=None, examples=["HM27VA770140017"])  # which of several UPSes
    model: Text | None = Field(default=None, examples=["USV5"])  # which of several UPSes
    protocol: Literal["auto", "gpser", "sentr"] = "auto"
    ident: Annotated[int, Field(ge=0, le=7)] = 0  # of a SENTR machine
    backend: Text | None = Field(default=None, examples=["package.module"])  # a pyusb backend with get_backend()
    poll_interval: Duration = 0.5
    outlet_off_delay: WholeSeconds = 180.0
    outlet_restore_delay: WholeMinutes = 60.0

    @field_validator("serial", "model")
    @classmethod
    def _is_what_the_ups_says(cls, text: str | None) -> str | None:
        return text and text.strip()


class PowerSettings(Section):
    """When a reading counts as an event."""

    debounce: Duration = 3.0
    silence: Duration = 2.5


class BatterySettings(Section):
    """What the runtime model needs to know."""

    voltage_v: Positive | None = Field(default=None, examples=[12])  # None: what the UPS says
    capacity_ah: Positive | None = Field(default=None, examples=[7])  # None: what the UPS says
    inverter_efficiency: Share = 0.8
    inverter_idle_w: Watts = 10.0
    health: Share = 0.7  # share of the nominal capacity that is still there, until it has shown it
    installed: date | None = Field(default=None, examples=["2024-05-01"])  # None: not known
    reserve: Duration = 60.0


class ShutdownSettings(Section):
    """What starts the shutdown."""

    auto: bool = True
    margin: Duration = 60.0
    on_battery: Duration | None = Field(default=None, examples=["5min"])
    charge_percent: Percent | None = Field(default=None, examples=[30])  # only where the UPS reports a charge
    runtime: Duration | None = Field(default=None, examples=["10min"])
    silence: Duration | None = Field(default=None, examples=["30s"])  # of the UPS, on battery
    battery_low: bool = True
    shutdown_imminent: bool = True


class SheddingSettings(Section):
    """A group of workers that goes off early, so that the battery lasts longer for the rest."""

    name: MachineName = Field(examples=["extras"])
    workers: Annotated[list[MachineName], Field(min_length=1)] = Field(examples=[["pi3", "bananapi"]])
    on_battery: Duration | None = Field(default=None, examples=["2min"])
    runtime: Duration | None = Field(default=None, examples=["15min"], validate_default=True)

    @field_validator("runtime")
    @classmethod
    def _ever_goes(cls, runtime: float | None, info: ValidationInfo) -> float | None:
        if runtime is None and info.data.get("on_battery", 0.0) is None:
            raise ValueError("is missing, and on_battery is too; set one of them, or the group never goes off")
        return runtime


class RecoverySettings(Section):
    """How everything is brought back."""

    battery_limit: Duration = 3600.0  # then it goes on with a battery that is still too weak
    boot_expected: Duration = 60.0
    boot_limit: Duration = 300.0
    workloads_limit: Duration = 300.0
    wake_address: Ipv4 = "255.255.255.255"


class MasterSettings(Section):
    """The machine that upsd runs on."""

    name: MachineName = Field(examples=["k3s-master"])  # its Kubernetes node name
    watts: Watts = Field(examples=[25])
    poweroff_command: Command = Field(default=["systemctl", "poweroff"])
    poweroff_expected: Duration = 40.0


class RehearsalSettings(Section):
    """How the shutdown is proven without harm."""

    automatic: bool = True
    every: Duration = 7 * 86400.0
    valid_for: Duration = 30 * 86400.0


class SshSettings(Section):
    """How the other machines are reached."""

    key_file: Path = Path("/var/lib/upsd/ssh_key")  # or credential upsd_ssh_key
    known_hosts_file: Path = Path("/etc/upsd/known_hosts")
    connect_timeout: Duration = 5.0


def _not_the_power_off(command: str | None, info: ValidationInfo) -> str | None:
    if command is not None and command == info.data.get("poweroff_command"):
        raise ValueError("is the power-off itself, which a rehearsal must never run; write sudo -n -l, or remove it")
    return command


class WorkerSettings(Section):
    """One worker node."""

    name: MachineName = Field(examples=["pi4-a"])  # its Kubernetes node name
    host: Host = Field(examples=["192.168.7.11"])
    port: Port = 22
    user: Text = "upsd"
    watts: Watts = Field(examples=[7])
    role: Literal["agent", "server"] = "agent"  # of k3s there
    poweroff_command: Text = "poweroff"  # to config/worker/upsd-worker
    rehearse_command: Text | None = Field(default=None, examples=["check"])  # None: derived
    poweroff_expected: Duration = 20.0
    poweroff_limit: Duration = 120.0
    mac: MacAddress | None = Field(default=None, examples=["dc:a6:32:01:02:03"])  # None: it can't be woken

    _rehearses_without_harm = field_validator("rehearse_command")(_not_the_power_off)


class NasSettings(Section):
    """The NAS."""

    name: MachineName = "nas"
    mount: AbsolutePath = Field(examples=["/mnt/nas"])  # where the master mounts it
    watts: Watts = Field(examples=[18])
    flush_expected: Duration = 5.0
    flush_limit: Duration = 60.0
    unmount_command: Command | None = Field(default=None, examples=[["umount", "/mnt/nas"]])  # None: systemctl stop
    mount_command: Command | None = Field(default=None, examples=[["mount", "/mnt/nas"]])  # None: systemctl start
    host: Host | None = Field(default=None, examples=["192.168.7.20"])  # None: not reached over SSH
    port: Port = 22
    user: Text = "upsd"
    flush_command: Text | None = Field(default=None, examples=["sync"])  # None: measured, by a script of ours
    poweroff_command: Text | None = Field(default=None, examples=["sudo -n systemctl poweroff"])  # None: left running
    rehearse_command: Text | None = Field(default=None, examples=["sudo -n -l systemctl poweroff"])  # None: derived
    poweroff_expected: Duration = 40.0
    poweroff_limit: Duration = 120.0
    mac: MacAddress | None = Field(default=None, examples=["dc:a6:32:01:02:14"])  # None: it can't be woken

    _rehearses_without_harm = field_validator("rehearse_command")(_not_the_power_off)

    @field_validator("poweroff_command")
    @classmethod
    def _has_a_host(cls, command: str | None, info: ValidationInfo) -> str | None:
        if command is not None and info.data.get("host", "") is None:
            raise ValueError("needs to know where to run; add host, the address of the NAS")
        return command

    @field_validator("mac")
    @classmethod
    def _goes_off_first(cls, mac: str | None, info: ValidationInfo) -> str | None:
        if mac is not None and info.data.get("poweroff_command", "") is None:
            raise ValueError("is of no use for a NAS that upsd does not power off; add poweroff_command")
        return mac


class LoadSettings(Section):
    """What else hangs on the UPS: a switch, a router."""

    name: MachineName = Field(examples=["switch"])
    watts: Watts = Field(examples=[8])


Machine = MasterSettings | WorkerSettings | NasSettings | LoadSettings
"""What hangs on the UPS and draws power."""


class MqttSettings(Section):
    """The broker. After `load_settings`, `password` is there wherever it was written."""

    host: Host = Field(examples=["192.168.7.2"])
    tls: bool = False
    port: Port = Field(default_factory=lambda data: 8883 if data["tls"] else 1883)
    username: Text | None = Field(default=None, examples=["upsd"])
    password: SecretStr | None = None  # better: password_file, or credential upsd_mqtt_password
    password_file: Path | None = Field(default=None, examples=["/etc/upsd/mqtt_password"])
    ca_file: Path | None = Field(default=None, examples=["/etc/upsd/mqtt_ca.pem"])
    prefix: Topic = "upsd"

    @field_validator("password_file")
    @classmethod
    def _is_the_only_password(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and info.data.get("password") is not None:
            raise ValueError("password is given as well; keep only one of them, best password_file")
        return path


class ControlSettings(Section):
    """The socket that upsctl talks to."""

    socket: Path = Path("/run/upsd/control.sock")
    operators: Text | None = Field(default=None, examples=["upsd-operators"])  # a group, beside root


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(BaseSettings):
    """All settings of the daemon."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, case_sensitive=True)

    state_directory: AbsolutePath = Path("/var/lib/upsd")
    ups: UpsSettings = UpsSettings()
    power: PowerSettings = PowerSettings()
    battery: BatterySettings = BatterySettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    recovery: RecoverySettings = RecoverySettings()
    rehearsal: RehearsalSettings = RehearsalSettings()
    ssh: SshSettings = SshSettings()
    master: MasterSettings
    workers: tuple[WorkerSettings, ...] = ()
    nas: NasSettings | None = None
    loads: tuple[LoadSettings, ...] = ()
    shedding: tuple[SheddingSettings, ...] = ()
    kubernetes: KubernetesSettings | None = None
    datastore: DatastoreSettings | None = None
    mqtt: MqttSettings | None = None
    control: ControlSettings = ControlSettings()
    log: LogSettings = LogSettings()

    @property
    def servers(self) -> int:
        """How many k3s servers there are, the master's included."""
        return 1 + sum(worker.role == "server" for worker in self.workers)

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Everything that hangs on the UPS."""
        return tuple(machine for name in type(self).model_fields for _, machine in _machines(getattr(self, name)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is passed in: `load_settings` alone decides what is read, and from where."""
        return (init_settings,)

    @field_validator("master")
    @classmethod
    def _goes_off_before_its_outlet(cls, master: MasterSettings, info: ValidationInfo) -> MasterSettings:
        ups = info.data.get("ups")
        if ups and ups.outlet_off_delay < master.poweroff_expected:
            raise ValueError(
                f"takes {master.poweroff_expected:g} s to power off (poweroff_expected), but its power is cut after"
                f" {ups.outlet_off_delay:g} s (ups.outlet_off_delay); raise outlet_off_delay"
            )
        return master

    @field_validator("workers", "nas")
    @classmethod
    def _every_address_is_its_own(cls, value: _Value, info: ValidationInfo) -> _Value:
        others = info.data.get("workers", ()) if info.field_name == "nas" else ()
        taken = {(worker.host, worker.port): worker.name for worker in others}
        for _, machine in _machines(value):
            if not isinstance(machine, WorkerSettings | NasSettings) or machine.host is None:
                continue
            address = (machine.host, machine.port)
            if address in taken:
                raise ValueError(
                    f"{taken[address]} and {machine.name} have the same address {machine.host}:{machine.port};"
                    " give every machine its own"
                )
            taken[address] = machine.name
        return value

    @field_validator("workers", "nas", "loads")
    @classmethod
    def _every_name_is_its_own(cls, value: _Value, info: ValidationInfo) -> _Value:
        taken = {machine.name for other in info.data for _, machine in _machines(info.data[other])}
        twice: list[InitErrorDetails] = []
        for index, machine in _machines(value):
            if machine.name in taken:
                text = f'"{machine.name}" is named twice; give every machine its own name'
                wrong = PydanticCustomError("named_twice", text)
                twice.append(InitErrorDetails(type=wrong, loc=(*index, "name"), input=machine.name))
            taken.add(machine.name)
        if twice:
            raise ValidationError.from_exception_data(cls.__name__, twice)
        return value

    @field_validator("shedding")
    @classmethod
    def _sheds_each_worker_once(
        cls, groups: tuple[SheddingSettings, ...], info: ValidationInfo
    ) -> tuple[SheddingSettings, ...]:
        known = {worker.name for worker in info.data.get("workers", ())}
        taken: dict[str, str] = {}
        for group in groups:
            for name in group.workers:
                if "workers" in info.data and name not in known:
                    raise ValueError(f'"{name}" in group {group.name} is no worker; name one of the [[workers]]')
                if name in taken:
                    raise ValueError(f'"{name}" is in the groups {taken[name]} and {group.name}; keep one of them')
                taken[name] = group.name
        if len({group.name for group in groups}) < len(groups):
            raise ValueError("two groups have the same name; give every group its own")
        return groups

    @field_validator("shedding")
    @classmethod
    def _leaves_a_quorum(
        cls, groups: tuple[SheddingSettings, ...], info: ValidationInfo
    ) -> tuple[SheddingSettings, ...]:
        servers = [worker.name for worker in info.data.get("workers", ()) if worker.role == "server"]
        shed = [name for name in servers if any(name in group.workers for group in groups)]
        members = len(servers) + 1
        if len(shed) > spare(members):
            raise ValueError(
                f"{', '.join(shed)}: of {members} k3s servers (with the master) {quorum(members)} must stay on, or"
                f" there is no API; take {len(shed) - spare(members)} of them out of the groups"
            )
        return groups


def _machines(value: object) -> list[tuple[tuple[int, ...], Machine]]:
    """The machines in a field's value, each with its index if the field is a list."""
    match value:
        case MasterSettings() | WorkerSettings() | NasSettings() | LoadSettings():
            return [((), value)]
        case tuple():
            return [((index,), machine) for index, item in enumerate(value) for _, machine in _machines(item)]
        case _:
            return []


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings in the file at `path`, changed by `UPSD_*` variables, completed by systemd's credentials.

    Raises:
        SettingsError: Something is wrong; `problems` has one line for each thing.
    """
    sources = collect(Settings, path, environment)
    try:
        settings = Settings(**sources.values)
    except ValidationError as error:
        found = [f"{sources.place(key)}: {text}" for key, text in problems_of(error, Settings)]
        raise SettingsError(*sources.problems, *found) from None
    mqtt = settings.mqtt
    if mqtt and mqtt.password_file:
        try:
            password: dict[str, Any] = {"password": SecretStr(read_secret(mqtt.password_file))}
            settings = settings.model_copy(update={"mqtt": mqtt.model_copy(update=password)})
        except ValueError as error:
            sources.problems.append(f"{sources.place(('mqtt', 'password_file'))}: {error}")
    if sources.problems:
        raise SettingsError(*sources.problems)
    return settings
