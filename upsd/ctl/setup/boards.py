"""What does a machine probably draw, by what its kubelet says of it? Only a default: a meter knows better.

The figures are peaks, since a battery that was expected to last too long is the worse error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upsd.rack.kubernetes.administration import ClusterNode

NAS_W = 18.0
"""A WD My Cloud EX2 Ultra with two disks, as in config/upsd.toml."""


@dataclass(frozen=True, slots=True)
class Board:
    """A kind of machine; `wakes` is whether Wake-on-LAN can switch it on."""

    name: str
    watts: float
    source: str
    wakes: bool = False


_ANNOUNCEMENT = "Raspberry Pi's announcement of the Pi 5, peak"
_RACK = "the rack of config/upsd.toml"
PI_5 = Board("Raspberry Pi 5", 12, _ANNOUNCEMENT)
PI_4 = Board("Raspberry Pi 4", 8, _ANNOUNCEMENT)
PI_3 = Board("Raspberry Pi 3", 5, _RACK)
ALLWINNER = Board("Banana Pi or another Allwinner board", 6, _RACK)
ARM = Board("an ARM board", 8, "as a Raspberry Pi 4")
PC = Board("a small PC", 30, "a guess", wakes=True)

_SMALL_MIB = 1024
"""A Pi 3 has no more than 1 GiB, and few Pi 4 have so little."""


def board_of(node: ClusterNode) -> Board:
    """The kind of machine that the node probably is.

    Kernels of Raspberry Pi OS are named `6.6.31+rpt-rpi-v8` or `...-rpi-2712` (Pi 5), Ubuntu's `6.8.0-1018-raspi`,
    Armbian's for Allwinner chips `6.6.44-current-sunxi`.
    """
    if not node.architecture.startswith("arm"):
        return PC
    if "2712" in node.kernel:
        return PI_5
    if re.search(r"rpi|raspi|-v[78]l?\+", node.kernel) or "Raspbian" in node.os_image:
        return PI_3 if 0 < node.memory_mib < _SMALL_MIB else PI_4
    if "sunxi" in node.kernel:
        return ALLWINNER
    return ARM
