"""The client's side of the simulated machines' SSH: a key, and the host keys that it may trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hardware_sim.machines.ssh_server import SimulatedSshServer


def write_client_key(path: Path) -> asyncssh.SSHKey:
    """Make a key and write its private part, readable by its owner only, as OpenSSH's client demands."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    return key


def write_known_hosts(path: Path, servers: Iterable[SimulatedSshServer]) -> None:
    """Write the host keys of the servers; each must have been started, so that its port is known."""
    path.write_text("".join(f"{server.known_hosts_line}\n" for server in servers), encoding="ascii")
