"""The line to one machine: opened for each command, or, in an outage, opened once and held.

A switch or a name server may be the first to lose its power. A line that is open by then needs neither, and the address
that it was opened to is good for every other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh
import structlog

from upsd.domain.rack import PortAnswer, RackError
from upsd.rack.own_link import dead_link
from upsd.rack.ssh_answer import shortened
from upsd.rack.ssh_identity import Trust

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

    from upsd.rack.ssh_identity import SshIdentity

log = structlog.get_logger()

_KEEPALIVE_S = 5.0
# Of a line that is held: after three that stay unanswered it is dead, and replaced.
_HELD_KEEPALIVE_S = 1.0
# Each time that it can't be opened it is tried again after twice as long: sshd shuts out whom it refuses too often.
_AGAIN_S, _AGAIN_AT_MOST_S = 1.0, 30.0
_ANSWER_S = 2.0
# After the types that known_hosts has for the machine: without these, one that was installed anew with keys of
# other types only would end in a reset line instead of a changed host key.
_ALSO_HOST_KEYS = "+ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"


class SshLine:
    """The way to one machine, and in an outage an open connection to it."""

    def __init__(
        self, name: str, host: str, port: int, user: str, identity: SshIdentity, connect_timeout_s: float
    ) -> None:
        """Say which machine, and how it is reached.

        Args:
            name: What people call it.
            host: Its address; a name costs a look-up at the very moment when the network goes down.
            port: Where its sshd listens.
            user: Whose `authorized_keys` there has our key.
            identity: Our key and the known host keys.
            connect_timeout_s: The most that connecting and logging in take, in seconds.
        """
        self.label = f"{name} ({host}:{port})"
        self._name, self._host, self._port, self._user = name, host, port, user
        self._identity = identity
        self.connect_timeout_s = connect_timeout_s
        self._held: _Held | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._address: str | None = None

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[asyncssh.SSHClientConnection | None]:
        """The connection that is held, if there is one; it is not closed before the block ends."""
        held = self._held
        if held is None or held.connection.is_closed():
            yield None
            return
        held.users += 1
        try:
            yield held.connection
        finally:
            held.users -= 1
            held.close_if_unused()

    def hold(self) -> None:
        """Keep a connection open from now on."""
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep(), name=f"line to {self._name}")

    def let_go(self) -> None:
        """Keep none any more; what runs on it comes to its end first."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = self._address = None
            self._part_with(self._held)

    @contextlib.asynccontextmanager
    async def opened(self, client: asyncssh.SSHClient | None = None) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection of its own, until the block ends.

        Raises:
            RackError: The machine could not be reached, or did not let us in.
        """
        connection = await self._connect(client or asyncssh.SSHClient(), _KEEPALIVE_S)
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()

    async def call_port(self) -> PortAnswer:
        """What its SSH port answers within two seconds; see `SshHost`."""
        try:
            # So that a name server that hangs is not taken for a machine that is off.
            async with asyncio.timeout(_ANSWER_S):
                address = await self._resolve()
        except TimeoutError:
            raise RackError(f"{self.label}: no address found for {self._host} within {_ANSWER_S:.0f} s") from None
        try:
            async with asyncio.timeout(_ANSWER_S):
                _, writer = await asyncio.open_connection(self._address or self._host, self._port)
        except ConnectionRefusedError:
            return PortAnswer.REFUSES
        except TimeoutError:
            return self._silence_of(address)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.ENETUNREACH:
                raise self._unreachable(error) from error
            return self._silence_of(address)
        writer.transport.abort()
        return PortAnswer.ACCEPTS

    def _silence_of(self, address: str) -> PortAnswer:
        if device := dead_link(address):
            raise RackError(f"{self.label}: nobody can tell: this machine's own link {device} is down")
        return PortAnswer.SILENT

    async def _resolve(self) -> str:
        if self._address or _is_address(self._host):
            return self._address or self._host
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self._unreachable(error) from error
        return str(found[0][4][0])

    async def _keep(self) -> None:
        again_s = _AGAIN_S
        while True:
            try:
                connection = await self._connect(asyncssh.SSHClient(), _HELD_KEEPALIVE_S)
            except RackError as error:
                log.info("line_not_held", reason=str(error))
            else:
                again_s = _AGAIN_S
                await self._keep_open(_Held(connection))
                log.warning("line_lost", machine=self._name)
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, _AGAIN_AT_MOST_S)

    async def _keep_open(self, held: _Held) -> None:
        self._held, self._address = held, held.connection.get_extra_info("peername")[0]
        log.info("line_held", machine=self._name)
        try:
            await held.connection.wait_closed()
        finally:
            self._part_with(held)

    def _part_with(self, held: _Held | None) -> None:
        if held is not None and self._held is held:
            self._held = None
            held.wanted = False
            held.close_if_unused()

    async def _connect(self, client: asyncssh.SSHClient, keepalive_s: float) -> asyncssh.SSHClientConnection:
        trust = Trust(self._identity.known_hosts(), self._host)
        key = self._identity.key()
        try:
            # asyncssh's own connect_timeout goes through asyncio.wait_for, which can swallow a cancellation on 3.11.
            async with asyncio.timeout(self.connect_timeout_s):
                return await asyncssh.connect(
                    self._address or self._host,
                    self._port,
                    client_factory=lambda: client,
                    username=self._user,
                    client_keys=[key],
                    known_hosts=trust.match,
                    server_host_key_algs=_ALSO_HOST_KEYS,
                    config=None,
                    agent_path=None,
                    preferred_auth="publickey",
                    gss_kex=False,
                    # A packet of some KiB could be unpacked to hundreds of MiB.
                    compression_algs=None,
                    keepalive_interval=keepalive_s,
                )
        except TimeoutError:
            raise RackError(f"{self.label}: did not answer within {self.connect_timeout_s:g} s") from None
        except OSError as error:
            raise self._unreachable(error) from error
        except asyncssh.PermissionDenied as error:
            raise RackError(
                f"{self.label}: refused the key {self._identity.key_file}: put the public key of it into"
                f" ~{self._user}/.ssh/authorized_keys there"
            ) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise RackError(f"{self.label}: {self._distrust(known=trust.known)}") from error
        except asyncssh.Error as error:
            raise RackError(f"{self.label}: {shortened(str(error))}") from error

    def _unreachable(self, error: OSError) -> RackError:
        if isinstance(error, socket.gaierror):
            return RackError(f"{self.label}: no address found for {self._host}: {error.strerror}")
        if isinstance(error, ConnectionRefusedError):
            return RackError(f"{self.label}: refuses connections: is it off, or its sshd not running?")
        return RackError(f"{self.label}: cannot be reached: {os.strerror(error.errno) if error.errno else error}")

    def _distrust(self, *, known: bool) -> str:
        file = self._identity.known_hosts_file
        if known:
            return f"host key changed; if that is right, replace its line in {file}"
        return f"host key unknown: compare it with `ssh-keyscan -p {self._port} {self._host}` and add it to {file}"


@dataclass(slots=True)
class _Held:
    """An open connection, how many use it now, and whether it is to be kept without them."""

    connection: asyncssh.SSHClientConnection
    users: int = 0
    wanted: bool = True

    def close_if_unused(self) -> None:
        if not self.users and not self.wanted:
            self.connection.abort()


class HeldLines:
    """Has a line to each machine held while there is an outage and the machine is not off."""

    def __init__(self, lines: Mapping[str, SshLine]) -> None:
        """Take the lines, by machine."""
        self._lines = lines

    def follow(self, *, outage: bool, off: Collection[str]) -> None:
        """Hold those that are wanted now, and let the others go; to be called as often as it is known."""
        for name, line in self._lines.items():
            if outage and name not in off:
                line.hold()
            else:
                line.let_go()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
