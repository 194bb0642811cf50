"""How long the plan takes to make, what running it costs beyond the machines' own time, and what others would need."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hardware_sim.virtual_time import VirtualTimeLoop
from tests.bench.figures import report, tell
from upsd.domain.plan import StepKind
from upsd.shutdown.budget import critical_path_s, earliest_finishes, latest_finishes
from upsd.shutdown.engine import Engine, Outcome
from upsd.shutdown.journal import FileJournal
from upsd.shutdown.plan import ClusterShape, HostShape, RackShape, StorageShape, shutdown_plan
from upsd.shutdown.triage import left_out

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from upsd.domain.plan import Plan, Step
    from upsd.domain.power import Scalar
    from upsd.shutdown.engine import StepContext

_PLANNED = (10, 100, 1_000, 5_000)
_RUN = (4, 500)
_REPEATS = 3
_SEED = 4
_BATTERY_S = 600.0
_SHORT_S = 60.0
"""A battery that makes the planning hardest: something has to be left out."""


class _WithoutWaiting(VirtualTimeLoop):
    """The real clock, but where nothing is left to do the time jumps: what the program and the disk take counts."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        super().__init__()

    def time(self) -> float:
        return super().time() + time.perf_counter() - self._began_s


async def measure_plan(directory: Path) -> None:
    """Print all figures; the best of several for what takes real time, as others use the machine too."""
    for machines in _PLANNED:
        report(f"planning_{machines}_machines", min(_planning_s(machines) for _ in range(_REPEATS)) * 1000, "ms")
    for workers in _RUN:
        tell(f"running the plan of {workers} workers {_REPEATS} times, without waiting")
        plan = _as_it_happens(shutdown_plan(_rack(workers)))
        # A loop of its own kind can't run inside this one.
        runs = [await asyncio.to_thread(_run, plan, directory / f"{workers}-{turn}") for turn in range(_REPEATS)]
        path_s = critical_path_s(plan)
        overhead_s = min(runs) - path_s
        report(f"path_{workers}_workers", path_s, "s")
        report(f"overhead_{workers}_workers", overhead_s, "s")
        report(f"battery_left_{workers}_workers", _BATTERY_S - path_s - overhead_s, "s")
        report(f"battery_left_in_phases_{workers}_workers", _BATTERY_S - _in_phases_s(plan), "s")
        report(f"battery_left_one_by_one_{workers}_workers", _BATTERY_S - _one_by_one_s(plan), "s")


def _planning_s(machines: int) -> float:
    """From the rack's shape to a plan with all its times, and to what would be left out: CPU time (s)."""
    shape = _rack(machines - 2)
    began_s = time.process_time()
    plan = shutdown_plan(shape)
    earliest_finishes(plan)
    latest_finishes(plan, _SHORT_S)
    left_out(plan, _SHORT_S, spent_s={}, ended=())
    return time.process_time() - began_s


def _run(plan: Plan, directory: Path) -> float:
    """How long the plan takes (s), with an engine and a journal on disk as the daemon has them."""
    directory.mkdir()
    with asyncio.Runner(loop_factory=_WithoutWaiting) as runner:
        return runner.run(_run_engine(plan, directory))


async def _run_engine(plan: Plan, directory: Path) -> float:
    journal, loop = FileJournal(directory / "journal.jsonl", lambda: ""), asyncio.get_running_loop()

    async def act(step: Step, context: StepContext) -> Outcome:  # noqa: ARG001 - fits the protocol
        await asyncio.sleep(step.expected_s)
        return Outcome()

    async def record(entry: Mapping[str, Scalar]) -> None:
        await journal.append(entry)

    engine = Engine(
        dict.fromkeys(StepKind, act),
        record=record,
        report=lambda _progress: None,
        battery_end_at=lambda: _BATTERY_S,
    )
    began_at = loop.time()
    await engine.run(plan, outage="bench")
    journal.close()
    return loop.time() - began_at


def _rack(workers: int) -> RackShape:
    return RackShape(
        master=HostShape("k3s-master", 40, 120),
        workers=tuple(HostShape(f"worker-{number}", 20, 120) for number in range(workers)),
        cluster=ClusterShape(cordon_s=3, drain_s=60, drain_limit_s=300, delete_grace_s=5, ready_limit_s=600),
        storage=StorageShape("nas", flush_s=5, limit_s=60, host=HostShape("nas", 40, 120)),
        outlet_off_delay_s=180,
    )


def _as_it_happens(plan: Plan) -> Plan:
    """The plan of machines that take half to one and a half times as long as expected, each time the same."""
    chance = random.Random(_SEED)
    steps: list[Step] = []
    for step in plan.steps:
        takes_s = step.expected_s * chance.uniform(0.5, 1.5)
        steps.append(replace(step, expected_s=takes_s, minimum_s=min(step.minimum_s, takes_s)))
    return replace(plan, steps=tuple(steps))


def _one_by_one_s(plan: Plan) -> float:
    """How long it takes as a script does it: one machine after another, each step when the one before it is over."""
    return sum(step.expected_s for step in plan.steps)


def _in_phases_s(plan: Plan) -> float:
    """How long it takes in phases: all drains, then all power-offs, then all looks, each as long as its slowest."""
    phase: dict[str, int] = {}
    slowest_s: dict[int, float] = {}
    for step in plan.steps:
        number = phase[step.id] = max((phase[need] + 1 for need in step.needs), default=0)
        slowest_s[number] = max(slowest_s.get(number, 0.0), step.expected_s)
    return sum(slowest_s.values())
