"""OpenSSH's own sshd on a loopback port, with a host key and authorized keys of its own."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncssh
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

DEADLINE_S = 10.0
HOST = "127.0.0.1"


class OpenSshServer:
    """A running sshd that takes one key for the user who runs the tests, and what it has logged."""

    def __init__(
        self,
        directory: Path,
        authorized_key: asyncssh.SSHKey,
        host_key_type: str = "ssh-ed25519",
        *,
        host: str = HOST,
        inside: Sequence[str] = (),
        **more: str,
    ) -> None:
        """Write its configuration into the directory, which must be its own.

        It listens on `host`, and is run by the command `inside`, if there is one, such as one that enters a namespace;
        `more` of its settings take the place of ours.
        """
        self.host = host
        self._inside = inside
        self.user = getpass.getuser()
        self.host_key = asyncssh.generate_private_key(host_key_type)
        self.log: list[str] = []
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it locks itself in before a login
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        (directory / "authorized_keys").write_bytes(authorized_key.export_public_key())
        host_key_file = directory / "host_key"
        host_key_file.touch(mode=0o600)
        host_key_file.write_bytes(self.host_key.export_private_key())
        settings = {
            "ListenAddress": host,
            "Port": self.port,
            "HostKey": host_key_file,
            "AuthorizedKeysFile": directory / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "yes",
            "LogLevel": "VERBOSE",
            **more,
        }
        (directory / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))

    def tie_key_to(self, command: str, *, marked: bool = False) -> None:
        """Let the key run this command and no other, whatever is asked for; `marked` as the helper of a worker."""
        mark = 'permitlisten="1",' if marked else ""
        path = self._directory / "authorized_keys"
        path.write_text(f'restrict,{mark}command="{command}" {path.read_text()}')

    @property
    def known_hosts_line(self) -> str:
        """Its host key, as a line of a `known_hosts` file."""
        return f"[{self.host}]:{self.port} {self.host_key.export_public_key().decode().strip()}"

    @property
    def pid(self) -> int | None:
        """The process that listens; its children serve the connections."""
        return self._process.pid if self._process else None

    @property
    def sessions(self) -> list[int]:
        """The processes that serve its connections."""
        if self._process is None or self._process.returncode is not None:
            return []
        return children_of(self._process.pid)

    async def __aenter__(self) -> Self:
        """Start it and wait until it listens."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            pytest.fail("sshd is missing: apt-get install openssh-server")
        self._process = await asyncio.create_subprocess_exec(
            *self._inside,
            program,
            *("-D", "-e", "-f", str(self._directory / "sshd_config")),
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        await self.logged("Server listening on")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it, and end every connection: one that a failed test has left open would hold it up for ever."""
        for session in self.sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        """Stop listening, as at the beginning of a shutdown."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._reading:
            await self._reading

    async def logged(self, text: str) -> None:
        """Wait until it has logged a line with this text."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not any(text in line for line in self.log):  # noqa: ASYNC110 - a foreign process has no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"sshd did not log {text!r} but: {self.log}")

    async def _read(self) -> None:
        assert self._process
        assert self._process.stderr
        async for line in self._process.stderr:
            self.log.append(line.decode().strip())


def children_of(process: int) -> list[int]:
    """The processes that it has begun and that have not ended."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
