"""Does the link that leads to a machine have a carrier? By the kernel's files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from upsd.rack.own_link import dead_link

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = (
    ("eth0", "0.0.0.0", "0.0.0.0", 3),
    ("eth1", "192.168.7.0", "255.255.255.0", 1),
    ("wg0", "192.168.0.0", "255.255.0.0", 1),
    ("eth2", "192.168.7.20", "255.255.255.255", 0),
)


def _word(address: str) -> str:
    return f"{int.from_bytes(bytes(map(int, address.split('.'))), sys.byteorder):08X}"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Files of a machine with a route of its own to the rack."""
    lines = ["Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"]
    lines += [
        f"{name}\t{_word(to)}\t0\t{flags:04X}\t0\t0\t0\t{_word(mask)}\t0\t0\t0" for name, to, mask, flags in ROUTES
    ]
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "route").write_text("\n".join(lines) + "\n")
    for name, carrier in {"eth0": "1", "eth1": "0", "wg0": "1", "eth2": "1"}.items():
        (tmp_path / "sys" / "class" / "net" / name).mkdir(parents=True)
        (tmp_path / "sys" / "class" / "net" / name / "carrier").write_text(f"{carrier}\n")
    return tmp_path


@pytest.mark.parametrize("address", ["192.168.7.11", "192.168.7.20"])
def test_the_narrowest_route_that_is_up_counts(machine: Path, address: str) -> None:
    """The rack hangs on a link of its own, which is dead."""
    assert dead_link(address, root=machine) == "eth1"


@pytest.mark.parametrize("address", ["192.168.8.1", "10.0.0.1"])
def test_another_link_may_be_alive(machine: Path, address: str) -> None:
    """What goes by way of it is not cut off."""
    assert dead_link(address, root=machine) is None


def test_a_device_that_is_switched_off_has_no_carrier(machine: Path) -> None:
    """The kernel refuses to tell then."""
    carrier = machine / "sys" / "class" / "net" / "eth0" / "carrier"
    carrier.unlink()
    carrier.mkdir()  # which can't be read either
    assert dead_link("10.0.0.1", root=machine) == "eth0"


@pytest.mark.parametrize("address", ["fd00::1", "pi4-a"])
def test_of_anything_else_nothing_is_known(machine: Path, address: str) -> None:
    """Then silence is silence."""
    assert dead_link(address, root=machine) is None


def test_without_the_kernel_s_files_nothing_is_known(machine: Path, tmp_path: Path) -> None:
    """Neither of the routes nor of the carrier."""
    assert dead_link("192.168.7.11", root=tmp_path / "none") is None
    (machine / "sys" / "class" / "net" / "eth1" / "carrier").unlink()
    assert dead_link("192.168.7.11", root=machine) is None
    (machine / "proc" / "net" / "route").write_text("nonsense\nmore of it\n")
    assert dead_link("192.168.7.11", root=machine) is None
