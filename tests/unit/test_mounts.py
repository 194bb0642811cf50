"""Which of what is mounted here is the NAS."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.rack.mounts import mounted_at, nas_mounts, parse_mountinfo, servers_at

MOUNTINFO = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
22 21 0:20 / /proc rw,nosuid shared:2 master:3 - proc proc rw
40 21 0:52 / /mnt/nas rw,relatime - nfs4 nas:/export rw,vers=4.2,clientaddr=192.168.7.10,addr=192.168.7.20
41 21 0:53 / /mnt/big\\040disk\\011one\\134two rw shared:9 - cifs //nas/big rw
42 21 0:54 / /mnt/lazy rw shared:5 - autofs systemd-1 rw,fd=44
43 40 0:55 / /mnt/nas/deep rw - nfs 192.168.7.20:/deep rw,vers=3
44 21 0:56 / /mnt/other rw - nfs4 192.168.7.30:/export rw,addr=192.168.7.30
45 21 0:57 / /mnt/six rw - nfs4 [fd00::20]:/export rw,addr=fd00::20
46 21 0:58 / /mnt/smb rw - smb3 \\134\\134NAS\\134share rw,addr=192.168.7.20
"""
MOUNTS = parse_mountinfo(MOUNTINFO)
NAS = Path("/mnt/nas")


def names(found: tuple[Path, ...]) -> list[str]:
    """The paths as text."""
    return [str(path) for path in found]


def test_the_nas_is_found_by_what_its_own_mount_calls_its_server() -> None:
    """By name and by address, with NFS and SMB, the newest first: what lies in another mount goes before it."""
    assert names(nas_mounts(MOUNTS, NAS, servers_at(MOUNTS, NAS))) == [
        "/mnt/smb",
        "/mnt/nas/deep",
        "/mnt/big disk\tone\\two",
        "/mnt/nas",
    ]


def test_the_nas_is_found_by_its_address_where_it_is_not_mounted_as_the_settings_say() -> None:
    """Another server of the same kind is left alone."""
    assert names(nas_mounts(MOUNTS, Path("/mnt/none"), ["192.168.7.30"])) == ["/mnt/other"]
    assert names(nas_mounts(MOUNTS, Path("/mnt/none"), ["FD00::20"])) == ["/mnt/six"]
    assert nas_mounts(MOUNTS, Path("/mnt/none"), ()) == ()


def test_a_local_file_system_is_the_nas_only_where_the_settings_say_so() -> None:
    """Its device is no server, whatever it is called."""
    assert names(nas_mounts(MOUNTS, Path("/"), ["/dev/vda1"])) == ["/"]


@pytest.mark.parametrize("mount_point", ["/", "/proc", "/mnt/nas", "/mnt/big disk\tone\\two"])
def test_a_mount_point_is_found_in_the_mount_table(mount_point: str) -> None:
    """With or without optional fields, and with what the kernel escapes."""
    assert mounted_at(MOUNTINFO, Path(mount_point))


@pytest.mark.parametrize("mount_point", ["/mnt", "/mnt/nas/sub", "/mnt/na", "/mnt/lazy"])
def test_what_is_not_a_mount_is_not_found(mount_point: str) -> None:
    """Neither a neighbour, nor a directory above or below, nor an automount that waits for its first use."""
    assert not mounted_at(MOUNTINFO, Path(mount_point))


def test_the_kernel_s_own_table_is_read() -> None:
    """Every line of it but the automounts."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    assert len(parse_mountinfo(table)) == sum(" - autofs " not in line for line in table.splitlines())


@given(st.text() | st.text(alphabet="12 -/:,=\\\n0nfs4.cifs[]"))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """At most as many mounts as it has lines."""
    found = nas_mounts(parse_mountinfo(text), NAS, ["192.168.7.20"])
    assert len(found) <= text.count("\n") + 1
