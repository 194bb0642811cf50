"""A NAS that acknowledges writes before they are on its disks, and so can lose them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hardware_sim.machines.machine import MachineState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hardware_sim.machines.machine import SimulatedMachine


class SimulatedNas:
    """An export, who writes to it, and what of that has reached the disks.

    An acknowledged write sits in memory until somebody flushes or the machine shuts down in order; what sits there
    when the power goes is lost. The disks are the file `export` in the directory, a line for each write.
    """

    def __init__(self, machine: SimulatedMachine, directory: Path, *, flush_s: float = 0.5) -> None:
        """Take the machine that it is, where its disks are, and how long it takes to write out, in seconds."""
        self.machine = machine
        self.flush_s = flush_s
        self.acknowledged = 0
        self.on_disk = 0
        self.lost = 0
        self._disk = directory / "export"
        self._disk.touch()
        self._cuts_seen = len(machine.cuts)
        machine.on_change(self._machine_changed)

    @property
    def unflushed(self) -> int:
        """How many acknowledged writes are in memory only."""
        return self.acknowledged - self.on_disk - self.lost

    def write(self) -> bool:
        """Acknowledge one write; `False` if nobody is there to do so."""
        if self.machine.state is not MachineState.RUNNING:
            return False
        self.acknowledged += 1
        return True

    async def run_writer(self, clients: Iterable[SimulatedMachine], interval_s: float = 0.2) -> None:
        """Write again and again, as long as one of the client machines runs; until cancelled."""
        machines = tuple(clients)
        while True:
            if any(machine.state is MachineState.RUNNING for machine in machines):
                self.write()
            await asyncio.sleep(interval_s)

    async def flush(self) -> None:
        """Write out what is acknowledged so far: its `sync`."""
        cuts, acknowledged, lost = len(self.machine.cuts), self.acknowledged, self.lost
        await asyncio.sleep(self.flush_s)
        if len(self.machine.cuts) == cuts:
            self._write_out(acknowledged - lost)

    async def measured_flush(self) -> str:
        """The same by the script that upsd sends, with its figures; an acknowledged write is a KiB here."""
        before = self.unflushed
        await self.flush()
        return (
            f"upsd-flush 1\nbefore {before}\nafter {self.unflushed}\ncentiseconds {round(100 * self.flush_s)}\n"
            "rest yes\nmdstat\nmd1 : active raid1 sdb2[1] sda2[0]\n      1953 blocks [2/2] [UU]\n"
        )

    def _write_out(self, upto: int) -> None:
        if upto <= self.on_disk:
            return
        with self._disk.open("a", encoding="ascii") as disk:
            disk.writelines(f"{number}\n" for number in range(self.on_disk, upto))
        self.on_disk = upto

    def _machine_changed(self, machine: SimulatedMachine) -> None:
        if machine.state is not MachineState.OFF:
            return
        if len(machine.cuts) > self._cuts_seen:
            self._cuts_seen = len(machine.cuts)
            self.lost += self.unflushed
        else:
            self._write_out(self.acknowledged - self.lost)
