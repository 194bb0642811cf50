"""A mount namespace in which some of the system's directories are copies on write.

So a test can be root there, with the real programs and paths, and leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What is under test must not see what the machine has there.
OVERLAID = ("/etc", "/usr/local/sbin", "/var/lib", "/run")


def inside(scratch: Path, places: Sequence[str] = OVERLAID) -> list[str]:
    """A command that runs another one where these directories are copies on write; `scratch` is an empty directory."""
    mounts = [f"mount -t tmpfs tmpfs {scratch}"]
    for place in places:
        upper, work = (f"{scratch}/{kind}{place.replace('/', '_')}" for kind in ("upper", "work"))
        mounts += [
            f"mkdir -p {upper} {work}",
            f"mount -t overlay overlay -o lowerdir={place},upperdir={upper},workdir={work} {place}",
        ]
    return ["unshare", "--mount", "sh", "-ec", "; ".join(mounts) + '; mkdir -p /run/sshd; exec "$@"', "sh"]


def need_overlays(scratch: Path, *programs: str) -> None:
    """Skip the test where it can't have them, or one of the programs; `scratch` is made."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in ("unshare", *programs) if shutil.which(name, path=path) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    scratch.mkdir()
    if os.geteuid() != 0 or subprocess.run([*inside(scratch), "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, and the right to a mount namespace with overlays")
