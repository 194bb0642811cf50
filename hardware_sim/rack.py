"""The reference rack as software, on loopback, for the real daemon to look after.

A UPS with physics behind simulated USB, an MQTT broker, a k3s API with its pods, four workers and a NAS with real SSH,
and the master, whose power-off ends the daemon as systemd would. The UPS's outlets feed them all: when it cuts them,
whoever is not off by then is recorded as cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from amqtt.broker import Broker

from hardware_sim.kubernetes.api import SimulatedKubernetes
from hardware_sim.kubernetes.rack import MASTER, WORKERS, reference_cluster
from hardware_sim.machines import (
    FLUSH_COMMAND,
    POWEROFF_COMMAND,
    MachineState,
    SimulatedMachine,
    SimulatedNas,
    SimulatedSshServer,
    write_client_key,
    write_known_hosts,
)
from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.server import UpsServer
from hardware_sim.usb_backend import SOCKET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from hardware_sim.kubernetes.cluster import SimulatedCluster

WATTS: Final = {MASTER: 25.0, "pi4-a": 7.0, "pi4-b": 7.0, "pi3": 5.0, "bananapi": 6.0, "nas": 18.0, "switch": 8.0}
_SHUTDOWN_S: Final = {MASTER: 3.0, "pi4-a": 3.0, "pi4-b": 3.5, "pi3": 5.0, "bananapi": 4.0, "nas": 3.0}
_BOOT_S: Final = 5.0
_FLUSH_S: Final = 0.5
_STOP_S: Final = 10.0


class SimulatedRack:
    """Everything, while it is entered; `directory` takes the daemon's files and the NAS's disks.

    Args:
        directory: an empty one.
        settings: more TOML for the daemon, after what the rack needs itself.
        cluster: other nodes and pods than those of the reference rack.
        machine_pace: the machines take so many times as long to boot, to shut down and to flush.
        line_speed: the serial line to the UPS is so many times as fast.
        runs_broker: an MQTT broker listens on `mqtt_port`; else it is free for another.
        starts_daemon: the daemon runs from the start; else from `start_daemon` on.
    """

    def __init__(
        self,
        directory: Path,
        settings: str,
        *,
        cluster: SimulatedCluster | None = None,
        machine_pace: float = 1.0,
        line_speed: float = 1.0,
        runs_broker: bool = True,
        starts_daemon: bool = True,
    ) -> None:
        self.directory = directory
        self._more_settings = settings
        self._pace = machine_pace
        self._runs_broker = runs_broker
        self._starts_daemon = starts_daemon
        self.machines = {
            name: SimulatedMachine(name, WATTS[name], shutdown_s=machine_pace * seconds, boot_s=machine_pace * _BOOT_S)
            for name, seconds in _SHUTDOWN_S.items()
        }
        self.master = self.machines[MASTER]
        self.device = UpsDevice(load_w=self._load_w)
        self.device.listen(self._feed)
        self._ups_socket = directory / "ups.sock"
        self.ups = UpsServer(self.device, bridge_to(self.device, line_speed=line_speed), self._ups_socket)
        self.kubernetes = SimulatedKubernetes(cluster or reference_cluster(not_ready_after_s=4.0))
        self.nas = SimulatedNas(self.machines["nas"], directory, flush_s=machine_pace * _FLUSH_S)
        self.ssh: dict[str, SimulatedSshServer] = {}
        self.mqtt_port = _free_port()
        self.daemon: asyncio.subprocess.Process | None = None
        self.outlets_cut = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = AsyncExitStack()

    @property
    def control_socket(self) -> Path:
        """Where the daemon answers `upsctl`."""
        return self.directory / "control.sock"

    @property
    def daemon_log(self) -> Path:
        """What the daemon said."""
        return self.directory / "upsd.log"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await self._start(opening)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _start(self, opening: AsyncExitStack) -> None:
        if self._runs_broker:
            await self._start_broker(opening)

        await opening.enter_async_context(self.kubernetes)
        self.kubernetes.write_kubeconfig(self.directory / "kubeconfig")

        key = write_client_key(self.directory / "ssh_key")
        flush = {"sync": self.nas.flush, FLUSH_COMMAND: self.nas.measured_flush}
        commands = {name: flush if name == "nas" else {} for name in (*WORKERS, "nas")}
        self.ssh = {
            name: await opening.enter_async_context(SimulatedSshServer(self.machines[name], key, commands[name]))
            for name in commands
        }
        write_known_hosts(self.directory / "known_hosts", self.ssh.values())

        await opening.enter_async_context(self.ups)

        for worker in WORKERS:
            self.machines[worker].on_change(self._follow_node)
        power_button = await asyncio.start_unix_server(self._press, self.directory / "power.sock")
        opening.callback(power_button.close)
        opening.push_async_callback(self._stop_tasks)
        self._keep(self.nas.run_writer([self.machines[name] for name in WORKERS]))

        (self.directory / "upsd.toml").write_text(self._settings(), encoding="utf-8")
        opening.push_async_callback(self._stop_daemon)
        if self._starts_daemon:
            await self.start_daemon()

    async def _start_broker(self, opening: AsyncExitStack) -> None:
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.mqtt_port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        opening.push_async_callback(broker.shutdown)

    def _settings(self) -> str:
        files, pace = self.directory, self._pace
        hosts = {name: f'host = "127.0.0.1"\nport = {server.port}\n' for name, server in self.ssh.items()}
        workers = "".join(
            f'[[workers]]\nname = "{name}"\nwatts = {WATTS[name]}\n{hosts[name]}poweroff_expected = {3 * pace}\n'
            f"poweroff_limit = {120 * pace}\n"
            for name in WORKERS
        )
        button = [sys.executable, "-m", "hardware_sim", "press", str(files / "power.sock")]
        command = ", ".join(f'"{word}"' for word in button)
        return f"""\
