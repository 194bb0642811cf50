"""Which snapshots are kept? Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"k3s-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}\.db")
_PART = re.compile(r"k3s-[0-9A-Za-z-]+\.db\.part(-journal|-wal|-shm)?")


def file_name(outage: str) -> str:
    """What the snapshot of an outage is called; names sort as the outages came."""
    return f"k3s-{outage}.db"


def part_name(name: str) -> str:
    """What a snapshot is called while it is not complete."""
    return f"{name}.part"


def is_part(name: str) -> bool:
    """Whether it is a snapshot of ours that was never completed, or what SQLite keeps beside one."""
    return _PART.fullmatch(name) is not None


def superfluous(names: Iterable[str], keep: int) -> tuple[str, ...]:
    """Those of our snapshots, the oldest first, that are more than `keep`; what is not ours is never among them."""
    ours = sorted(name for name in names if _NAME.fullmatch(name))
    return tuple(ours[: max(0, len(ours) - keep)])
