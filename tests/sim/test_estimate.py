"""What the plan says that it takes at worst is what it takes: the estimate and the executor use the same numbers."""

from __future__ import annotations

import asyncio
import re

import pytest

from hardware_sim.memory_rack import memory_rack
from tests.sim.daemons import Daemon, shape_of
from upsd.domain.plan import StepState
from upsd.shutdown.budget import critical_path_s, describe, worst_case_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import shutdown_plan

A_MOMENT_S = 2.0
WORKERS = tuple(f"worker-{number}" for number in range(5))


async def hung_shutdown(*hanging: str, battery_s: float = float("inf")) -> tuple[Daemon, float]:
    """A shutdown in which these parts of the rack hang, and how long it took (s)."""
    rack = memory_rack(WORKERS)
    for host in rack.hosts.values():
        if "workers" in hanging:
            host.faults.hang("*")
    for part in ("cluster", "storage", "outlets", "local_host"):
        if part in hanging:
            getattr(rack, part).faults.hang("*")
    began_at = asyncio.get_running_loop().time()
    daemon = Daemon(rack, battery_end_at=lambda: began_at + battery_s)
    daemon.journal.delay_s = 0.001
    daemon.conductor.start("battery-low")
    await daemon.phase(Phase.FINISHED)
    return daemon, asyncio.get_running_loop().time() - began_at


EVERYTHING = ("workers", "cluster", "storage", "outlets", "local_host")


@pytest.mark.parametrize(
    "hanging",
    [("workers",), ("cluster",), ("storage",), ("workers", "storage"), ("workers", "cluster", "storage"), EVERYTHING],
)
async def test_no_shutdown_takes_longer_than_the_plan_says(hanging: tuple[str, ...]) -> None:
    """A worst case that is too short is one that the battery pays for."""
    daemon, took_s = await hung_shutdown(*hanging)
    assert took_s <= worst_case_s(daemon.conductor.plan) + A_MOMENT_S


async def test_when_everything_hangs_it_takes_just_the_worst_case() -> None:
    """Neither shorter, which would be a step that gave up early, nor longer."""
    daemon, took_s = await hung_shutdown(*EVERYTHING)
    assert took_s == pytest.approx(worst_case_s(daemon.conductor.plan), abs=A_MOMENT_S)
    hung = {step for step, progress in daemon.conductor.progress.items() if progress.state is StepState.TIMED_OUT}
    assert hung == {step.id for step in daemon.conductor.plan.steps} - {"announce"}


@pytest.mark.parametrize("more_s", [0.0, 10.0, 45.0, 120.0])
async def test_a_battery_that_is_short_cuts_the_worst_case_to_what_there_is(more_s: float) -> None:
    """From the forced path on, everything that hangs ends in time, and not before."""
    plan = shutdown_plan(shape_of(memory_rack(WORKERS)))
    battery_s = critical_path_s(plan, forced=True) + A_MOMENT_S + more_s
    daemon, took_s = await hung_shutdown(*EVERYTHING, battery_s=battery_s)
    expected_s = worst_case_s(daemon.conductor.plan, end_in_s=battery_s)
    assert expected_s == pytest.approx(min(battery_s, worst_case_s(plan)), abs=A_MOMENT_S)
    assert took_s == pytest.approx(expected_s, abs=A_MOMENT_S)


async def test_more_hung_workers_cost_no_more_time() -> None:
    """They are asked at the same time; one after the other would be five times as long."""
    few, many = (shutdown_plan(shape_of(memory_rack(WORKERS[:count]))) for count in (1, 5))
    assert worst_case_s(few) == worst_case_s(many)


def test_the_plan_is_printed_with_its_worst_case() -> None:
    """By the same function, rounded to a second."""
    plan = shutdown_plan(shape_of(memory_rack(WORKERS)))
    found = re.search(r"at worst, (\d+) s", "\n".join(describe(plan)))
    assert found
    assert int(found[1]) == round(worst_case_s(plan))
