"""What this machine knows of the others by itself: their MAC addresses, and which file server it mounts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.rack.mounts import parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from upsd.rack.mounts import Mount

ARP_TABLE = Path("/proc/net/arp")
MOUNT_TABLE = Path("/proc/self/mountinfo")
_COMPLETE = 0x2


def mac_addresses(arp_table: str) -> dict[str, str]:
    """By IPv4 address, those that have answered, from the text of `/proc/net/arp` (proc_net(5))."""
    found = {}
    for line in arp_table.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 6 and int(fields[2], 16) & _COMPLETE:
            found[fields[0]] = fields[3]
    return found


def network_mounts(mountinfo: str) -> list[Mount]:
    """What is mounted from a file server, in the order of mounting."""
    return [mount for mount in parse_mountinfo(mountinfo) if mount.servers]


def best_address(servers: Iterable[str]) -> str | None:
    """The one of a server's names that needs no name server, else any."""
    return next(iter(sorted(servers, key=lambda name: (not _is_numeric(name), name))), None)


def text_of(table: Path) -> str:
    """The text of a table of the kernel's; empty, if it has none."""
    try:
        return table.read_text(encoding="utf-8")
    except OSError:
        return ""


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
