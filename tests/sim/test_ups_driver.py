"""The driver on a UPS at the speed of its wire: how soon it tells, and that it always comes back."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.ups.profiles import CRC_MODE, FULL_REPORT, IPLUG_800, THREE_TO_THREE_20K
from tests.sim.cables import Cabled, living, loop, plugged, reading
from tests.sim.outages import virtually
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from hardware_sim.ups.profiles import Profile

FRAME_S = 0.55
"""A status poll of a one-phase unit at 1200 baud: 60 bytes, a moment's thought, and the endpoint's next poll."""
LINE_S = 0.52
"""What of it the line and the UPS take."""
REPORT_S = 0.01


async def test_polls_follow_each_other_at_the_speed_of_the_wire() -> None:
    """Nothing is left between two polls but the wire."""
    async with reading() as ups:
        ups.device.cut_mains()
        await ups.until(lambda reading: reading.on_battery)
        await asyncio.sleep(20)
        times = [one.at for one in ups.readings[-21:]]
        assert all(later - earlier <= FRAME_S for earlier, later in itertools.pairwise(times))
        assert (times[-1] - times[0]) / 20 <= LINE_S + 1.5 * REPORT_S


async def test_slow_replies_make_those_after_them_no_slower() -> None:
    """What a read waits for is learned from the replies, and not from how long it waited itself."""
    async with reading() as ups:
        ups.device.cut_mains()
        await ups.until(lambda reading: reading.on_battery)
        line = ups.bridge._line
        usual_s, line._thinking_s = line._thinking_s, 0.2
        await asyncio.sleep(5)
        line._thinking_s = usual_s
        await asyncio.sleep(20)
        times = [one.at for one in ups.readings[-21:]]
        assert (times[-1] - times[0]) / 20 <= LINE_S + 1.5 * REPORT_S


@settings(max_examples=20)
@given(st.floats(0.0, 3.0))
def test_mains_loss_is_told_within_a_second_whenever_it_comes(phase_s: float) -> None:
    """With the settings as they are by default."""

    async def play() -> None:
        async with reading() as ups:
            await asyncio.sleep(6 + phase_s)
            ups.device.cut_mains()
            assert await ups.until(lambda reading: reading.on_battery) <= 1.0
            assert ups.names == ["mains_lost"]

    virtually(play())


async def test_a_calm_ups_is_asked_as_slowly_as_configured() -> None:
    """And one that may be changing without a pause, until it is calm again."""
    async with reading(poll_interval_s=5.0) as ups:
        await asyncio.sleep(60)
        calm = [one.at for one in ups.readings[-5:]]
        assert all(later - earlier == pytest.approx(5.0, abs=0.6) for earlier, later in itertools.pairwise(calm))
        ups.device.brown_out(190)
        await ups.until(lambda reading: reading.boost)
        await asyncio.sleep(10)
        busy = [one.at for one in ups.readings[-5:]]
        assert all(later - earlier <= FRAME_S for earlier, later in itertools.pairwise(busy))


async def test_the_loop_is_woken_less_often_while_nothing_changes() -> None:
    """The same answer again is no news; it is still fresh."""
    async with reading() as ups:
        await asyncio.sleep(10)
        asked = len(ups.bus.written)
        told = len(ups.readings)
        await asyncio.sleep(60)
        polls = (len(ups.bus.written) - asked) / 2
        assert polls >= 60 / FRAME_S - 1
        assert 40 <= len(ups.readings) - told <= polls * 0.6
        assert loop().time() - ups.readings[-1].at <= 1.2


@settings(max_examples=20)
@given(st.floats(0.0, 3.0))
def test_a_command_waits_for_no_more_than_one_frame(phase_s: float) -> None:
    """Also in calm times, when polls follow each other in the USB thread."""

    async def play() -> None:
        async with reading() as ups:
            await asyncio.sleep(6 + phase_s)
            began_at = loop().time()
            await ups.driver.command(lambda dialect, ask: dialect.test_panel(ask))
            panel_test_s = 24 * 10 / 1200 + 0.06
            assert loop().time() - began_at <= FRAME_S + panel_test_s
            assert ups.device.panel_tests == 1

    virtually(play())


async def test_a_command_does_not_wait_for_a_ups_that_is_silent() -> None:
    """A poll that is not answered is given up after a moment."""
    async with reading() as ups:
        ups.faults.silent = True
        await asyncio.sleep(1.0)
        began_at = loop().time()
        with pytest.raises(UpsError):
            await ups.driver.command(lambda dialect, ask: dialect.cancel(ask))
        assert loop().time() - began_at <= 0.8 + 2.3


async def test_a_pause_between_pieces_is_found_that_the_bridge_can_take() -> None:
    """It ends just above what 7 bytes take on the line."""
    async with reading() as ups:
        await asyncio.sleep(60)
        assert ups.transport._port._pause.seconds == 0.06
        assert ups.names == []


# What is asked -------------------------------------------------------------------------------------------------


def asked(ups: Cabled, code: str) -> int:
    """How often a command was sent."""
    return sum(code.encode() in report for report in ups.bus.written)


@pytest.mark.parametrize("profile", [IPLUG_800, FULL_REPORT, CRC_MODE], ids=["iPlug", "sum", "crc"])
async def test_a_one_phase_unit_is_asked_for_nothing_but_its_status(profile: Profile) -> None:
    """Who it is and its nominal values are asked once, and what only three-phase units know never."""
    async with reading(profile) as ups:
        await asyncio.sleep(120)
        assert (asked(ups, "GI"), asked(ups, "GN"), asked(ups, "RE"), asked(ups, "RK")) == (1, 1, 0, 0)
        assert asked(ups, "RS") >= 200


async def test_a_three_phase_unit_is_asked_for_its_currents_now_and_then() -> None:
    """They come with the readings, by phase, and delay no flag by more than a frame of theirs."""
    async with reading(THREE_TO_THREE_20K) as ups:
        await asyncio.sleep(120)
        assert 3 <= asked(ups, "RE") <= 6
        phases = ups.readings[-1].phases
        assert len(phases) == 3
        assert all(phase.current_a is not None and phase.real_power_w is not None for phase in phases)
        details = await ups.driver.command(lambda dialect, ask: dialect.details(ask))
        assert details["output.L1-N.voltage.peak"]


async def test_what_is_refused_once_is_not_asked_again() -> None:
    """A unit that refuses RE, though it says that it has three phases, is read all the same."""
    async with living(plugged(THREE_TO_THREE_20K)) as ups:
        dialect = ups.driver._probes[0].dialect
        dialect._refused.add("RE")  # type: ignore[attr-defined]
        await ups.good()
        dialect._refused.add("RE")  # type: ignore[attr-defined]
        await asyncio.sleep(120)
        before = asked(ups, "RE")
        await asyncio.sleep(120)
        assert asked(ups, "RE") == before
        assert ups.readings[-1].phases[0].current_a is None
