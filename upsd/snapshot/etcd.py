"""A snapshot of the embedded etcd, which k3s takes and keeps by itself."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from upsd.snapshot.errors import SnapshotError

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = "upsd"


def save(outage: str, directory: Path, keep: int) -> None:
    """Have k3s take one, and remove those of ours that are more than `keep`.

    Raises:
        SnapshotError: k3s could not.
    """
    where = f"--etcd-snapshot-dir={directory}"
    _k3s("save", "--name", f"{_PREFIX}-{outage}", where)
    _k3s("prune", "--name", _PREFIX, "--snapshot-retention", str(keep), where)


def check(directory: Path) -> None:
    """Have k3s list its snapshots, which takes the same rights and changes nothing.

    Raises:
        SnapshotError: k3s could not.
    """
    _k3s("ls", f"--etcd-snapshot-dir={directory}")


def _k3s(*words: str) -> None:
    command = ["k3s", "etcd-snapshot", *words]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise SnapshotError(f"k3s can't be run: {error.strerror}; is this a k3s server?") from error
    except subprocess.CalledProcessError as error:
        last = next((line for line in reversed(error.stderr.splitlines()) if line.strip()), "no reason given")
        raise SnapshotError(f"`k3s etcd-snapshot {words[0]}` failed: {last.strip()}") from error
