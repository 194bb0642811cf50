"""Machines that are reached over SSH, with one key and pinned host keys.

Everything that a connection needs is imported and read at the start of the daemon. During an outage the disk may be
gone or slow, so afterwards the files are only looked at, and read again when they have changed; what was read last
stays good if they have become unreadable. Agents, passwords and OpenSSH's own configuration are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncssh

from upsd.domain.rack import CommandError, PortAnswer, RackError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

T = TypeVar("T")

_KEEPALIVE_S = 5.0
_ANSWER_S = 2.0
_REMARK_S = 2.0
_UNSURE = (
    "nothing was run, since it might have been the power-off; make config/worker/upsd-forced the forced command, and"
    " set rehearse_command"
)
# After the types that known_hosts has for the machine: without these, one that was installed anew with keys of
# other types only would end in a reset line instead of a changed host key.
_ALSO_HOST_KEYS = "+ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"


class SshIdentity:
    """Our private key, and the host keys that we trust."""

    def __init__(self, key_file: Path, known_hosts_file: Path) -> None:
        """Read both files; one that is missing or wrong is a warning now and a `RackError` at each use."""
        self.key_file = key_file
        self.known_hosts_file = known_hosts_file
        self._key = _File(
            key_file, asyncssh.import_private_key, f"make one with `ssh-keygen -t ed25519 -N '' -f {key_file}`"
        )
        self._known_hosts = _File(
            known_hosts_file,
            lambda content: asyncssh.import_known_hosts(content.decode()),
            "gather host keys with `ssh-keyscan HOST`, compare them with those of the machines and write them there",
        )

    def warnings(self) -> list[str]:
        """What a person should mend before an outage comes."""
        return [problem for problem in (self._key.problem(), self._known_hosts.problem()) if problem]

    def key(self) -> asyncssh.SSHKey:
        """The private key."""
        return self._key.content()

    def known_hosts(self) -> asyncssh.SSHKnownHosts:
        """The host keys that we trust."""
        return self._known_hosts.content()


class SshHost:
    """One machine; fits `upsd.domain.rack.RemoteHost`."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        user: str,
        identity: SshIdentity,
        connect_timeout_s: float,
        *,
        cut_is_error: bool = False,
    ) -> None:
        """Say which machine, and how it is reached.

        Args:
            name: What people call it.
            host: Its address; a name costs a look-up at the very moment when the network goes down.
            port: Where its sshd listens.
            user: Whose `authorized_keys` there has our key.
            identity: Our key and the known host keys.
            connect_timeout_s: The most that connecting and logging in take, in seconds.
            cut_is_error: Whether a line that is cut while a command runs is an error. It is not when the command
                powers the machine off; it is when the command must have finished, such as a `sync`.
        """
        self._host, self._port, self._user = host, port, user
        self._label = f"{name} ({host}:{port})"
        self._identity = identity
        self._connect_timeout_s = connect_timeout_s
        self._cut_is_error = cut_is_error

    async def run(self, command: str) -> str:
        """Run a command and return its standard output; the deadline is the caller's.

        Raises:
            RackError: The machine could not be reached, did not let us in, or the command failed.
        """
        async with self._connection(asyncssh.SSHClient()) as connection:
            return await self._run(connection, command)

    async def run_unforced(self, command: str) -> str:
        """Run a command only where sshd has said that our key is tied to no other one.

        OpenSSH says so of itself, right after the login (7.7 and newer; not of a `ForceCommand` in sshd_config).

        Raises:
            RackError: As `run`, or nothing was run, because another command might have run in its place.
        """
        remarks = _Remarks()
        async with self._connection(remarks) as connection:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REMARK_S):
                    await remarks.heard.wait()
            if remarks.key_options is None:
                raise RackError(f"{self._label}: logged in; its sshd does not say what the key may run: {_UNSURE}")
            if "command" in remarks.key_options:
                raise RackError(f"{self._label}: logged in; authorized_keys there has a forced command: {_UNSURE}")
            return await self._run(connection, command)

    async def call_port(self) -> PortAnswer:
        """What its SSH port answers within two seconds.

        An accepted connection counts even if no banner follows: a kernel that accepts is running, so a machine that
        hangs is not taken for one that is off.

        Raises:
            RackError: We can't tell, because its name has no address or this machine has no network.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except ConnectionRefusedError:
            return PortAnswer.REFUSES
        except TimeoutError:
            return PortAnswer.SILENT
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.ENETUNREACH:
                raise self._unreachable(error) from error
            return PortAnswer.SILENT
        writer.transport.abort()
        return PortAnswer.ACCEPTS

    @contextlib.asynccontextmanager
    async def _connection(self, client: asyncssh.SSHClient) -> AsyncIterator[asyncssh.SSHClientConnection]:
        connection = await self._connect(client)
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()

    async def _run(self, connection: asyncssh.SSHClientConnection, command: str) -> str:
        try:
            process = await connection.create_process(
                command, stdin=asyncssh.DEVNULL, encoding="utf-8", errors="replace"
            )
            ended = await process.wait()
        except (asyncssh.Error, OSError) as error:
            raise RackError(f"{self._label}: `{command}`: {error}") from error
        return self._output(command, ended)

    async def _connect(self, client: asyncssh.SSHClient) -> asyncssh.SSHClientConnection:
        trust = _Trust(self._identity.known_hosts())
        key = self._identity.key()
        try:
            # asyncssh's own connect_timeout goes through asyncio.wait_for, which can swallow a cancellation on 3.11.
            async with asyncio.timeout(self._connect_timeout_s):
                return await asyncssh.connect(
                    self._host,
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
                    keepalive_interval=_KEEPALIVE_S,
                )
        except TimeoutError:
            raise RackError(f"{self._label}: did not answer within {self._connect_timeout_s:g} s") from None
        except OSError as error:
            raise self._unreachable(error) from error
        except asyncssh.PermissionDenied as error:
            raise RackError(
                f"{self._label}: refused the key {self._identity.key_file}: put the public key of it into"
                f" ~{self._user}/.ssh/authorized_keys there"
            ) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise RackError(f"{self._label}: {self._distrust(known=trust.known)}") from error
        except asyncssh.Error as error:
            raise RackError(f"{self._label}: {error}") from error

    def _unreachable(self, error: OSError) -> RackError:
        if isinstance(error, socket.gaierror):
            return RackError(f"{self._label}: no address found for {self._host}: {error.strerror}")
        if isinstance(error, ConnectionRefusedError):
            return RackError(f"{self._label}: refuses connections: is it off, or its sshd not running?")
        return RackError(f"{self._label}: cannot be reached: {error.strerror or error}")

    def _distrust(self, *, known: bool) -> str:
        file = self._identity.known_hosts_file
        if known:
            return f"host key changed; if that is right, replace its line in {file}"
        return f"host key unknown: compare it with `ssh-keyscan -p {self._port} {self._host}` and add it to {file}"

    def _output(self, command: str, ended: asyncssh.SSHCompletedProcess) -> str:
        if ended.exit_status is None and self._cut_is_error:
            raise RackError(f"{self._label}: the line was cut before `{command}` had ended")
        if ended.exit_status:
            why = f"killed by SIG{ended.exit_signal[0]}" if ended.exit_signal else f"exit code {ended.exit_status}"
            complaint = next((f": {line}" for line in str(ended.stderr).splitlines() if line.strip()), "")
            raise CommandError(f"{self._label}: `{command}` failed ({why}){complaint}")
        return str(ended.stdout)


class _Remarks(asyncssh.SSHClient):
    """What sshd remarks of our key; `key_options` is as in `authorized_keys`, without the values."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.key_options: str | None = None

    def debug_msg_received(self, msg: str, lang: str, always_display: bool) -> None:  # noqa: ARG002, FBT001
        _, found, options = msg.partition("key options:")
        if found:
            self.key_options = options
            self.heard.set()


