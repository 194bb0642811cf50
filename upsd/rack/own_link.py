"""Whether this machine's own network link is up: without it, the silence of another machine means nothing.

The switch may be the first to lose its power in an outage. Only IPv4 is looked at; of anything else nothing is known.
Sources: the kernel's Documentation/networking/operstates.rst, and net/ipv4/fib_trie.c for `/proc/net/route`.
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

_UP = 0x1


def dead_link(address: str, *, root: Path = Path("/")) -> str | None:
    """The network device that leads to the address, if it has no carrier; `None` if it has, or nobody knows."""
    try:
        device = _device(int(ipaddress.IPv4Address(address)), (root / "proc/net/route").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return device if device and not _has_carrier(root / "sys/class/net" / device / "carrier") else None


def _has_carrier(file: Path) -> bool:
    try:
        return file.read_text(encoding="ascii").strip() != "0"
    except FileNotFoundError:
        return True  # not known
    except OSError:
        return False  # the device is switched off


def _device(address: int, routes: str) -> str | None:
    """The device of the narrowest route to the address, among the lines of `/proc/net/route`."""
    found, narrowest = None, -1
    for line in routes.splitlines()[1:]:
        name, destination, _, flags, _, _, _, mask, *_ = line.split()
        bits = _number(mask)
        if int(flags, 16) & _UP and address & bits == _number(destination) and bits > narrowest:
            found, narrowest = name, bits
    return found


def _number(word: str) -> int:
    """An address there: its four bytes, written as this machine takes them for a number."""
    return int.from_bytes(int(word, 16).to_bytes(4, sys.byteorder))
