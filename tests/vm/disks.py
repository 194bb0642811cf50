"""What the disk of a machine that is off tells: whether its file system is clean, and whether a line is missing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.vm.cache import ProgramError, run
from tests.vm.machines import End, Guest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.machines import Machine

_LINES: Final = "var/lib/writer/lines"


@dataclass(frozen=True, slots=True)
class Inspection:
    """How a machine was found without power.

    Attributes:
        end: how it had gone off.
        trouble: what `e2fsck -fn` complains about, empty if the file system is clean; a machine that was cut gets its
            journal replayed first, on a copy, as its next boot would. The disk of a container is this machine's.
        lines: how many numbered lines are there.
        gap: the first number that is not where it belongs, 0 if all are.
        acknowledged: the last number that was told to be on the disk.
    """

    end: End | None
    trouble: str
    lines: int
    gap: int
    acknowledged: int

    def __str__(self) -> str:
        said = f"{self.lines} lines, {self.acknowledged} acknowledged, {self.trouble or 'clean'}"
        return f"{self.end.value if self.end else 'never on'}; {said}"

    @property
    def lossless(self) -> bool:
        """Whether nothing is missing that was acknowledged."""
        return not self.gap and self.lines >= self.acknowledged


def inspected(machine: Machine, acknowledged: int) -> Inspection:
    """Look at the disk of a machine that is off."""
    end = machine.end
    if not isinstance(machine, Guest):
        file = machine.directory / "disk" / _LINES
        return _judged(end, "", file.read_bytes() if file.exists() else b"", acknowledged)
    disk = machine.disk
    if end is End.CUT:
        disk = machine.directory / "replayed.ext4"
        run("cp", "--sparse=always", machine.disk, disk)
        subprocess.run(["e2fsck", "-p", disk], capture_output=True, check=False)
    try:
        run("e2fsck", "-fn", disk)
        trouble = ""
    except ProgramError as error:
        trouble = str(error)
    lines = subprocess.run(["debugfs", "-R", f"cat /{_LINES}", disk], capture_output=True, check=False).stdout
    return _judged(end, trouble, lines, acknowledged)


def _judged(end: End | None, trouble: str, content: bytes, acknowledged: int) -> Inspection:
    # What is behind the last line feed was not written to its end.
    numbers = content.split(b"\n")[:-1]
    wrong = (place for place, line in enumerate(numbers, 1) if line != b"%d" % place)
    return Inspection(end, trouble, len(numbers), next(wrong, 0), acknowledged)


def keep_evidence(machine: Machine, folder: Path) -> None:
    """Copy the console and the journal of a machine that is off."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(machine.console, folder / f"{machine.name}-console.log")
    journal = folder / f"{machine.name}-journal"
    if isinstance(machine, Guest):
        journal.mkdir(exist_ok=True)
        subprocess.run(
            ["debugfs", "-R", f"rdump /var/log/journal {journal}", machine.disk], capture_output=True, check=False
        )
    else:
        shutil.copytree(machine.directory / "disk/var/log/journal", journal, dirs_exist_ok=True)