class _Trust:
    """The known hosts, and whether this connection's host was among them."""

    def __init__(self, known_hosts: asyncssh.SSHKnownHosts) -> None:
        self._known_hosts = known_hosts
        self.known = False

    def match(self, host: str, address: str, port: int | None) -> Any:
        """What asyncssh asks for: seven lists of keys and certificates, trusted and revoked."""
        found = self._known_hosts.match(host, address, port)
        self.known = any(found)
        return found


class _File(Generic[T]):
    """The parsed content of a small file, read again whenever the file has changed."""

    def __init__(self, path: Path, parse: Callable[[bytes], T], remedy: str) -> None:
        self._path = path
        self._parse = parse
        self._remedy = remedy
        self._stamp: tuple[int, int, int] | None = None
        self._content: T | None = None
        self.problem()

    def problem(self) -> str | None:
        """What is wrong with the file now; looks, and reads it if it has changed."""
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._content = self._parse(self._path.read_bytes())
                self._stamp = stamp
        except OSError as error:
            return f"cannot read {self._path} ({error.strerror}): {self._remedy}"
        except ValueError as error:
            return f"{self._path} is not usable ({error}): {self._remedy}"
        return None

    def content(self) -> T:
        """What was read last, now if need be."""
        problem = self.problem()
        if self._content is None:
            raise RackError(str(problem))
        return self._content
