"""What Linux says of data that is not on its disks yet, and what our flush script says of it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from upsd.domain.rack import RackError
from upsd.domain.storage import Flushed, RaidArray, RaidState, WrittenOut

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK: Final = "upsd-flush 1"
"""The first line of a flush that gives figures."""

_UNWRITTEN = re.compile(r"^(?:Dirty|Writeback):[ \t]+([0-9]{1,15}) kB$", re.MULTILINE)
_FIGURES = re.compile(
    rf"{MARK}\nbefore ([0-9]{{1,15}})\nafter ([0-9]{{1,15}})\ncentiseconds ([0-9]{{1,9}})\nrest (yes|no)\nmdstat\n",
)
_ARRAY = re.compile(r"^(md[^ :\n]*) : (active|inactive)\b(.*(?:\n[ \t].*)*)", re.MULTILINE)
_MEMBERS = re.compile(r" \[([0-9]+)/([0-9]+)\] ")
_REBUILD = re.compile(r"\b(?:recovery|resync|reshape) *= *(?:([0-9]{1,3}(?:\.[0-9]{1,3})?)%|DELAYED|PENDING|REMOTE)")


class FiguresError(RackError):
    """What should be figures is none."""


def unwritten_kib(meminfo: str) -> int:
    """How much waits to be written (Dirty and Writeback), by the text of `/proc/meminfo` (proc_meminfo(5)).

    Raises:
        FiguresError: It does not say.
    """
    found = _UNWRITTEN.findall(meminfo)
    if not found:
        raise FiguresError("/proc/meminfo says nothing of Dirty or Writeback: is this Linux, with /proc mounted?")
    return sum(int(kib) for kib in found)


def parse_flush(output: str) -> Flushed:
    """What a flush has shown; without figures if its output is not that of our script, as of a plain `sync`.

    Raises:
        FiguresError: It begins as our script does and does not go on so.
    """
    if not output.startswith(MARK):
        return Flushed(remark="no figures: the command gives none")
    match = _FIGURES.match(output)
    if match is None:
        raise FiguresError(
            f"the flush gave figures that can't be read: {output[:80]!r}; install config/nas/upsd-nas anew"
        )
    before, after, centiseconds = (int(match[number]) for number in (1, 2, 3))
    figures = WrittenOut(before, after, centiseconds / 100, at_rest=match[4] == "yes")
    return Flushed(figures, tuple(parse_mdstat(output[match.end() :])))


def parse_mdstat(text: str) -> Iterator[RaidArray]:
    """The arrays, by the text of `/proc/mdstat` (md(4)); a scrub (`check`, `repair`) is no rebuild."""
    for name, activity, rest in _ARRAY.findall(text):
        rebuild, members = _REBUILD.search(rest), _MEMBERS.search(f"{rest} ".replace("\n", " "))
        if activity == "inactive":
            yield RaidArray(name, RaidState.INACTIVE)
        elif rebuild:
            yield RaidArray(name, RaidState.REBUILDING, float(rebuild[1]) if rebuild[1] else None)
        elif members and int(members[2]) < int(members[1]):
            yield RaidArray(name, RaidState.DEGRADED)
        else:
            yield RaidArray(name, RaidState.CLEAN)
