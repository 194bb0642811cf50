"""The real daemon in a simulated rack, seen from outside: over MQTT, with `upsctl`, and at the machines."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster
from hardware_sim.kubernetes.manifest import rights_of
from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from hardware_sim.rack import SimulatedRack
from tests.arming import arm
from tests.integration.brokers import Broker, until
from upsd.rack.kubernetes import CORDON_MARK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import trustme

    from hardware_sim.kubernetes.rbac import Rights
    from hardware_sim.machines import SimulatedMachine
    from tests.integration.brokers import Subscriber

DEADLINE_S: Final = 40.0
SMALL_BATTERY: Final = {"UPSD_BATTERY__CAPACITY_AH": "1.3", "UPSD_BATTERY__RESERVE": "1s"}
"""A battery that the daemon expects to carry the rack for just so long that everything that hangs can be forced.

Forced, the plan of a scene takes 36 s, and the reserve is 1 s. At the 76 W of its machines the model counts on 45 s
from the first reading of an outage on (26 s with 1.0 Ah, 60 s with 1.5 Ah): a quarter more than is needed, so that a
slow machine that runs the tests leaves no drain out, and yet far less than the plan's limits add up to, so that what
hangs is cut short. Later the figure only grows, since the simulated battery holds more than the label says.
"""

_SETTINGS: Final = """\
[ups]
backend = "hardware_sim.usb_backend"
poll_interval = "300ms"
outlet_off_delay = "8s"
[power]
debounce = "300ms"
silence = "2500ms"
[shutdown]
on_battery = "500ms"
[kubernetes]
kubeconfig = "{directory}/kubeconfig"
request_timeout = "1s"
drain_expected = "1s"
drain_limit = "8s"
delete_grace = "1s"
"""
_ENVIRONMENT: Final = {
    "UPSD_MASTER__POWEROFF_EXPECTED": "2s",
    "UPSD_NAS__FLUSH_LIMIT": "2s",
    "UPSD_SSH__CONNECT_TIMEOUT": "1s",
}
# So quick that a machine gets only the shortest time in which it may be seen to go off, a few seconds.
_MACHINE_PACE: Final = 0.02
ALL = {MASTER, *WORKERS}
_MANIFEST = Path(__file__).parents[2] / "config/k3s/upsd-rbac.yaml"


@dataclass(frozen=True)
class Moment:
    """What was true outside the daemon at the moment when a machine's state changed."""

    at: float
    machine: str
    state: MachineState
    pods: tuple[str, ...]
    """What still ran on the machine of what a drain ends."""
    on_disk: int
    unflushed: int
    outlets_scheduled: bool
    workers_on: tuple[str, ...]


