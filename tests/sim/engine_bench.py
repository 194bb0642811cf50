"""An engine whose steps do what a script says."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import Plan, PlanPurpose, Step, StepKind, StepProgress
from upsd.shutdown.engine import Engine, Outcome, StepContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from upsd.domain.power import Scalar

    Act = Callable[[StepContext], Awaitable[Outcome | None]]


def step(name: str, *needs: str, expected_s: float = 10, minimum_s: float = 2, limit_s: float = 60) -> Step:
    """A step that does what its name is in the script for, and can be undone."""
    return Step(
        id=name,
        kind=StepKind.FLUSH,
        target=name,
        needs=needs,
        expected_s=expected_s,
        minimum_s=minimum_s,
        limit_s=limit_s,
        harmless=True,
    )


def plan(*steps: Step) -> Plan:
    """A shutdown of these steps."""
    return Plan(PlanPurpose.SHUTDOWN, steps)


def takes(seconds: float) -> Act:
    """A step that works for a while."""

    async def act(_: StepContext) -> None:
        await asyncio.sleep(seconds)

    return act


def raises(error: BaseException) -> Act:
    """A step that fails after a second."""

    async def act(_: StepContext) -> None:
        await asyncio.sleep(1)
        raise error

    return act


async def hangs(_: StepContext) -> None:
    """A step that never comes back, but lets itself be cancelled."""
    await asyncio.Event().wait()


async def clings(_: StepContext) -> None:
    """A step that does not let itself be cancelled for an hour."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 3600
    while loop.time() < end:
        try:
            await asyncio.sleep(end - loop.time())
        except asyncio.CancelledError:
            continue


async def breaks_inside(_: StepContext) -> None:
    """A step in which a library cancels what the step waits for."""
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


@dataclass
class Bench:
    """An engine with a script: what each step does, by its name."""

    script: Mapping[str, Act]
    minds_battery: bool = True
    battery_end_at: float = math.inf
    reserve_s: float = 0.0
    journal_s: float = 0.0
    log: list[str] = field(default_factory=list)
    records: list[Mapping[str, Scalar]] = field(default_factory=list)
    reports: list[StepProgress] = field(default_factory=list)
    began_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        """Build the engine."""
        self.engine = Engine(
            {StepKind.FLUSH: self.perform, StepKind.DRAIN: self.perform},
            record=self.record,
            report=self.reports.append,
            battery_end_at=(lambda: self.battery_end_at) if self.minds_battery else None,
            reserve_s=self.reserve_s,
        )

    async def perform(self, step: Step, context: StepContext) -> Outcome:
        """Do what the script says."""
        self.log.append(f"act {step.id}")
        self.began_at[step.id] = asyncio.get_running_loop().time()
        act = self.script.get(step.id, takes(1))
        try:
            return await act(context) or Outcome()
        finally:
            self.ended_at[step.id] = asyncio.get_running_loop().time()

    async def record(self, record: Mapping[str, Scalar]) -> None:
        """Write to a journal that takes its time."""
        await asyncio.sleep(self.journal_s)
        self.log.append(f"record {record['step']} {record['state']}")
        self.records.append(record)

    async def run(self, *steps: Step, ended: frozenset[str] = frozenset()) -> dict[str, StepProgress]:
        """Run a plan of these steps."""
        return await self.engine.run(plan(*steps), outage="o1", ended=ended)
