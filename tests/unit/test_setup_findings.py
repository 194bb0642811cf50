"""What setup makes of what it finds: boards, neighbours, mounts, and a settings file that somebody has changed."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from upsd.ctl.setup import boards
from upsd.ctl.setup.boards import Board, board_of
from upsd.ctl.setup.conffile import is_as_packaged
from upsd.ctl.setup.document import Table, is_untouched, settings_text
from upsd.ctl.setup.neighbours import best_address, mac_addresses, network_mounts
from upsd.rack.kubernetes.administration import ClusterNode
from upsd.settings import load_settings

NODE = ClusterNode(
    name="pi4-a",
    address="192.168.7.11",
    is_server=False,
    architecture="arm64",
    os_image="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-26-arm64",
    memory_mib=3793,
)
ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
192.168.7.11     0x1         0x2         dc:a6:32:01:02:03     *        eth0
192.168.7.12     0x1         0x0         00:00:00:00:00:00     *        eth0
"""
MOUNTINFO = """\
29 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
71 29 0:52 / /mnt/nas rw,relatime shared:33 - nfs4 nas.lan:/volume1 rw,vers=4.1,addr=192.168.7.20
72 29 0:53 / /mnt/photos rw,relatime shared:34 - cifs //192.168.7.21/photos rw,addr=192.168.7.21
"""


@pytest.mark.parametrize(
    ("kernel", "image", "architecture", "memory_mib", "board"),
    [
        ("6.6.31+rpt-rpi-2712", "Debian GNU/Linux 12 (bookworm)", "arm64", 7936, boards.PI_5),
        ("6.6.31+rpt-rpi-v8", "Debian GNU/Linux 12 (bookworm)", "arm64", 3793, boards.PI_4),
        ("6.6.31+rpt-rpi-v8", "Debian GNU/Linux 12 (bookworm)", "arm64", 905, boards.PI_3),
        ("6.1.21-v7l+", "Raspbian GNU/Linux 11 (bullseye)", "arm", 3793, boards.PI_4),
        ("6.8.0-1018-raspi", "Ubuntu 24.04.1 LTS", "arm64", 3793, boards.PI_4),
        ("6.6.44-current-sunxi", "Armbian 24.8 bookworm", "arm", 996, boards.ALLWINNER),
        ("6.1.0-26-arm64", "Debian GNU/Linux 12 (bookworm)", "arm64", 3793, boards.ARM),
        ("6.1.0-26-amd64", "Debian GNU/Linux 12 (bookworm)", "amd64", 15900, boards.PC),
    ],
)
def test_a_board_is_told_by_its_kernel(
    kernel: str, image: str, architecture: str, memory_mib: int, board: Board
) -> None:
    """As Raspberry Pi OS, Ubuntu, Armbian and Debian name theirs."""
    node = replace(NODE, kernel=kernel, os_image=image, architecture=architecture, memory_mib=memory_mib)
    assert board_of(node) is board


def test_only_those_that_have_answered_have_a_mac_address() -> None:
    """The kernel lists those that it still looks for, too."""
    assert mac_addresses(ARP) == {"192.168.7.11": "dc:a6:32:01:02:03"}
    assert mac_addresses("") == {}


def test_mounts_from_file_servers_are_found() -> None:
    """With the address that needs no name server."""
    nas, photos = network_mounts(MOUNTINFO)
    assert (nas.mount_point, photos.mount_point) == (Path("/mnt/nas"), Path("/mnt/photos"))
    assert best_address(nas.servers) == "192.168.7.20"
    assert best_address({"nas.lan"}) == "nas.lan"
    assert best_address(()) is None


def test_the_settings_are_what_the_daemon_reads(tmp_path: Path) -> None:
    """Keys without a value are left out."""
    text = settings_text(
        [
            Table("[ups]", "", {"port": "usb"}),
            Table("[master]", "It goes last.", {"name": "m", "watts": 25.0}),
            Table("[[workers]]", "", {"name": "a", "host": "10.0.0.1", "watts": 7.5, "mac": None}),
        ]
    )
    path = tmp_path / "upsd.toml"
    path.write_text(text, encoding="utf-8")
    settings = load_settings(path, {})
    assert (settings.master.watts, settings.workers[0].watts, settings.workers[0].mac) == (25, 7.5, None)
    assert "\n# It goes last.\n[master]\n" in text


def test_a_file_that_the_package_brought_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dpkg's own word; it may be replaced without asking."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("needs dpkg-query")
    (tmp_path / "info").mkdir()
    digest = hashlib.md5(b"packaged", usedforsecurity=False).hexdigest()
    (tmp_path / "status").write_text(
        "Package: upsd\nStatus: install ok installed\nMaintainer: nobody <nobody@example.org>\nArchitecture: amd64\n"
        f"Version: 1\nDescription: the daemon\nConffiles:\n /etc/upsd/upsd.toml {digest}\n"
    )
    monkeypatch.setenv("DPKG_ADMINDIR", str(tmp_path))
    path = Path("/etc/upsd/upsd.toml")
    assert is_as_packaged(path, "packaged")
    assert not is_as_packaged(path, "changed")
    assert not is_as_packaged(Path("/etc/upsd/other.toml"), "packaged")


def test_a_changed_file_is_known_by_one_letter() -> None:
    """Setup does not write over what somebody has changed, nor over what somebody else has written."""
    text = settings_text([Table("[ups]", "", {"port": "usb"})])
    assert is_untouched(text)
    assert not is_untouched(text.replace('"usb"', '"usb:1-4"'))
    assert not is_untouched(text.partition("\n")[2])
    assert not is_untouched("")
