"""The Debian that all machines of the virtual rack run: made once, kept in a cache by what went into it.

One root tree serves the containers as it is and the guests of QEMU as an ext4 image. The kernel is unpacked, not
installed: QEMU starts it directly, with an initrd that loads a few modules and mounts the root.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GUEST: Final = Path(__file__).parent / "guest"
"""What lies in every machine, as files."""
DISK_SIZE: Final = "1G"
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
_BOOT_MODULES: Final = ("virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
"""The initrd loads them; the network card, too, since udev would come too late for who needs the network at once."""
_MODULES: Final = (*_BOOT_MODULES, "vhci_hcd", "cypress_m8", "usbhid", "nfsv4", "af_packet", "fuse", "autofs4")
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
_KEPT_S: Final = 7 * 86400.0
_LEAST: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

_DOWNLOAD_KERNEL: Final = (
    'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download --quiet '
    '$(APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache depends linux-image-amd64 | '
    "sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p')"
)
"""The kernel of the same suite; unpacked later, not installed."""


class ImageError(Exception):
    """The image can't be made; the message says why."""


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
        ImageError: a program failed.
    """
    suite, cache = os.environ.get("UPSD_VM_SUITE", "bookworm"), cache_directory()
    base = cache / f"base-{suite}-{digest(suite, *_PACKAGES, *_LEAST, _DOWNLOAD_KERNEL)}"
    with made_whole(base) as making:
        if making:
            sys.stderr.write(f"making Debian {suite} for the virtual rack in {base} (once)\n")
            _make_base(suite, making)
    texts = [file.read_text() for file in (Path(__file__), *sorted(GUEST.iterdir()))]
    made = Image(cache / f"image-{digest(base.name, *texts)}")
    with made_whole(made.directory) as making:
        if making:
            _make(base, Image(making))
    return made


def run(*command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    """What a program says.

    Raises:
        ImageError: it failed; the message has the end of what it said.
    """
    done = subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-3000:]
        raise ImageError(f"{' '.join(map(str, command))} failed (exit code {done.returncode}):\n{said}")
    return done.stdout


@contextlib.contextmanager
def mounted(*arguments: str | Path, at: Path) -> Iterator[Path]:
    """Something mounted while the block lasts."""
    at.mkdir(parents=True, exist_ok=True)
    run("mount", *arguments, at)
    try:
        yield at
    finally:
        run("umount", at)


def digest(*inputs: str) -> str:
    """What names a thing in the cache by what it is made of."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


@contextlib.contextmanager
def made_whole(wanted: Path) -> Iterator[Path | None]:
    """A directory to be filled, which then becomes the wanted one; `None` if that is there already."""
    if wanted.exists():
        os.utime(wanted)
        yield None
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="making-") as directory:
        making = Path(directory) / "made"
        making.mkdir()
        yield making
        making.rename(wanted)


def forget_old(cache: Path) -> None:
    """Remove what nobody has used for a week."""
    for entry in cache.iterdir():
        if entry.stat().st_mtime < datetime.now(tz=UTC).timestamp() - _KEPT_S:
            shutil.rmtree(entry)


def _make(base: Path, image: Image) -> None:
    run("cp", "-a", base, image.tree)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", image.key)
    _furnish(image)
    with tempfile.TemporaryDirectory(dir=image.directory) as directory:
        unpacked = Path(directory)
        _unpack_kernel(image.tree, unpacked)
        image.kernel.write_bytes(_uncompressed(next(unpacked.glob("boot/vmlinuz-*")).read_bytes()))
        release = next(unpacked.glob("lib/modules/*")).name
        wanted = _with_dependencies(unpacked, release, _MODULES)
        for module in wanted:
            place = image.tree / "lib/modules" / release / module
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(unpacked / "lib/modules" / release / module, place)
        for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(unpacked / "lib/modules" / release / index, image.tree / "lib/modules" / release)
    run("depmod", "-b", image.tree, release)
    _make_initrd(image, release)
    run("mke2fs", "-q", "-t", "ext4", "-d", image.tree, image.disk, DISK_SIZE)


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
    for name in _UNWANTED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "multi-user.target.wants/writer.service").symlink_to("../writer.service")
    (tree / "var/log/journal").mkdir(exist_ok=True)
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(image.key.with_suffix(".pub"), tree / "root/.ssh/authorized_keys")
    (tree / "etc/ssh/sshd_config.d/tests.conf").write_text(_SSHD)
    (tree / "etc/fstab").write_text("")


def _unpack_kernel(tree: Path, directory: Path) -> None:
    package = next((tree / "root").glob("linux-image-*.deb"))
    run("dpkg-deb", "-x", package, directory)
    package.unlink()
    run("depmod", "-b", directory, next(directory.glob("lib/modules/*")).name)


def _uncompressed(kernel: bytes) -> bytes:
    """The ELF file in a bzImage."""
    start = kernel.find(b"\xfd7zXZ\0")
    if start >= 0:
        return lzma.LZMADecompressor().decompress(kernel[start:])
    start = kernel.find(b"\x28\xb5\x2f\xfd")
    if start < 0:
        raise ImageError("the kernel is compressed neither with xz nor with zstd")
    # zstd complains of what comes after the frame, once it has written everything.
    done = subprocess.run(["zstd", "-dc"], input=kernel[start:], capture_output=True, check=False)
    return done.stdout


def _with_dependencies(root: Path, release: str, names: Sequence[str]) -> list[str]:
    """The files of the modules and of what they need, each after what it needs."""
    lines = (root / "lib/modules" / release / "modules.dep").read_text().splitlines()
    needs = {file: needed.split() for file, _, needed in (line.partition(":") for line in lines)}
    by_name = {re.sub(r"\.ko.*", "", Path(file).name).replace("-", "_"): file for file in needs}
    found: list[str] = []
    for name in names:
        file = by_name.get(name)
        if file is None:
            continue  # built in
        found += [module for module in (*reversed(needs[file]), file) if module not in found]
    return found


def _make_initrd(image: Image, release: str) -> None:
    with tempfile.TemporaryDirectory(dir=image.directory) as directory:
        root = Path(directory)
        for name in ("bin", "dev", "proc", "sys", "root", "modules"):
            (root / name).mkdir()
        shutil.copy(image.tree / "bin/busybox", root / "bin")
        shutil.copy(GUEST / "init", root)
        (root / "init").chmod(0o755)
        modules = _with_dependencies(image.tree, release, _BOOT_MODULES)
        for number, module in enumerate(modules):
            file = image.tree / "lib/modules" / release / module
            target = root / "modules" / f"{number:02}-{file.name}"
            shutil.copy(file, target)
            if target.suffix == ".xz":
                run("xz", "-d", target)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        run("cpio", "--quiet", "-o", "-H", "newc", "-O", image.initrd, cwd=root, text=names)


def cache_directory() -> Path:
    """Where images are kept."""
    chosen = os.environ.get("UPSD_VM_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache/upsd/vm"
