"""The last exchange with the UPS over USB, and what the daemon leaves for it: the real codec and the real USB port."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import UNTIL_SET_BACK
from hardware_sim.ups.frames import NakCode
from hardware_sim.ups.profiles import IPLUG_800, SENTRY_60K
from tests.sim.cables import OTHER, OURS, Cabled, Socket, connected, living, loop, plugged
from tests.sim.workbench import Workbench
from upsd import adapters
from upsd.domain.plan import StepKind
from upsd.domain.rack import RackError
from upsd.late.hook import STAGE_S, see_to_it
from upsd.settings import Settings
from upsd.shutdown.durations import History, Run
from upsd.shutdown.own_end import off_delay_s
from upsd.ups.cycle_order import FILE, CycleOrder, CycleOrders, read_order
from upsd.ups.operations import UpsOperations
from upsd.ups.outlets import UpsOutlets
from upsd.ups.profile import DeviceProfile

if TYPE_CHECKING:
    from pathlib import Path

    from hardware_sim.memory_rack import MemoryRack

ORDER = CycleOrder(port=f"usb:{OURS}", baud=1200, off_after_s=180, restore_after=60, at_s=100.0)


async def seen_to(ups: Cabled, order: CycleOrder = ORDER) -> str:
    """What is told a moment later."""
    began_at = loop().time()
    told = await see_to_it(order, ups.transport, order.at_s + 30)
    assert loop().time() - began_at <= 8.5
    return told


@pytest.mark.parametrize("fault", [None, "stalled", "corrupt_replies", "echo_replies"])
async def test_over_usb_a_ups_that_does_not_count_down_is_told_again(fault: str | None) -> None:
    """A device that was left in the middle of a transfer is opened anew."""
    ups = plugged()
    if fault:
        setattr(ups.faults, fault, 1)
    assert "was told again; the outlets go off in 20 s" in await seen_to(ups)
    assert ups.device.shutdown_in_s is not None
    assert 0 < ups.device.shutdown_in_s <= STAGE_S


async def test_over_usb_a_countdown_is_confirmed_in_four_seconds() -> None:
    """At the pace of a real bridge, and nothing is written that could change it."""
    ups = plugged()
    await asyncio.sleep(1)
    ups.device.advance(loop().time())
    ups.device.shutdown_and_restore(150, 60)
    began_at = loop().time()
    assert await seen_to(ups) == "the UPS counts down; the outlets go off in about 150 s"
    assert loop().time() - began_at < 4


@pytest.mark.parametrize("fault", ["hung", "frozen", "unplugged", "nak_replies", "truncate_replies"])
async def test_over_usb_a_ups_that_is_of_no_use_is_given_up_in_time(fault: str) -> None:
    """And what that may mean depends on whether it had taken the command."""
    ups = plugged()
    ups.faults.nak_code = NakCode.NOT_POSSIBLE
    setattr(ups.faults, fault, UNTIL_SET_BACK)
    assert (await seen_to(ups)).endswith("it has not taken the command, so they may stay off")
    assert (await seen_to(ups, replace(ORDER, accepted=True))).endswith("it took the command before")


async def test_another_ups_beside_it_is_never_told() -> None:
    """Where ours was, or the only one there is, if it had never been found; with two, none."""
    neighbour = UpsDevice(IPLUG_800)
    ups = plugged(beside=[Socket(bridge_to(neighbour), OTHER)])
    ups.faults.unplugged = True
    assert "no UPS is plugged in" in await seen_to(ups)
    ups.faults.unplugged = False
    assert "which UPS it is is not known" in await seen_to(ups, replace(ORDER, port="usb"))
    assert neighbour.shutdown_in_s is None
    assert ups.device.shutdown_in_s is None


def outlets_of(ups: Cabled, directory: Path, profile: DeviceProfile | None = None) -> UpsOutlets:
    """The outlets as the daemon has them."""
    settings = Settings.model_validate(
        {"master": {"name": "m", "watts": 25}, "control": {"socket": str(directory / "control.sock")}}
    )
    operations = UpsOperations(ups.driver, emit=lambda _: None, why_not=lambda: None, expect_test=lambda _until: None)
    return UpsOutlets(operations, lambda: profile, adapters.cycle_orders(settings, ups.driver))


async def test_what_was_scheduled_is_left_for_the_last_moment(tmp_path: Path) -> None:
    """Where the UPS is, what it was told in its own units, by a clock that no one sets, and whether it shows it."""
    async with living(plugged()) as ups:
        await ups.good()
        profile = DeviceProfile(
            model="USV5", firmware=None, measured_on="2026-11-25", longest_delay_s=150, restore_unit_s=30.0
        )
        before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        await outlets_of(ups, tmp_path, profile).cycle(180, 60)
        order = read_order(tmp_path / FILE)
        assert order
        assert before_s <= order.at_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
        assert replace(order, at_s=0.0) == CycleOrder(
            port=f"usb:{OURS}", baud=1200, off_after_s=150, restore_after=120, at_s=0.0, accepted=True, shown=True
        )


async def test_what_could_not_be_scheduled_is_left_too(tmp_path: Path) -> None:
    """So that the last program tries once more."""
    async with living(plugged()) as ups:
        await ups.good()
        ups.faults.silent = True
        with pytest.raises(RackError):
            await outlets_of(ups, tmp_path).cycle(180, 60)
        order = read_order(tmp_path / FILE)
        assert order
        assert (order.accepted, order.shown, order.off_after_s) == (False, False, 180)


async def test_nothing_is_left_for_a_ups_that_knows_no_outlet_cycle(tmp_path: Path) -> None:
    """There is nothing to repeat."""
    async with connected(replace(SENTRY_60K, baud=1200)) as ups:
        with pytest.raises(RackError):
            await outlets_of(ups, tmp_path).cycle(600, 60)
        assert read_order(tmp_path / FILE) is None


async def test_a_directory_that_can_t_be_written_keeps_nobody_from_scheduling(tmp_path: Path) -> None:
    """It is told instead."""
    orders = CycleOrders(tmp_path / "missing", lambda: 1.0, lambda: ("usb", 1200))
    assert orders.leave(180, 60)
    assert orders.trouble
    assert "give its directory to the daemon's user" in orders.trouble
    orders.withdraw()
    assert orders.trouble is None


async def test_the_ups_is_given_longer_than_the_slowest_power_off(rack: MemoryRack) -> None:
    """As long as the settings say until then."""
    bench = Workbench(rack)
    histories: list[History | None] = [None, History((Run(41.0), Run(170.0)), "2026-11-26")]
    delays = []
    for history in histories:
        bench.parts = replace(bench.parts, off_delay_s=partial(off_delay_s, 120, history))
        bench.__dict__.pop("table", None)
        progress = await bench.do(StepKind.OUTLET_CYCLE, "ups")
        delays.append(progress.detail)
    assert delays == ["outlets off in 120 s, on again 1 min later", "outlets off in 243 s, on again 1 min later"]


def test_an_order_is_whole_or_not_there(tmp_path: Path) -> None:
    """What is read is what was left."""
    assert read_order(tmp_path / FILE) is None
    orders = CycleOrders(tmp_path, lambda: 12.5, lambda: ("serial:/dev/ttyUSB0", 9600))
    order = orders.leave(180, None)
    assert order == read_order(tmp_path / FILE)
    document = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    for wrong in (
        {"baud": 50},
        {"off_after_s": 0},
        {"off_after_s": 65536},
        {"off_after_s": True},
        {"restore_after": -1},
        {"port": "serial:/etc/shadow"},
        {"port": "serial:/dev/../etc/shadow"},
        {"port": "usb:1-4\n"},
        {"at_s": float("nan")},
        {"at_s": "12"},
        {"more": 1},
    ):
        (tmp_path / FILE).write_text(json.dumps(document | wrong), encoding="utf-8")
        with pytest.raises(ValueError, match="it"):
            read_order(tmp_path / FILE)
