"""A bad reply is an error with a name and never a value, and costs no more than one exchange."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.ups.profiles import CRC_MODE, FLAGS_ONLY, FULL_REPORT, THREE_TO_THREE_20K
from tests.sim.cables import Cabled, connected, loop, reading
from tests.sim.outages import virtually
from upsd.ups import gpser
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import Check
from upsd.ups.usb_port import load_backend

if TYPE_CHECKING:
    from hardware_sim.ups.profiles import Profile

FRAME_S = 0.55
"""A status poll of a one-phase unit at 1200 baud: 60 bytes, a moment's thought, and the endpoint's next poll."""


FAULTS: dict[str, set[Fault]] = {
    "corrupt_replies": {Fault.BAD_INTEGRITY, Fault.OVERSIZED, Fault.WRONG_LENGTH, Fault.TORN, Fault.NO_REPLY},
    "truncate_replies": {Fault.TORN},
    "echo_replies": {Fault.ECHO},
    "mismatch_replies": {Fault.WRONG_COMMAND},
    "nak_replies": {Fault.REFUSED},
}


async def status(ups: Cabled) -> bytes:
    """One exchange between two polls."""
    return await ups.driver.command(lambda _, ask: ask(gpser.STATUS.exchange(Check.SUM)))


async def fault_of(ups: Cabled) -> Fault:
    """The name of the error that one exchange ends in."""
    with pytest.raises(UpsError) as caught:
        await status(ups)
    return caught.value.fault


@pytest.mark.parametrize(("knob", "faults"), FAULTS.items(), ids=FAULTS)
async def test_a_bad_reply_has_a_name_and_the_next_one_is_good(knob: str, faults: set[Fault]) -> None:
    """Nothing of it is left for the next exchange."""
    async with connected() as ups:
        setattr(ups.faults, knob, 1)
        assert await fault_of(ups) in faults
        assert len(await status(ups)) == 36


@pytest.mark.parametrize(
    ("knob", "faults"),
    [
        ("silent", {Fault.NO_REPLY}),
        ("hung", {Fault.NO_REPLY}),
        ("babble", {Fault.OVERSIZED, Fault.TORN}),
        ("stalled", {Fault.STALLED}),
        ("unplugged", {Fault.NOT_PRESENT}),
    ],
)
async def test_a_bridge_that_misbehaves_is_an_error_within_a_moment(knob: str, faults: set[Fault]) -> None:
    """Silence is no zeros, and nothing holds the exchange longer than a reply could take."""
    async with connected() as ups:
        setattr(ups.faults, knob, True)
        began_at = loop().time()
        assert await fault_of(ups) in faults
        assert loop().time() - began_at < 2.2


@pytest.mark.parametrize("profile", [FULL_REPORT, CRC_MODE, THREE_TO_THREE_20K], ids=["sum", "crc", "three-phase"])
@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_every_unit_is_read_in_any_split(profile: Profile, seed: int) -> None:
    """Reports of 0 to 7 bytes, in both check modes, give the same values."""

    async def play() -> None:
        async with reading(profile, split=random.Random(seed)) as ups:
            before = ups.readings[-1]
            assert before.charge_percent == 100
            ups.device.cut_mains()
            await ups.until(lambda reading: reading.on_battery)
            assert ups.driver._failures == 0

    virtually(play())


async def test_an_iplug_is_identified_and_read_with_unknown_as_none() -> None:
    """What a real one does not report is not invented."""
    async with reading() as ups:
        identity, now = ups.driver.identity, ups.readings[-1]
        assert identity is not None
        assert (identity.model, identity.battery_voltage_v, identity.battery_capacity_ah) == ("USV5", 12, 7)
        assert identity.serial is None
        assert (now.charge_percent, now.runtime_s, now.temperature_c, now.load_percent) == (None, None, None, None)
        assert (now.on_battery, now.input_voltage_v) == (False, 230)


async def test_a_unit_that_tells_nothing_is_read_by_its_flags() -> None:
    """Every figure is "not available", and the rack is guarded all the same."""
    async with reading(FLAGS_ONLY) as ups:
        now = ups.readings[-1]
        assert (now.input_voltage_v, now.battery_voltage_v, now.input_frequency_hz) == (None, None, None)
        ups.device.cut_mains()
        assert await ups.until(lambda reading: reading.on_battery) <= 1.0


async def test_a_bridge_that_holds_one_piece_loses_nothing() -> None:
    """The pause never falls below what the piece takes on the line."""
    async with reading(out_buffer=7) as ups:
        await asyncio.sleep(120)
        assert ups.driver._failures == 0
        assert ups.names == []
        await ups.driver.command(lambda dialect, ask: dialect.cycle(ask, 600, 1))


async def test_a_bridge_that_is_slower_than_that_is_given_the_time_it_needs() -> None:
    """Requests that reach the UPS damaged make the pause longer, until they reach it."""
    async with reading() as ups:
        take = ups.bridge.write
        last_at = -1.0

        def slow(report: bytes, now: float) -> None:
            nonlocal last_at
            if now - last_at >= 0.09:
                take(report, now)
            last_at = now

        ups.bridge.write = slow  # type: ignore[method-assign]
        await asyncio.sleep(300)
        good = sum(later.at - earlier.at < 1.4 for earlier, later in itertools.pairwise(ups.readings[-200:]))
        assert good >= 190


class Impatient:
    """Gives up in the middle of a reply."""

    started = False
    missing = 1

    def feed(self, data: bytes) -> bytes | None:
        """Take no more than the beginning."""
        if data:
            raise UpsError(Fault.TORN, "no longer wanted")
        return None


async def test_what_is_left_of_an_exchange_is_not_taken_for_the_next_reply() -> None:
    """The UPS speaks on, and is deaf meanwhile: nothing is asked before it has ended."""
    async with reading() as ups:
        await asyncio.sleep(5)
        abandoned = replace(gpser.STATUS.exchange(Check.SUM), collector=Impatient)
        with pytest.raises(UpsError, match="no longer wanted"):
            await ups.driver.command(lambda _, ask: ask(abandoned))
        ups.device.cut_mains()
        assert await ups.until(lambda _: True) <= 1.6
        assert ups.readings[-1].on_battery
        assert ups.driver._failures == 0


def test_a_backend_that_is_none_is_an_error_that_names_it() -> None:
    """A misspelt `ups.backend` is told apart from a missing UPS."""
    with pytest.raises(UpsError, match=r"ups\.backend: no\.such\.module"):
        load_backend("no.such.module")
