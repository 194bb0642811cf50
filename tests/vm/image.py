"""The Debian that all machines of the virtual rack run: made once, kept in a cache by what went into it.

One root tree serves the containers as it is and the guests of QEMU as an ext4 image.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm.cache import cache_directory, digest, made_whole, run
from tests.vm.kernel import make_initrd, unpack_kernel

GUEST: Final = Path(__file__).parent / "guest"
"""What lies in every machine, as files."""
_DISK_SIZE: Final = "1G"
_PACKAGES: Final = (
    "busybox-static",
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "libusb-1.0-0",
    "nfs-common",
    "nfs-ganesha",
    "nfs-ganesha-vfs",
    "nut-client",
    "nut-server",
    "openssh-client",
    "openssh-server",
    "polkitd",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
    "usbip",
    "usbutils",
)
_UNWANTED: Final = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "getty.target", "console-getty.service"),
    # The kernel has few modules here.
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-pstore.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service"),
    # Version 4 of NFS does without; fsckd only shows how far a check is.
    *("rpcbind.service", "rpcbind.socket", "nfs-client.target", "systemd-fsckd.service", "systemd-fsckd.socket"),
    *("systemd-random-seed.service", "systemd-update-utmp.service"),
    # Who wants NUT starts its programs.
    *("nut.target", "nut-driver.target", "nut-driver-enumerator.path", "nut-driver-enumerator.service"),
    *("nut-server.service", "nut-monitor.service"),
    # Only the NAS has them.
    *("nfs-ganesha.service", "nfs-ganesha-lock.service"),
)
"""Units that machines boot faster without."""
_SSHD: Final = """\
UseDNS no
MaxStartups 100
# A session of systemd's for each login, and the key exchange of the day, take seconds under emulation.
UsePAM no
KexAlgorithms curve25519-sha256
"""
_LEAST: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

_DOWNLOAD_KERNEL: Final = (
    'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download --quiet '
    '$(APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache depends linux-image-amd64 | '
    "sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p')"
)
"""The kernel of the same suite; unpacked later, not installed."""


@dataclass(frozen=True, slots=True)
class Image:
    """What machines are made of."""

    directory: Path

    @property
    def tree(self) -> Path:
        """The root file system as a directory; nobody writes there."""
        return self.directory / "tree"

    @property
    def disk(self) -> Path:
        """The same as an ext4 image, to be copied."""
        return self.directory / "root.ext4"

    @property
    def kernel(self) -> Path:
        """Debian's kernel, uncompressed, since that boots fastest."""
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        """What finds and mounts the root."""
        return self.directory / "initrd"

    @property
    def key(self) -> Path:
        """The private key with which the tests log in as root everywhere."""
        return self.directory / "key"


def image() -> Image:
    """The image of the Debian suite that the environment names, made if it is not in the cache.

    Raises:
        ProgramError: a program failed.
    """
    suite, cache = os.environ.get("UPSD_VM_SUITE", "bookworm"), cache_directory()
    base = cache / f"base-{suite}-{digest(suite, *_PACKAGES, *_LEAST, _DOWNLOAD_KERNEL)}"
    with made_whole(base) as making:
        if making:
            sys.stderr.write(f"making Debian {suite} for the virtual rack in {base} (once)\n")
            _make_base(suite, making)
    sources = (Path(__file__), Path(__file__).with_name("kernel.py"), *sorted(GUEST.iterdir()))
    texts = [file.read_text() for file in sources]
    made = Image(cache / f"image-{digest(base.name, *texts)}")
    with made_whole(made.directory) as making:
        if making:
            _make(base, Image(making))
    return made


def _make(base: Path, image: Image) -> None:
    run("cp", "-a", base, image.tree)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", image.key)
    _furnish(image)
    release = unpack_kernel(image.tree, image.kernel)
    make_initrd(image.tree, release, GUEST / "init", image.initrd)
    run("mke2fs", "-q", "-t", "ext4", "-d", image.tree, image.disk, _DISK_SIZE)


def _make_base(suite: str, tree: Path) -> None:
    run(
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEAST),
        *('--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io"),
        f'--customize-hook=cd "$1/root" && {_DOWNLOAD_KERNEL}',
        *(suite, tree),
    )


def _furnish(image: Image) -> None:
    """What the tests need in every machine, be it a guest or a container."""
    tree = image.tree
    for name, mode in (("writer", 0o755), ("usbip-ups", 0o755)):
        shutil.copy(GUEST / name, tree / "usr/local/sbin" / name)
        (tree / "usr/local/sbin" / name).chmod(mode)
    for unit in GUEST.glob("*.service"):
        shutil.copy(unit, tree / "etc/systemd/system")
    units = tree / "etc/systemd/system"
    # Since Debian 13 a second name of NUT's server.
    (units / "upsd.service").unlink(missing_ok=True)
    for name in _UNWANTED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "multi-user.target.wants/writer.service").symlink_to("../writer.service")
    (tree / "var/log/journal").mkdir(exist_ok=True)
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(image.key.with_suffix(".pub"), tree / "root/.ssh/authorized_keys")
    (tree / "etc/ssh/sshd_config.d/tests.conf").write_text(_SSHD)
    (tree / "etc/fstab").write_text("")
