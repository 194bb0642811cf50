"""A computer on an outlet: it boots when power comes, takes its time to shut down, and remembers how its power went."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MachineState(enum.StrEnum):
    """What a machine is doing."""

    OFF = "off"
    BOOTING = "booting"
    RUNNING = "running"
    STOPPING = "stopping"


class SimulatedMachine:
    """One machine, with or without power at its inlet; times are the event loop's.

    As most computers with "restore on AC power loss" it boots when power comes, and only then: a machine that has
    shut itself down stays off until its outlet goes off and on again.
    """

    def __init__(self, name: str, watts: float, *, shutdown_s: float, boot_s: float, running: bool = True) -> None:
        """Take what it draws, and how long it takes to shut down and to boot, in seconds; `running` or still dark."""
        self.name = name
        self.watts = watts
        self.shutdown_s = shutdown_s
        self.boot_s = boot_s
        self.powered = running
        self.state = MachineState.RUNNING if running else MachineState.OFF
        self.cuts: list[MachineState] = []
        """What it was doing each time when its power was cut before it was off."""
        self.boots = 0
        self._listeners: list[Callable[[SimulatedMachine], None]] = []
        self._pending: asyncio.TimerHandle | None = None

    @property
    def clean(self) -> bool:
        """Whether it was off each time when its power went."""
        return not self.cuts

    @property
    def draws_w(self) -> float:
        """What it draws now, in watts."""
        return self.watts if self.powered and self.state is not MachineState.OFF else 0.0

    def on_change(self, listener: Callable[[SimulatedMachine], None]) -> None:
        """Call the listener after each change of state, in the order in which listeners were added."""
        self._listeners.append(listener)

    def power(self, on: bool) -> None:  # noqa: FBT001 - fits the listener of an outlet
        """Give it power, upon which it boots, or take it away."""
        if on == self.powered:
            return
        self.powered = on
        if on:
            self._become(MachineState.BOOTING, self.boot_s, self._boot)
            return
        if self.state is not MachineState.OFF:
            self.cuts.append(self.state)
        self._become(MachineState.OFF)

    def shut_down(self) -> None:
        """Begin an orderly shutdown, as `systemctl poweroff` does; nothing happens unless it runs."""
        if self.state is MachineState.RUNNING:
            self._become(MachineState.STOPPING, self.shutdown_s, lambda: self._become(MachineState.OFF))

    def _boot(self) -> None:
        self.boots += 1
        self._become(MachineState.RUNNING)

    def _become(self, state: MachineState, lasts_s: float = 0.0, then: Callable[[], None] | None = None) -> None:
        if self._pending:
            self._pending.cancel()
        self._pending = asyncio.get_running_loop().call_later(lasts_s, then) if then else None
        if state is self.state:
            return
        self.state = state
        for listener in self._listeners:
            listener(self)
