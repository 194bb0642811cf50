"""What is known of a NAS after it was written out: figures in KiB and seconds, and the state of its RAID."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class RaidState(enum.StrEnum):
    """How an array stands, as far as it matters to whoever is about to cut its power."""

    CLEAN = "clean"
    DEGRADED = "degraded"
    REBUILDING = "rebuilding"
    """A recovery, a resync or a reshape runs or waits; it goes on where it was after the next start."""
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class RaidArray:
    """One array of Linux's software RAID; `percent` is how far its rebuild is."""

    name: str
    state: RaidState
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """What a kernel held in memory for its disks and servers before and after it was told to write it out.

    `at_rest` is whether nothing of any size was left, or what was left grew as fast as it was written: then somebody
    else writes on.
    """

    dirty_before_kib: int
    dirty_after_kib: int
    seconds: float
    at_rest: bool = True

    @property
    def written_kib(self) -> int:
        """How much less it holds now."""
        return max(0, self.dirty_before_kib - self.dirty_after_kib)


@dataclass(frozen=True, slots=True)
class Flushed:
    """A flush that has ended: the figures of the NAS and its arrays, if it gave any, and if not, why not."""

    figures: WrittenOut | None = None
    raid: tuple[RaidArray, ...] = ()
    remark: str = ""
