"""Debian's kernel, unpacked and not installed: QEMU starts it directly, with an initrd that mounts the root."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.cache import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_BOOT_MODULES: Final = ("virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
"""The initrd loads them; the network card, too, since udev would come too late for who needs the network at once."""
_MODULES: Final = (*_BOOT_MODULES, "vhci_hcd", "cypress_m8", "usbhid", "nfsv4", "af_packet", "fuse", "autofs4")


def unpack_kernel(tree: Path, kernel: Path) -> str:
    """Take the package that lies in root's home of a tree apart: the kernel itself, and its modules into the tree.

    Returns:
        The release that the modules belong to.

    Raises:
        ProgramError: the package is not there, or not as expected.
    """
    package = next((tree / "root").glob("linux-image-*.deb"))
    with tempfile.TemporaryDirectory(dir=kernel.parent) as directory:
        unpacked = Path(directory)
        run("dpkg-deb", "-x", package, unpacked)
        kernel.write_bytes(_uncompressed(next(unpacked.glob("boot/vmlinuz-*")).read_bytes()))
        # Since Debian 13 they lie below /usr.
        source = next(unpacked.glob("**/lib/modules/*"))
        run("depmod", "-b", source.parents[2], source.name)
        target = tree / "lib/modules" / source.name
        indices = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
        for file in (*_with_dependencies(source, _MODULES), *indices):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, target / file)
    package.unlink()
    run("depmod", "-b", tree, target.name)
    return target.name


def make_initrd(tree: Path, release: str, init: Path, initrd: Path) -> None:
    """Pack the modules that the root needs, and a first program that loads them.

    Raises:
        ProgramError: a program failed.
    """
    with tempfile.TemporaryDirectory(dir=initrd.parent) as directory:
        root = Path(directory)
        for name in ("bin", "dev", "proc", "sys", "root", "modules"):
            (root / name).mkdir()
        shutil.copy(tree / "bin/busybox", root / "bin")
        shutil.copy(init, root / "init")
        (root / "init").chmod(0o755)
        modules = tree / "lib/modules" / release
        for number, module in enumerate(_with_dependencies(modules, _BOOT_MODULES)):
            file = modules / module
            target = root / "modules" / f"{number:02}-{file.name}"
            shutil.copy(file, target)
            if target.suffix == ".xz":
                run("xz", "-d", target)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        run("cpio", "--quiet", "-o", "-H", "newc", "-O", initrd, cwd=root, text=names)


def _with_dependencies(modules: Path, names: Sequence[str]) -> list[str]:
    """The files of some modules and of what they need, each after what it needs."""
    lines = (modules / "modules.dep").read_text().splitlines()
    needs = {file: needed.split() for file, _, needed in (line.partition(":") for line in lines)}
    by_name = {re.sub(r"\.ko.*", "", Path(file).name).replace("-", "_"): file for file in needs}
    found: list[str] = []
    for name in names:
        file = by_name.get(name)
        if file is None:
            continue  # built in
        found += [module for module in (*reversed(needs[file]), file) if module not in found]
    return found


def _uncompressed(kernel: bytes) -> bytes:
    """The ELF file in a bzImage."""
    start = kernel.find(b"\xfd7zXZ\0")
    if start >= 0:
        return lzma.LZMADecompressor().decompress(kernel[start:])
    start = kernel.find(b"\x28\xb5\x2f\xfd")
    if start < 0:
        raise ProgramError("the kernel is compressed neither with xz nor with zstd")
    # zstd complains of what comes after the frame, once it has written everything.
    done = subprocess.run(["zstd", "-dc"], input=kernel[start:], capture_output=True, check=False)
    return done.stdout
