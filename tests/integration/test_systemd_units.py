"""The files in `systemd/`, judged by systemd's own tools and by what the daemon's code needs of them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from upsd.rack.datastore import UnitDatastore
from upsd.rack.mounts import detaching_unit, mount_unit
from upsd.settings import Settings
from upsd.ups.bridge import PRODUCT_ID, VENDOR_ID

FILES = Path(__file__).parents[2] / "systemd"
UNIT = (FILES / "upsd.service").read_text(encoding="utf-8")
POLKIT = (FILES / "50-upsd.rules").read_text(encoding="utf-8")
UDEV = (FILES / "70-upsd.rules").read_text(encoding="utf-8")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """What one of systemd's tools says; without it on this machine, the test is skipped."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian package systemd)")
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a Python that exists on this machine."""
    path = tmp_path / "upsd.service"
    path.write_text(UNIT.replace("/usr/lib/upsd/bin/python3", sys.executable), encoding="utf-8")
    return path


def test_systemd_finds_no_fault_with_the_unit(unit: Path) -> None:
    """A misspelt directive is only a warning, so that not a word may be said."""
    result = run("systemd-analyze", "verify", "--man=no", unit)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(("name", "instance"), [("upsd-detach@", "mnt-nas"), ("upsd-snapshot@", "rehearsal")])
def test_systemd_finds_no_fault_with_what_root_does_for_us(name: str, instance: str, tmp_path: Path) -> None:
    """The templates, as the daemon names their instances."""
    path = tmp_path / f"{name}{instance}.service"
    text = (FILES / f"{name}.service").read_text(encoding="utf-8")
    path.write_text(text.replace("/usr/lib/upsd/bin/python3", sys.executable), encoding="utf-8")
    result = run("systemd-analyze", "verify", "--man=no", path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_detachment_is_seen_by_everybody() -> None:
    """Any setting that gives the unit a mount namespace of its own would leave the mount in that of all others."""
    text = (FILES / "upsd-detach@.service").read_text(encoding="utf-8")
    settings = re.findall(r"^(\w+)=", text.partition("[Service]")[2], flags=re.MULTILINE)
    assert set(settings) == {"Type", "ExecStart", "TimeoutStartSec", "NoNewPrivileges", "CapabilityBoundingSet"}


def test_the_snapshot_s_program_is_where_the_daemon_reads_its_result() -> None:
    """Both know the path by themselves."""
    text = (FILES / "upsd-snapshot@.service").read_text(encoding="utf-8")
    assert "RuntimeDirectory=upsd-snapshot\n" in text
    assert UnitDatastore(timeout_s=1.0).result.parent == Path("/run/upsd-snapshot")


def test_the_unit_gives_little_away_if_the_daemon_is_broken_into(unit: Path) -> None:
    """At most 1.5 of 10 on systemd's own scale: the network, the USB device, and who it is that asks on the socket."""
    result = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit)
    assert result.returncode == 0, result.stdout


def test_the_unit_starts_without_any_credential() -> None:
    """A source with a path would keep the daemon from starting while that file is missing."""
    sources = re.findall(r"^LoadCredential=(.*)$", UNIT, flags=re.MULTILINE)
    assert sorted(sources) == ["upsd_kubeconfig", "upsd_mqtt_password", "upsd_ssh_key"]


def test_the_default_paths_are_those_that_the_unit_provides() -> None:
    """In the hardened unit nothing else can be written to."""
    settings = Settings.model_validate({"master": {"name": "k3s-master", "watts": 25}})
    assert "StateDirectory=upsd\n" in UNIT
    assert settings.state_directory == Path("/var/lib/upsd")
    assert "RuntimeDirectory=upsd\n" in UNIT
    assert settings.control.socket.parent == Path("/run/upsd")


def test_the_user_and_the_directories_can_be_made(tmp_path: Path) -> None:
    """Secrets are closed to all but their owner from the beginning."""
    if os.geteuid() != 0:
        pytest.skip("only root can make users and give directories to them")
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    assert run("systemd-sysusers", root, FILES / "upsd.sysusers").returncode == 0
    result = run("systemd-tmpfiles", root, "--create", FILES / "upsd.tmpfiles")
    assert result.returncode == 0, result.stderr

    user = (tmp_path / "etc/passwd").read_text(encoding="utf-8").strip().split(":")
    assert (user[0], user[5:]) == ("upsd", ["/var/lib/upsd", "/usr/sbin/nologin"])
    uid, gid = int(user[2]), int(user[3])
    found = {path: (tmp_path / path).stat() for path in ("etc/upsd", "etc/upsd/credentials", "var/lib/upsd")}
    assert {path: (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) for path, now in found.items()} == {
        "etc/upsd": (0o750, 0, gid),
        "etc/upsd/credentials": (0o700, 0, 0),
        "var/lib/upsd": (0o700, uid, gid),
    }


def test_the_udev_rule_opens_the_device_that_the_transport_looks_for() -> None:
    """It matches one USB device, gives it to the daemon without taking it from NUT's group, and starts the daemon."""
    (rule,) = [line for line in UDEV.splitlines() if line.startswith("ATTR{idVendor}")]
    assert set(rule.split(", ")) == {
        f'ATTR{{idVendor}}=="{VENDOR_ID:04x}"',
        f'ATTR{{idProduct}}=="{PRODUCT_ID:04x}"',
        'MODE="0660"',
        'OWNER="upsd"',
        'ATTR{power/control}="on"',
        'TAG+="systemd"',
        'ENV{SYSTEMD_WANTS}+="upsd.service"',
        'ENV{ID_MM_DEVICE_IGNORE}="1"',
    }
    jumps = set(re.findall(r'GOTO="(\w+)"', UDEV))
    assert jumps == set(re.findall(r'LABEL="(\w+)"', UDEV))


def test_the_polkit_rule_names_each_right_that_a_power_off_needs() -> None:
    """Without one of them a logged-in user, or a running upgrade, could keep the master on until the cut."""
    assert set(re.findall(r'"(org\.freedesktop\.login1\.[\w.-]+)"', POLKIT)) == {
        "org.freedesktop.login1.power-off",
        "org.freedesktop.login1.power-off-multiple-sessions",
        "org.freedesktop.login1.power-off-ignore-inhibit",
    }


@pytest.mark.parametrize(
    ("unit_name", "allowed"),
    [
        (mount_unit(Path("/mnt/nas")), True),
        (mount_unit(Path("/mnt/my-nas/share 1")), True),
        (mount_unit(Path("/")), False),
        (mount_unit(Path("/mnt")), False),
        (mount_unit(Path("/var/lib/rancher")), False),
        ("k3s.service", False),
        ("mnt-nas.mount.service", False),
        ("mnt-nas.mount\nk3s.service", False),
        (detaching_unit(Path("/mnt/my-nas")), True),
        (detaching_unit(Path("/")), False),
        ("upsd-snapshot@20261126T151524Z-0a1b.service", True),
        ("upsd-snapshot@rehearsal.service", True),
        ("upsd-snapshot.service", False),
        ("upsd.service", False),
        (detaching_unit(Path("/var/lib/rancher")), False),
    ],
)
def test_the_polkit_rule_covers_mounts_below_mnt_and_no_other_unit(unit_name: str, *, allowed: bool) -> None:
    """The daemon can unmount or detach the NAS and have a snapshot taken; it can't stop k3s or the root file system."""
    patterns = re.findall(r"/(\^.*\$)/\.test\(action\.lookup\(\"unit\"\)\)", POLKIT)
    assert (re.fullmatch("|".join(patterns), unit_name) is not None) is allowed
