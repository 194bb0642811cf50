"""A machine with a power cord: it boots when it gets power, goes off when it is told to, and may be cut before."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

from hardware_sim.memory_faults import Faults
from upsd.domain.rack import PortAnswer, RackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.outages.scenario import MachineSpec

_IDLE_SHARE = 0.1
"""What a machine that is off still draws: its power supply."""


class MachineState(enum.Enum):
    """Where a machine stands."""

    OFF = "off"
    BOOTING = "booting"
    ON = "on"
    STOPPING = "stopping"


class Machine:
    """One machine; fits `RemoteHost`, and `LocalHost` for the master.

    Args:
        spec: how it is.
        did: hears what it does: `power-off-asked` before it takes a power-off, `boots`, `on`, `stopping`, `off`, `cut`.
    """

    def __init__(self, spec: MachineSpec, did: Callable[[Machine, str], None]) -> None:
        self.spec = spec
        self.state = MachineState.ON
        self.powered = True
        self.dead = False
        self.deaf = spec.deaf
        self.faults = Faults()
        self._did = did
        self._next: asyncio.TimerHandle | None = None

    @property
    def draws_w(self) -> float:
        """What it takes from its outlet."""
        return self.spec.watts * (_IDLE_SHARE if self.state is MachineState.OFF else 1.0)

    @property
    def answers(self) -> bool:
        """Whether it takes connections."""
        return self.state is MachineState.ON and not self.dead

    def feed(self, powered: bool) -> None:  # noqa: FBT001 - fits the listener of an outlet
        """Give it power, or take it away."""
        self.powered = powered
        if powered:
            self._boot()
            return
        self._cancel()
        self._did(self, "cut")
        self.state, self.dead = MachineState.OFF, False

    def die(self) -> None:
        """Let its kernel hang: it draws power, and answers nobody."""
        if self.state is MachineState.ON:
            self.dead = True
            self._did(self, "dies")

    async def run(self, _command: str) -> str:
        """Take a command as one to power off."""
        await self.faults.meet("run")
        if self.dead:
            await asyncio.Event().wait()
        if self.state is not MachineState.ON:
            raise RackError(f"{self.spec.name}: no route to host")
        self._power_off()
        return ""

    async def poweroff(self) -> None:
        """Go off."""
        await self.faults.meet("poweroff")
        self._power_off()

    async def call_port(self) -> PortAnswer:
        """Its sshd ends first; what is off or dead is silent."""
        await self.faults.meet("call_port")
        if self.answers:
            return PortAnswer.ACCEPTS
        return PortAnswer.REFUSES if self.state is MachineState.STOPPING else PortAnswer.SILENT

    def wake(self) -> None:
        """Boot, as on Wake-on-LAN."""
        if self.powered:
            self._boot()

    def _power_off(self) -> None:
        if self.state is not MachineState.ON:
            return
        self._did(self, "power-off-asked")
        if self.deaf:
            self.deaf -= 1
            return
        self._become(MachineState.STOPPING)
        self._later(self.spec.poweroff_s, self._stopped)

    def _stopped(self) -> None:
        self._become(MachineState.OFF)
        if self.spec.reboots:
            self._boot()

    def _boot(self) -> None:
        if self.state is MachineState.OFF:
            self._become(MachineState.BOOTING)
            self._later(self.spec.boot_s, self._booted)

    def _booted(self) -> None:
        self._become(MachineState.ON)
        self._next = None

    def _become(self, state: MachineState) -> None:
        self.state = state
        self._did(self, state.value)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._cancel()
        self._next = asyncio.get_running_loop().call_later(seconds, then)

    def _cancel(self) -> None:
        if self._next:
            self._next.cancel()
            self._next = None
