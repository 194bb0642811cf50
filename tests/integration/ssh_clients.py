"""Our side of an SSH connection, as the daemon has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.sshd import HOST
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_identity import SshIdentity
from upsd.rack.ssh_line import SshLine

if TYPE_CHECKING:
    from pathlib import Path

    import asyncssh


@dataclass(frozen=True)
class Client:
    """Our side: a key and a file of known hosts."""

    directory: Path
    key: asyncssh.SSHKey

    @property
    def key_file(self) -> Path:
        """Where our private key is."""
        return self.directory / "ssh_key"

    @property
    def known_hosts_file(self) -> Path:
        """Where the host keys are that we trust."""
        return self.directory / "known_hosts"

    def trust(self, *lines: str) -> None:
        """Trust these host keys and no others."""
        self.known_hosts_file.write_text("".join(f"{line}\n" for line in lines))

    def identity(self) -> SshIdentity:
        """What the daemon makes of both files."""
        return SshIdentity(self.key_file, self.known_hosts_file)

    def host_at(
        self,
        port: int,
        *,
        host: str = HOST,
        user: str = "upsd",
        connect_timeout_s: float = 5.0,
        cut_is_error: bool = False,
    ) -> SshHost:
        """Whatever is on that port, as the daemon sees it."""
        line = SshLine("pi3", host, port, user, self.identity(), connect_timeout_s)
        return SshHost(line, cut_is_error=cut_is_error)