state_directory = "{files}"
[control]
socket = "{self.control_socket}"
[master]
name = "{MASTER}"
watts = {WATTS[MASTER]}
poweroff_command = [{command}]
poweroff_expected = {5 * pace}
{workers}
[nas]
mount = "{files / "mnt"}"
watts = {WATTS["nas"]}
{hosts["nas"]}poweroff_command = "{POWEROFF_COMMAND}"
poweroff_expected = {2 * pace}
poweroff_limit = {120 * pace}
flush_expected = {pace}
[[loads]]
name = "switch"
watts = {WATTS["switch"]}
[ssh]
key_file = "{files / "ssh_key"}"
known_hosts_file = "{files / "known_hosts"}"
[mqtt]
host = "127.0.0.1"
port = {self.mqtt_port}
[log]
format = "json"
{self._more_settings}"""

    async def start_daemon(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the daemon, for the first time or again; `UPSD_*` variables change what the settings file says."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPSD_")}
        with self.daemon_log.open("ab") as log:
            self.daemon = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "upsd",
                "--config",
                str(self.directory / "upsd.toml"),
                env={**inherited, SOCKET_VARIABLE: str(self._ups_socket), **(environment or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill_daemon(self) -> None:
        """End the daemon as a crash does; `start_daemon` starts it again."""
        if self.daemon is not None and self.daemon.returncode is None:
            self.daemon.kill()
            await self.daemon.wait()

    async def _stop_daemon(self) -> None:
        if self.daemon is None or self.daemon.returncode is not None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self.daemon.wait()
        finally:
            await self.kill_daemon()

    async def _press(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The master is told to power off: it stops its services, k3s and the daemon among them, and goes off."""
        writer.close()
        if self.master.state is MachineState.RUNNING:
            self.master.shut_down()
            self._keep(self.kubernetes.stop())
            self._keep(self._stop_daemon())

    def _follow_node(self, machine: SimulatedMachine) -> None:
        if machine.state is MachineState.STOPPING:
            self.kubernetes.cluster.node_down(machine.name)

    def _feed(self, on: bool) -> None:  # noqa: FBT001 - fits the listener of an outlet
        for machine in self.machines.values():
            machine.power(on)
        if not on:
            if self.daemon and self.daemon.returncode is None:
                self.daemon.kill()
            self.outlets_cut.set()

    def _load_w(self) -> float:
        return WATTS["switch"] + sum(machine.draws_w for machine in self.machines.values())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def press(button: Path) -> None:
    """Press a rack's power button: what its master runs to power itself off."""
    _, writer = await asyncio.open_unix_connection(button)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
