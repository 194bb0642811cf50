"""Several short outages with a battery that has not been refilled: each leaves less for the next one."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_world import MemoryWorld
from hardware_sim.ups.battery import BatterySpec
from tests.discharges import Observer
from tests.sim.outages import MASTER_W, WORKER_W, WORKERS, Outage, living, rules, virtually
from upsd.ups.battery.facts import BatteryFacts

if TYPE_CHECKING:
    from upsd.ups.battery.history import BatteryHistory

LOAD_W = MASTER_W + 26.0 + WORKER_W * len(WORKERS)
SHORT_S = 360.0
HALF_AN_HOUR_S = 1800.0
LOOK_AFTER_S = 60.0
A_GOOD_BIT_S = 15.0


@functools.cache
def learned() -> BatteryHistory:
    """What two whole discharges have taught of the battery, which is full again."""
    observer = Observer(BatteryFacts(12.0, 7.0, 0.7, 0.8, 10.0))
    for seed in (1, 2):
        observer.live_through(BatterySpec(), LOAD_W, seed)
    return observer.watch.history


@pytest.mark.parametrize("restarts", [False, True], ids=["one daemon", "restarted in between"])
def test_each_of_several_short_outages_lets_the_shutdown_start_earlier(restarts: bool) -> None:  # noqa: FBT001
    """Nobody told the daemon to be careful: it knows that the battery is emptier."""
    virtually(_three_outages(restarts=restarts))


def test_a_daemon_that_starts_in_an_outage_counts_on_what_its_predecessor_left() -> None:
    """It was killed after six minutes and is back a minute later: seven minutes are gone, and no more."""
    virtually(_restart_in_an_outage())


@pytest.mark.parametrize(("away_s", "there_s"), [(2.9, 1.0), (2.5, 1.5), (3.9, 1.0), (60.0, 20.0)])
def test_a_mains_that_comes_and_goes_until_the_battery_is_empty_costs_nobody_his_data(
    away_s: float, there_s: float
) -> None:
    """As in a storm: also where each loss is too short to count."""
    virtually(_chatter(away_s, there_s))


async def _chatter(away_s: float, there_s: float) -> None:
    world = MemoryWorld(workers=WORKERS)

    async def come_and_go() -> None:
        while True:
            world.device.cut_mains()
            await asyncio.sleep(away_s)
            world.device.restore_mains()
            await asyncio.sleep(there_s)

    async with living(Outage(world, rules())):
        await asyncio.sleep(10.0)
        storm = asyncio.create_task(come_and_go())
        await world.until(lambda: world.on_when_cut is not None, 7200.0)
        storm.cancel()
    assert world.on_when_cut == []
    assert world.flushed_when_cut


async def _three_outages(*, restarts: bool) -> None:
    world = MemoryWorld(workers=WORKERS)
    daemon = Outage(world, rules(), known=learned())
    starts_after_s: list[float] = []
    for _ in range(3):
        if restarts and daemon.kept:
            daemon = Outage(world, rules(), known=daemon.kept[-1])
        async with living(daemon):
            await asyncio.sleep(10.0)
            world.device.cut_mains()
            await asyncio.sleep(LOOK_AFTER_S)
            starts_after_s.append(_starts_after_s(daemon))
            await asyncio.sleep(SHORT_S - LOOK_AFTER_S)
            world.device.restore_mains()
            await asyncio.sleep(HALF_AN_HOUR_S)
        assert "shutdown_started" not in daemon.names()
    first, second, third = starts_after_s
    assert second < first - A_GOOD_BIT_S
    assert third < second - A_GOOD_BIT_S


async def _restart_in_an_outage() -> None:
    world = MemoryWorld(workers=WORKERS)
    before = Outage(world, rules(), known=learned())
    async with living(before):
        await asyncio.sleep(10.0)
        world.device.cut_mains()
        await asyncio.sleep(SHORT_S)
        left_s = _low_s(before)
    await asyncio.sleep(60.0)
    after = Outage(world, rules(), known=before.kept[-1])
    async with living(after):
        await asyncio.sleep(15.0)
        assert _low_s(after) == pytest.approx(left_s - 75.0, rel=0.15)


def _low_s(daemon: Outage) -> float:
    return daemon.supervisor.runtime(asyncio.get_running_loop().time()).low_s


def _starts_after_s(daemon: Outage) -> float:
    """How long after the mains was lost the shutdown is going to start."""
    shown = daemon.supervisor.snapshot(asyncio.get_running_loop().time())
    assert shown.starts_in_s is not None
    assert shown.on_battery_s is not None
    return shown.on_battery_s + shown.starts_in_s
