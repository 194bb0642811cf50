"""The SSH server of a simulated machine: up while the machine runs, and able to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

import asyncssh

from hardware_sim.machines.machine import MachineState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from types import TracebackType
    from typing import Self

    from hardware_sim.machines.machine import SimulatedMachine

POWEROFF_COMMAND = "poweroff"
"""What config/worker/upsd-worker is told; a machine without it is told the next one."""
_PLAIN_POWEROFF_COMMAND = "sudo -n systemctl poweroff"
_CHECK_COMMANDS = ("check", "sudo -n -l systemctl poweroff")
"""What is answered with yes, if we would be let power the machine off."""
FLUSH_COMMAND = "sh -c '# upsd flush"
"""The first line of upsd's own flush of a NAS."""
_HOST = "127.0.0.1"
_ANSWER_S = 0.2
"""How long after a power-off was asked for sshd is stopped, which lets the answer through."""
_FILLS_THE_QUEUE = 2
"""So many connections that nobody accepts make the kernel drop the next ones without a word, as a dead host would."""


class SimulatedSshServer:
    """A real SSH server on a loopback port that stays the same, with a host key of its own.

    It takes one public key, for any user, and knows a few commands: the power-off, the check of the right to it,
    `true`, and `sync`, or what `commands` has instead; of a command of several lines, the first one counts.
    When its machine leaves the running state the port closes and
    lines are cut, as sshd is among the first that a shutdown stops; once it is off the port is silent.

    The faults can be switched at any time: `refuse_key`; `hang`, which accepts connections and never says a word;
    `ignore_poweroff`, which says yes and does nothing. With `forced` the key is tied to the power-off, which runs
    whatever is asked for.
    """

    def __init__(
        self,
        machine: SimulatedMachine,
        authorized_key: asyncssh.SSHKey,
        commands: Mapping[str, Callable[[], Coroutine[None, None, str | None]]] | None = None,
    ) -> None:
        """Take the machine, whose key may log in, and what commands do besides the usual ones."""
        self.machine = machine
        self.refuse_key = False
        self.hang = False
        self.ignore_poweroff = False
        self.forced = False
        self.asked_to_power_off = 0
        self.commands_running = 0
        self._authorized_key = authorized_key
        self._commands: dict[str, Callable[[], Coroutine[None, None, str | None]]]
        self._commands = dict.fromkeys(("true", "sync", *_CHECK_COMMANDS), _nothing)
        self._commands |= dict.fromkeys((POWEROFF_COMMAND, _PLAIN_POWEROFF_COMMAND), self._power_off)
        self._commands |= commands or {}
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._place: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._silence = contextlib.ExitStack()
        self._visits: set[asyncio.Task[None]] = set()
        machine.on_change(lambda _: self._follow())

    @property
    def port(self) -> int:
        """Its port on loopback, once started."""
        if self._place is None:
            raise RuntimeError(f"the SSH server of {self.machine.name} has not been started")
        return int(self._place.getsockname()[1])

    @property
    def known_hosts_line(self) -> str:
        """Its host key, as a line of a `known_hosts` file."""
        key = self._host_key.export_public_key().decode().strip()
        return f"[{_HOST}]:{self.port} {key}"

    async def __aenter__(self) -> Self:
        """Take a port, and listen there if the machine runs."""
        # Bound and never listening, this socket keeps the port ours while the machine is off.
        self._place = _bound(0)
        self._follow()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close everything."""
        tasks = self._close()
        self._silence.close()
        if tasks:
            await asyncio.wait(tasks)
        if self._place:
            self._place.close()
            self._place = None

    def _follow(self) -> None:
        if self._place is None:
            return
        self._silence.close()
        if self.machine.state is MachineState.OFF:
            self._close()
            self._be_silent()
        elif self.machine.state is not MachineState.RUNNING:
            self._close()
        elif self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen()
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _be_silent(self) -> None:
        full = self._silence.enter_context(_bound(self.port))
        full.listen(0)
        for _ in range(_FILLS_THE_QUEUE):
            with contextlib.suppress(BlockingIOError):
                self._silence.enter_context(_calling()).connect(full.getsockname())

    def _close(self) -> set[asyncio.Task[None]]:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for visit in self._visits:
            visit.cancel()
        return set(self._visits)

    def _accept(self, listener: socket.socket) -> None:
        try:
            visitor, _ = listener.accept()
        except OSError:
            return  # who called has hung up
        visitor.settimeout(0)
        visit = asyncio.create_task(self._receive(visitor), name=f"ssh session on {self.machine.name}")
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        # Also of a visit that is over before it has begun.
        visit.add_done_callback(lambda _: visitor.close())

    async def _receive(self, visitor: socket.socket) -> None:
        if self.hang:
            await asyncio.Event().wait()
        with contextlib.suppress(asyncssh.Error, OSError):
            async with asyncssh.run_server(
                visitor,
                server_host_keys=[self._host_key],
                server_factory=lambda: _Login(self),
                process_factory=self._perform,
                gss_host=None,
            ) as connection:
                await connection.wait_closed()

    def admits(self, key: asyncssh.SSHKey) -> bool:
        """Whether the key may log in."""
        return key == self._authorized_key.convert_to_public() and not self.refuse_key

    async def _perform(self, process: asyncssh.SSHServerProcess[str]) -> None:
        first_line = (process.command or "").partition("\n")[0]
        command = self._power_off if self.forced else self._commands.get(first_line)
        if command is None:
            process.stderr.write(f"sh: 1: {process.command}: not found\n")
            process.exit(127)
            return
        work = asyncio.create_task(command(), name=f"{process.command} on {self.machine.name}")
        cut = asyncio.create_task(process.channel.wait_closed(), name=f"line to {self.machine.name}")
        self.commands_running += 1
        try:
            await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                process.stdout.write(work.result() or "")
                process.exit(0)
        finally:
            self.commands_running -= 1
            work.cancel()
            cut.cancel()

    async def _power_off(self) -> None:
        self.asked_to_power_off += 1
        if not self.ignore_poweroff:
            asyncio.get_running_loop().call_later(_ANSWER_S, self.machine.shut_down)


class _Login(asyncssh.SSHServer):
    def __init__(self, server: SimulatedSshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def auth_completed(self) -> None:
        # As OpenSSH does; it names the options without their values.
        options = "command" if self._server.forced else "agent-forwarding port-forwarding pty user-rc x11-forwarding"
        if self._connection:
            self._connection.send_debug(f"authorized_keys:1: key options: {options}")

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        return self._server.admits(key)


def _bound(port: int) -> socket.socket:
    place = _calling()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind((_HOST, port))
    return place


def _calling() -> socket.socket:
    caller = socket.socket()
    caller.settimeout(0)
    return caller


async def _nothing() -> None:
    """Do what `true` does."""
