"""Real file systems for a test: one on a loop device, and one whose server never says a word."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str | Path) -> None:
    """Run a program; one that fails skips the test with what it said, as where nothing can be mounted."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if result.returncode:
        pytest.skip(f"{command[0]}: {result.stderr.strip()}")


@contextlib.contextmanager
def on_loop_device(directory: Path, mib: int = 64) -> Iterator[Path]:
    """An ext4 file system in a file, mounted below the directory; for root only."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    image, mount = directory / "image", directory / "disk"
    with image.open("wb") as file:
        file.truncate(mib << 20)
    mount.mkdir()
    run("mkfs.ext4", "-q", image)
    run("mount", "-o", "loop", image, mount)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


@contextlib.contextmanager
def hung(directory: Path) -> Iterator[Path]:
    """A mount of which everybody who touches it waits for ever: FUSE, and nobody who answers the kernel; for root only.

    It ends with the block, as does everybody's wait.
    """
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("only root can mount, and needs /dev/fuse")
    mount = directory / "hung"
    mount.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if _LIBC.mount(b"nas:/export", bytes(mount), b"fuse", 0, options):
        os.close(server)
        pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
    try:
        yield mount
    finally:
        os.close(server)
        _LIBC.umount2(bytes(mount), 2)