@dataclass
class Scene:
    """A rack with its daemon, its broker and its subscriber."""

    rack: SimulatedRack
    broker: Broker
    subscriber: Subscriber
    environment: Mapping[str, str]
    moments: list[Moment] = field(default_factory=list)

    @property
    def every_event(self) -> list[dict[str, Any]]:
        """Every event that the subscriber has received."""
        return [json.loads(payload) for payload in self.subscriber.payloads("/event")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The same, but for the verdict on a rack that was never rehearsed, which comes some time after the start."""
        return [event for event in self.every_event if event["event_type"] != "readiness_changed"]

    @property
    def event_names(self) -> list[str]:
        """The names of the events, oldest first."""
        return [event["event_type"] for event in self.events]

    @property
    def state(self) -> dict[str, Any]:
        """The latest state on MQTT; empty before the first."""
        found: dict[str, Any] = json.loads(self._retained("/state"))
        return found

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """The steps of the latest shutdown document on MQTT, by id."""
        return {step["id"]: step for step in json.loads(self._retained("/shutdown")).get("steps", ())}

    async def start_daemon(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the daemon, or start it again; the variables change its settings further."""
        await self.rack.start_daemon({**_ENVIRONMENT, **self.environment, **(environment or {})})

    async def on_line(self) -> None:
        """Wait until the daemon has read the UPS."""
        daemon = self.rack.daemon
        assert daemon
        await until(lambda: self.state.get("power") == "on_line" or daemon.returncode is not None, DEADLINE_S)
        assert daemon.returncode is None, self.rack.daemon_log.read_text()

    async def heard(self, name: str, **fields: object) -> dict[str, Any]:
        """Wait for an event with these fields among its own; the first of them."""
        await until(lambda: self._find(name, fields), DEADLINE_S)
        return self._find(name, fields)[0]

    async def cut_mains(self) -> None:
        """Cut the mains and wait until the daemon has noticed."""
        self.rack.device.cut_mains()
        await self.heard("mains_lost")

    async def master_off(self) -> None:
        """Wait until the master has gone off; fails if the outlets were cut before that."""
        await until(lambda: self.rack.master.state is MachineState.OFF or self.rack.outlets_cut.is_set(), DEADLINE_S)
        assert self.rack.master.clean, "the outlets were cut while the master was running"
        assert self.rack.daemon
        async with asyncio.timeout(DEADLINE_S):
            await self.rack.daemon.wait()

    async def master_off_in_time(self) -> None:
        """Wait until the master has gone off, before even the pessimistic battery model says that it is too late."""
        await self.master_off()
        left_s = json.loads(self._retained("/state"))["runtime"]["low_s"]
        assert left_s > 0, "the battery has run out, by the model"

    async def says(self, text: str) -> None:
        """Wait until the retained topics say so, and see that `upsctl status` does."""
        await until(lambda: text in self._retained("/state") + self._retained("/shutdown"), DEADLINE_S)
        assert text in (await self.upsctl("status"))[1]

    def moment(self, machine: str, state: MachineState) -> Moment:
        """The first moment at which the machine entered the state."""
        return next(moment for moment in self.moments if (moment.machine, moment.state) == (machine, state))

    def cordoned(self) -> set[str]:
        """The nodes that are unschedulable."""
        return {node for node in (MASTER, *WORKERS) if self.rack.kubernetes.cluster.is_cordoned(node)}

    def marked(self) -> set[str]:
        """The nodes that carry our mark."""
        nodes = self.rack.kubernetes.cluster.store.items("nodes")
        return {node["metadata"]["name"] for node in nodes if CORDON_MARK in node["metadata"]["annotations"]}

    def journal(self) -> list[dict[str, Any]]:
        """The records of the daemon's journal."""
        lines = (self.rack.directory / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line]

    def outage(self) -> str:
        """The name that the journal gives the outage."""
        return next(str(record["outage"]) for record in self.journal() if record["record"] == "outage")

    async def report(self) -> dict[str, Any]:
        """The report of the outage that is over, once it is written, as `upsctl` shows it."""
        await self.heard("outage_report_written")
        status, text = await self.upsctl("outages", "show", "--json")
        assert status == 0, text
        assert not (self.rack.directory / "journal.jsonl").exists()
        found: dict[str, Any] = json.loads(text)
        return found

    async def upsctl(self, *arguments: str) -> tuple[int, str]:
        """The exit status of `upsctl`, and what it printed with every run of white space as one space."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "upsd.ctl.main", *arguments),
            *("--socket", str(self.rack.control_socket)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, " ".join(output.decode().split())

    def witness(self, machine: SimulatedMachine) -> None:
        """Note what is true now that the machine's state has changed."""
        rack = self.rack
        moment = Moment(
            at=asyncio.get_running_loop().time(),
            machine=machine.name,
            state=machine.state,
            pods=_pods(rack.kubernetes.cluster, machine.name),
            on_disk=rack.nas.on_disk,
            unflushed=rack.nas.unflushed,
            outlets_scheduled=rack.device.outlets.shutdown_at is not None,
            workers_on=tuple(name for name in WORKERS if rack.machines[name].state is not MachineState.OFF),
        )
        self.moments.append(moment)

    def _retained(self, ending: str) -> str:
        return next((m.payload for m in reversed(self.subscriber.messages) if m.topic.endswith(ending)), "{}")

    def _find(self, name: str, fields: Mapping[str, object]) -> list[dict[str, Any]]:
        return [
            event
            for event in self.every_event
            if event["event_type"] == name and fields.items() <= event["fields"].items()
        ]


@asynccontextmanager
async def scene(
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    cluster: SimulatedCluster | None = None,
    line_speed: float = 0.0,
    machine_pace: float = _MACHINE_PACE,
    authority: trustme.CA | None = None,
    login: tuple[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """A quick rack, a Mosquitto on its port and a subscriber to it; the daemon is armed and not started yet.

    The daemon has the rights of the ServiceAccount in the cluster, and the scene fails if it asks for more.

    Args:
        directory: where everything goes; it is made.
        environment: `UPSD_*` variables for each start of the daemon.
        cluster: another one than `small_cluster()`.
        line_speed: of the UPS's serial line, 0 for one without delay.
        machine_pace: the machines take so many times as long as real ones.
        authority: the broker speaks TLS, with a certificate by it.
        login: the broker asks for this user and password.
    """
    (directory / "broker").mkdir(parents=True)
    rack = SimulatedRack(
        directory,
        _SETTINGS.format(directory=directory),
        cluster=cluster or small_cluster(),
        machine_pace=machine_pace,
        line_speed=line_speed,
        runs_broker=False,
        starts_daemon=False,
    )
    broker = Broker(directory / "broker", rack.mqtt_port, authority=authority, login=login)
    arm(directory)
    rights = rack.kubernetes.rights = manifest_rights()
    try:
        await broker.start()
        async with broker.subscriber("upsd/#") as subscriber, rack:
            played = Scene(rack, broker, subscriber, environment or {})
            for machine in rack.machines.values():
                machine.on_change(played.witness)
            yield played
        assert not rights.denied, "config/k3s/upsd-rbac.yaml does not grant what the daemon does"
    except Exception as error:
        error.add_note(f"in the scene {directory}")
        raise
    finally:
        await broker.stop()


def manifest_rights() -> Rights:
    """Those of the ServiceAccount in config/k3s/upsd-rbac.yaml, not used yet."""
    return rights_of(_MANIFEST, "upsd", "upsd")


def small_cluster(stop_s: Mapping[str, float] | None = None) -> SimulatedCluster:
    """The five nodes with one pod each that a drain ends and one that it leaves alone.

    `stop_s` says of which nodes the pod takes other than 0.2 s to stop.
    """
    cluster = SimulatedCluster(start_s=0.0, not_ready_after_s=1.0)
    for node in (MASTER, *WORKERS):
        cluster.add_node(node)
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    for node in (MASTER, *WORKERS):
        template = PodTemplate(node=node, stop_s=(stop_s or {}).get(node, 0.2), grace_s=60)
        cluster.add_workload("Deployment", "home", f"app-{node}", template)
    cluster.advance(1.0)
    return cluster


def cluster_with_an_administrators_cordon() -> SimulatedCluster:
    """A small cluster whose pods take long to stop, and whose node pi3 somebody has cordoned before."""
    cluster = small_cluster(stop_s=dict.fromkeys(ALL, 50.0))
    node = cluster.node("pi3")
    node["spec"]["unschedulable"] = True
    cluster.node_changed(node)
    return cluster


async def together(*scenarios: Any) -> None:
    """Play scenarios that have nothing to do with each other at the same time."""
    async with asyncio.TaskGroup() as group:
        for scenario in scenarios:
            group.create_task(scenario)


def _pods(cluster: SimulatedCluster, node: str) -> tuple[str, ...]:
    names = (pod["metadata"]["name"] for pod in cluster.pods_on(node))
    return tuple(name for name in names if name.startswith("app-"))
