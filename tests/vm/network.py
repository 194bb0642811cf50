"""The private network of the virtual rack: one bridge, one link for each machine.

It lies in a network namespace of its own, so nothing outside is touched, nothing is left behind, and another rack may
have the same addresses beside it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from tests.vm.cache import run

HERE: Final = "10.77.0.1"
"""The address of the tests, where the UPS, the broker and the API are."""
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_BRIDGE: Final = "rack"
_NAMESPACES: Final = Path("/run/netns")


def address(number: int) -> str:
    """The address of a machine."""
    return f"10.77.0.{number}"


def make_network() -> None:
    """The bridge, and the place for the namespaces of the containers, in namespaces of this process."""
    # As os.unshare does from Python 3.12 on.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS | _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    _NAMESPACES.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", _NAMESPACES)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", _BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    run("ip", "addr", "add", f"{HERE}/24", "dev", _BRIDGE)
    run("ip", "link", "set", _BRIDGE, "up")


class Link:
    """The cable between one machine and the bridge; out until it is put in."""

    def __init__(self, machine: str) -> None:
        self.device = f"at-{machine}"[:15]

    def put_in(self) -> None:
        """Let packets through."""
        run("ip", "link", "set", self.device, "up")

    def pull(self) -> None:
        """Let none through; the machine sees its carrier go."""
        run("ip", "link", "set", self.device, "down")

    def remove(self) -> None:
        """Take it away for good."""
        run("ip", "link", "delete", self.device)


class TapLink(Link):
    """To a guest of QEMU, which opens `device`."""

    def __init__(self, machine: str) -> None:
        super().__init__(machine)
        run("ip", "tuntap", "add", self.device, "mode", "tap")
        run("ip", "link", "set", self.device, "master", _BRIDGE)


class NamespaceLink(Link):
    """To a container, whose network is a namespace that is there before it boots."""

    def __init__(self, machine: str, number: int) -> None:
        super().__init__(machine)
        self.namespace = _NAMESPACES / machine
        inside = ("ip", "-n", machine)
        run("ip", "netns", "add", machine)
        run("ip", "link", "add", self.device, "type", "veth", "peer", "name", "eth0", "netns", machine)
        run("ip", "link", "set", self.device, "master", _BRIDGE)
        run(*inside, "addr", "add", f"{address(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run(*inside, "link", "set", device, "up")

    def remove(self) -> None:
        """Take it away for good."""
        super().remove()
        run("ip", "netns", "delete", self.namespace.name)
