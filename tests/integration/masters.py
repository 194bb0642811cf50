"""A k3s master on which nothing of upsd is set up yet: real files and programs, in a mount namespace of its own.

Only `systemctl` and `udevadm` are replaced, since no systemd runs where the tests do: the one starts and stops the real
daemon as the unit would.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.server import UpsServer
from hardware_sim.usb_backend import SOCKET_VARIABLE
from tests.integration.command_line import ROOT, Result
from tests.integration.overlays import inside, need_overlays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DEADLINE_S: Final = 60.0
MASTER: Final = "k3s-master"
_PROGRAMS: Final = (
    "nsenter",
    "ssh",
    "ssh-keyscan",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "useradd",
    "visudo",
    "sudo",
)
_SYSTEMCTL: Final = """\
#!/bin/sh
echo "$*" >>{directory}/systemctl.log
running() {{ test -e {directory}/pid && kill -0 "$(cat {directory}/pid)" 2>/dev/null; }}
stop() {{
    running || return 0
    kill "$(cat {directory}/pid)"
    while running; do sleep 0.05; done
}}
start() {{
    running && return
    mkdir -p /run/upsd
    setsid {python} -m upsd --config /etc/upsd/upsd.toml >>{directory}/upsd.log 2>&1 </dev/null &
    echo $! >{directory}/pid
    while running && ! test -S /run/upsd/control.sock; do sleep 0.05; done
}}
case $1 in
    enable) touch {directory}/enabled; start ;;
    restart) stop; start ;;
    stop) stop ;;
    is-enabled) test -e {directory}/enabled ;;
esac
"""


@dataclass(frozen=True)
class Master:
    """The machine, from outside: `directory` has what the test looks at, `keeper` keeps the namespace alive."""

    directory: Path
    keeper: int
    api: SimulatedKubernetes
    device: UpsDevice

    def file(self, path: str) -> Path:
        """A file as this machine has it."""
        return Path(f"/proc/{self.keeper}/root{path}")

    @property
    def answers(self) -> Path:
        """A file of answers, for a test to write."""
        return self.directory / "answers.toml"

    def command(self, *words: str) -> list[str]:
        """A command that runs there."""
        return ["nsenter", f"--mount=/proc/{self.keeper}/ns/mnt", "--", *words]

    @property
    def environment(self) -> dict[str, str]:
        """What its programs see."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPSD_")}
        return inherited | {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
            "UPSD_UPS__BACKEND": "hardware_sim.usb_backend",
            "UPSD_MASTER__POWEROFF_COMMAND": '["true"]',  # there is no logind to ask
            SOCKET_VARIABLE: f"{self.directory}/ups.sock",
        }

    async def upsctl(self, *arguments: str) -> Result:
        """Run `upsctl` there, with nobody at a terminal."""
        process = await asyncio.create_subprocess_exec(
            *self.command(sys.executable, "-m", "upsd.ctl.main", *arguments),
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
        return Result(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def terminal(self, *arguments: str) -> AsyncIterator[Terminal]:
        """Somebody who runs `upsctl` there at a terminal."""
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *self.command("setsid", "--ctty", "--wait", sys.executable, "-m", "upsd.ctl.main", *arguments),
            env=self.environment | {"NO_COLOR": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            os.close(ours)


@dataclass
class Terminal:
    """A person: reads until something is asked, and types."""

    screen: int
    process: asyncio.subprocess.Process
    seen: str = ""
    _read: int = 0

    async def shows(self, pattern: str) -> str:
        """Wait until the pattern is there, behind what was waited for before; what was shown up to it."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (found := re.compile(pattern).search(self.seen, self._read)):
                    self.seen += await asyncio.to_thread(self._piece)
        except (TimeoutError, OSError):
            pytest.fail(f"the screen does not show {pattern}:\n{self.seen}")
        before, self._read = self.seen[self._read : found.end()], found.end()
        return before

    def types(self, text: str) -> None:
        """Type it, and press Enter."""
        os.write(self.screen, f"{text}\n".encode())

    def interrupts(self) -> None:
        """Press Ctrl-C."""
        os.write(self.screen, b"\x03")

    async def ends(self) -> int:
        """Wait for the program's end; its exit status."""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(OSError):
                while piece := await asyncio.to_thread(self._piece):
                    self.seen += piece
            return await self.process.wait()

    def _piece(self) -> str:
        piece = os.read(self.screen, 4096)
        return piece.decode(errors="replace").replace("\r", "")


@asynccontextmanager
async def new_master(directory: Path, workers: Sequence[str], *, plugged: bool = True) -> AsyncIterator[Master]:
    """A k3s server with its API, and a UPS at its USB if it is `plugged`."""
    need_overlays(directory / "tried", *_PROGRAMS)
    for name in ("scratch", "bin"):
        (directory / name).mkdir()
    _write_program(directory / "bin" / "systemctl", _SYSTEMCTL.format(directory=directory, python=sys.executable))
    _write_program(directory / "bin" / "udevadm", "#!/bin/sh\n")
    device = UpsDevice(load_w=lambda: 50.0)
    server = UpsServer(device, bridge_to(device, line_speed=0.0), directory / "ups.sock")
    keeper = await asyncio.create_subprocess_exec(
        *inside(directory / "scratch"), "sh", "-c", "echo ready; exec sleep infinity", stdout=asyncio.subprocess.PIPE
    )
    assert keeper.stdout
    await keeper.stdout.readline()
    try:
        async with SimulatedKubernetes(_cluster(workers)) as api:
            master = Master(directory, keeper.pid, api, device)
            kubeconfig = master.file("/etc/rancher/k3s/k3s.yaml")
            kubeconfig.parent.mkdir(parents=True)
            api.write_kubeconfig(kubeconfig)
            if plugged:
                await server.__aenter__()
            try:
                yield master
            finally:
                stop = await asyncio.create_subprocess_exec(*master.command(f"{directory}/bin/systemctl", "stop"))
                await stop.wait()
                if plugged:
                    await server.__aexit__(None, None, None)
    finally:
        keeper.kill()
        await keeper.wait()


def _cluster(workers: Sequence[str]) -> SimulatedCluster:
    cluster = SimulatedCluster(start_s=0.0)
    cluster.add_node(MASTER, architecture="amd64", labels={"node-role.kubernetes.io/control-plane": "true"})
    for worker in workers:
        cluster.add_node(worker)
    cluster.add_workload("Deployment", "home", "app")
    cluster.advance(1.0)
    return cluster


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
