"""What the machines in memory did, and what goes wrong with them; all on the event loop's time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from upsd.domain.rack import RackError


def loop_time() -> float:
    """The event loop's time."""
    return asyncio.get_running_loop().time()


class Act(NamedTuple):
    """Something that a machine did, at loop time `at`."""

    at: float
    what: str


@dataclass(slots=True)
class _Fault:
    until: float
    error: str | None = None
    hangs: bool = False
    slow_s: float = 0.0


@dataclass(slots=True)
class Faults:
    """What goes wrong with the operations of one machine, by the name of the method; all of them for `*`."""

    latency_s: float = 0.05
    by_operation: dict[str, _Fault] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    """How often each operation was called."""

    def fail(self, operation: str, error: str = "connection refused", *, for_s: float = math.inf) -> None:
        """Let it raise `RackError`."""
        self.by_operation[operation] = _Fault(loop_time() + for_s, error=error)

    def hang(self, operation: str, *, for_s: float = math.inf) -> None:
        """Let calls of it never return, not even when the fault is over."""
        self.by_operation[operation] = _Fault(loop_time() + for_s, hangs=True)

    def slow(self, operation: str, by_s: float, *, for_s: float = math.inf) -> None:
        """Let it take so much longer."""
        self.by_operation[operation] = _Fault(loop_time() + for_s, slow_s=by_s)

    def mend(self) -> None:
        """Let everything work again."""
        self.by_operation.clear()

    async def meet(self, operation: str) -> None:
        """Pass the time that a call takes, and go wrong if it must."""
        self.met[operation] += 1
        fault = self.by_operation.get(operation) or self.by_operation.get("*")
        if fault is None or loop_time() >= fault.until:
            await asyncio.sleep(self.latency_s)
        elif fault.hangs:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self.latency_s + fault.slow_s)
            if fault.error is not None:
                raise RackError(fault.error)
