"""What makes a machine the master, a worker or the NAS of the rack: its files, put there while it is off."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hardware_sim.rack import WATTS
from tests.vm.cache import run
from tests.vm.machines import Guest
from tests.vm.network import HERE, address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.machines import Machine

MASTER: Final = "k3s-master"
WORKERS: Final = ("pi4-a", "pi4-b", "pi3", "bananapi")
NAS: Final = "nas"
NUMBERS: Final = {MASTER: 2, "pi4-a": 11, "pi4-b": 12, "pi3": 13, "bananapi": 14, NAS: 20}
_REPOSITORY: Final = Path(__file__).parents[2]
_NAS_PROGRAM: Final = "/usr/local/bin/upsd-nas"
_EXPORT: Final = """\
NFS_CORE_PARAM {
    Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
    # Since version 6, which asks for a capability that root may not have where this runs; before, it is passed over.
    Allow_Set_Io_Flusher_Fail = true;
}
NFSv4 { Grace_Period = 1; Lease_Lifetime = 10; Graceless = true; RecoveryRoot = /var/lib/nfs/ganesha; }
EXPORT {
    Export_Id = 1; Path = /srv/nas; Pseudo = /nas; Access_Type = RW; Squash = No_Root_Squash;
    SecType = sys; Transports = TCP;
    FSAL { Name = VFS; }
}
"""
_SETTINGS: Final = """\
[ups]
outlet_off_delay = "{outlet_off_delay_s}s"
[power]
debounce = "6s"
silence = "10s"
[shutdown]
on_battery = "8s"
[recovery]
boot_expected = "30s"
battery_limit = "15s"
[ssh]
connect_timeout = "20s"
[kubernetes]
kubeconfig = "/etc/upsd/kubeconfig"
drain_expected = "5s"
budget_patience = "1s"
[master]
name = "{master}"
watts = {master_watts}
poweroff_expected = "10s"
{workers}
[nas]
mount = "/mnt/nas"
watts = {nas_watts}
host = "{nas}"
poweroff_command = "poweroff"
rehearse_command = "check"
flush_limit = "20s"
poweroff_expected = "5s"
poweroff_limit = "30s"
[[loads]]
name = "switch"
watts = {switch_watts}
[mqtt]
host = "{here}"
"""


def settings(outlet_off_delay_s: int) -> str:
    """The master's upsd.toml."""
    workers = "".join(
        f'[[workers]]\nname = "{name}"\nhost = "{address(NUMBERS[name])}"\nwatts = {WATTS[name]}\n'
        'poweroff_expected = "8s"\npoweroff_limit = "45s"\n'
        for name in WORKERS
    )
    return _SETTINGS.format(
        outlet_off_delay_s=outlet_off_delay_s,
        master=MASTER,
        workers=workers,
        nas=address(NUMBERS[NAS]),
        here=HERE,
        master_watts=WATTS[MASTER],
        nas_watts=WATTS[NAS],
        switch_watts=WATTS["switch"],
    )


def make_identity(machine: Machine, root: Path) -> str:
    """A name, a machine id and a host key of its own; the public host key."""
    (root / "etc/hostname").write_text(f"{machine.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n")
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    if isinstance(machine, Guest):
        (root / "etc/fstab").write_text("/dev/vda / ext4 errors=remount-ro 0 0\n")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    key = root / "etc/ssh/ssh_host_ed25519_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    kind, blob, *_ = key.with_suffix(".pub").read_text().split()
    return f"{kind} {blob}"


def make_worker(root: Path, key: Path, settings_file: Path) -> None:
    """What `upsctl enroll` installs, by the script that it shows."""
    shown = subprocess.run(
        [sys.executable, "-m", "upsd.ctl.main", "enroll", "--print", "--config", settings_file, "worker"],
        capture_output=True,
        text=True,
        check=True,
        env={"UPSD_SSH__KEY_FILE": str(key), "PYTHONPATH": str(_REPOSITORY), "PATH": "/usr/bin:/bin"},
    )
    run("chroot", root, "sh", text=shown.stdout)


def make_nas(root: Path, key: Path) -> None:
    """The program that the key is tied to, its rights, and an export over NFS."""
    shutil.copy(_REPOSITORY / "config/nas/upsd-nas", root / _NAS_PROGRAM.lstrip("/"))
    run("chroot", root, "useradd", "--system", "--create-home", "--shell", "/bin/sh", "--password", "*", "upsd")
    ssh = root / "home/upsd/.ssh"
    ssh.mkdir()
    public = key.with_suffix(".pub").read_text()
    (ssh / "authorized_keys").write_text(f'restrict,command="{_NAS_PROGRAM}" {public}')
    (root / "etc/sudoers.d/upsd").write_text("upsd ALL=(root) NOPASSWD: /usr/sbin/poweroff\n")
    (root / "etc/ganesha/ganesha.conf").write_text(_EXPORT)
    # The image masks them for all others; it does not start without the port mapper, though nobody asks that.
    for unit in ("nfs-ganesha.service", "rpcbind.service", "rpcbind.socket"):
        (root / "etc/systemd/system" / unit).unlink()


def make_master(root: Path, key: Path, files: Mapping[str, str]) -> None:
    """The settings, keys and credentials of upsd, the cable of its UPS and the mount of the NAS."""
    user = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("upsd:"))
    owner, group = (int(number) for number in user.split(":")[2:4])
    for name, text in files.items():
        place = root / "etc/upsd" / name
        place.write_text(text)
        shutil.chown(place, 0, group)
        place.chmod(0o640)
    # Emulated, and where others use the processors too, its start takes long.
    patience = root / "etc/systemd/system/upsd.service.d/patience.conf"
    patience.parent.mkdir()
    patience.write_text("[Service]\nTimeoutStartSec=5min\n")
    own_key = root / "var/lib/upsd/ssh_key"
    shutil.copy(key, own_key)
    shutil.chown(own_key, owner, group)
    own_key.chmod(0o600)
    (root / "mnt/nas").mkdir()
    nas = f"{address(NUMBERS[NAS])}:/nas"
    with (root / "etc/fstab").open("a") as fstab:
        fstab.write(f"{nas} /mnt/nas nfs4 nofail,_netdev,timeo=50 0 0\n")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    (wants / "usbip-ups.service").symlink_to("/etc/systemd/system/usbip-ups.service")
