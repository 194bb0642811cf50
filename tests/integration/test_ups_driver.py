"""Driver and pyusb transport against the simulated bridge: whatever happens, a reading or an error with a name."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util

from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.ports import LocalPort
from hardware_sim.ups.profiles import CRC_MODE, FULL_REPORT, IPLUG_800
from hardware_sim.usb_backend import SimulatedBackend
from upsd.ups import gpser
from upsd.ups.driver import UpsDriver
from upsd.ups.errors import Fault, UpsError
from upsd.ups.transport import UsbPort, UsbTransport, load_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hardware_sim.ups.faults import Faults
    from hardware_sim.ups.profiles import Profile
    from upsd.domain.power import Reading

DEADLINE_S = 20.0


class Bench:
    """A simulated UPS on simulated USB, and the driver that reads it."""

    def __init__(self, profile: Profile = IPLUG_800, *, split: random.Random | None = None) -> None:
        self.device = UpsDevice(profile, load_w=lambda: 76.0)
        self.bridge = bridge_to(self.device, line_speed=40.0, poll_interval_s=0.001, split=split)
        self.port = LocalPort(self.bridge)
        self.backend: Any = SimulatedBackend(self.port)
        self.transport = UsbTransport(
            UsbPort(load_backend=lambda: self.backend, packet_pause_s=0.003, clock=time.monotonic, pause=self._pause)  # noqa: TID251
        )
        self.driver = UpsDriver(self.transport, device=None, poll_interval_s=0.02, exchange_timeout_s=0.3)
        self.stream = self.driver.readings()

    def _pause(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.003))  # noqa: TID251  # the line is that much faster too

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.bridge.faults

    async def reading(self) -> Reading:
        """The next reading."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self.stream)

    async def trouble(self) -> str:
        """Why there are no readings, as soon as there are none."""
        async with asyncio.timeout(DEADLINE_S):
            while self.driver.trouble is None:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)
        return self.driver.trouble

    async def ask(self, command: gpser.Command = gpser.STATUS) -> bytes:
        """One exchange."""
        return await self.driver.command(command)

    async def fault_of(self, command: gpser.Command = gpser.STATUS) -> Fault:
        """The name of the error that one exchange ends in."""
        with pytest.raises(UpsError) as caught:
            await self.ask(command)
        return caught.value.fault


@contextlib.asynccontextmanager
async def opened(bench: Bench) -> AsyncIterator[Bench]:
    """Close everything in the end."""
    try:
        yield bench
    finally:
        await bench.stream.aclose()
        await bench.driver.close()
        bench.transport.shutdown()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An iPlug 800 that is being read."""
    async with opened(Bench()) as bench:
        await bench.reading()
        yield bench


async def test_an_iplug_is_identified_and_read_with_unknown_as_none(bench: Bench) -> None:
    """What a real one does not report is not invented."""
    reading = await bench.reading()
    identity = bench.driver.identity
    assert identity is not None
    assert (identity.model, identity.battery_voltage_v, identity.battery_capacity_ah) == ("USV5", 12, 7)
    assert identity.serial is None
    assert (reading.charge_percent, reading.runtime_s, reading.temperature_c) == (None, None, None)
    assert reading.load_percent is None
    assert not reading.on_battery
    assert reading.input_voltage_v == 230


@pytest.mark.parametrize("profile", [FULL_REPORT, CRC_MODE], ids=["sum", "crc"])
@pytest.mark.parametrize("seed", range(3))
async def test_every_profile_is_read_in_any_split(profile: Profile, seed: int) -> None:
    """Reports of 0 to 7 bytes, in both check modes, give the same values."""
    async with opened(Bench(profile, split=random.Random(seed))) as bench:
        reading = await bench.reading()
        assert reading.charge_percent == 100
        assert reading.load_percent == 16
        bench.device.cut_mains()
        assert (await bench.reading()).on_battery


@pytest.mark.parametrize(
    ("knob", "fault"),
    [
        ("corrupt_replies", {Fault.BAD_INTEGRITY, Fault.MALFORMED, Fault.WRONG_LENGTH, Fault.TORN, Fault.NO_REPLY}),
        ("truncate_replies", {Fault.TORN}),
        ("echo_replies", {Fault.ECHO}),
        ("mismatch_replies", {Fault.WRONG_COMMAND}),
        ("nak_replies", {Fault.REFUSED}),
    ],
)
async def test_a_bad_reply_is_an_error_with_a_name_and_the_next_one_is_good(
    bench: Bench, knob: str, fault: set[Fault]
) -> None:
    """One bad exchange costs one exchange: nothing of it is left for the next."""
    setattr(bench.faults, knob, 1)
    assert await bench.fault_of() in fault
    assert len(await bench.ask()) == 36


async def test_silence_is_an_error_and_no_zeros(bench: Bench) -> None:
    """Empty reports for ever are what made another driver say "OL OFF" and shut healthy hosts down."""
    bench.faults.silent = True
    assert await bench.fault_of() is Fault.NO_REPLY
    bench.faults.silent = False
    assert (await bench.reading()).output_powered


async def test_reads_that_time_out_are_silence(bench: Bench) -> None:
    """A bridge that answers no read does not hold the driver longer than its deadline."""
    bench.faults.hung = True
    assert await bench.fault_of() is Fault.NO_REPLY


async def test_babble_ends(bench: Bench) -> None:
    """A reply without end fills no memory and ends by its length or its deadline."""
    bench.faults.babble = True
    assert await bench.fault_of() in {Fault.OVERSIZED, Fault.TORN, Fault.MALFORMED}
    bench.faults.babble = False
    assert (await bench.reading()).output_powered


async def test_a_stall_is_cleared(bench: Bench) -> None:
    """The endpoint's halt is cleared, and the next exchange works."""
    bench.faults.stalled = True
    assert await bench.fault_of() is Fault.STALLED
    assert len(await bench.ask()) == 36


async def test_readings_go_on_after_a_storm_of_faults(bench: Bench) -> None:
    """Retries and reconnects bring the stream back by themselves."""
    bench.faults.corrupt_replies = 2
    bench.faults.truncate_replies = 2
    bench.faults.nak_replies = 2
    assert (await bench.reading()).output_powered
    assert bench.driver.trouble is None


async def test_a_ups_that_is_pulled_out_and_put_back_is_found_again(bench: Bench) -> None:
    """With a new address on the bus, without a restart, and with the reason to be seen meanwhile."""
    bench.faults.unplugged = True
    assert await bench.fault_of() is Fault.NOT_PRESENT
    following = asyncio.create_task(bench.reading())
    assert "unplugged" in await bench.trouble()
    bench.faults.unplugged = False
    assert (await following).output_powered


async def test_a_ups_that_comes_later_is_found() -> None:
    """Nothing has to be plugged in when the daemon starts."""
    async with opened(Bench()) as bench:
        bench.faults.unplugged = True
        following = asyncio.create_task(bench.reading())
        await bench.trouble()
        bench.faults.unplugged = False
        assert (await following).output_powered


async def test_a_foreign_device_behind_the_same_id_is_left_alone() -> None:
    """What does not identify itself is given back, so that its own program can have it."""
    async with opened(Bench()) as bench:
        bench.faults.silent = True
        following = asyncio.create_task(bench.reading())
        await bench.trouble()
        following.cancel()
        await asyncio.wait({following})
        assert bench.driver.identity is None
        theirs: Any = usb.core.find(idVendor=0x04B4, idProduct=0x5500, backend=bench.backend)
        usb.util.claim_interface(theirs, 0)
        usb.util.dispose_resources(theirs)


async def test_the_outlet_cycle_is_accepted_and_replaces_one_that_waits(bench: Bench) -> None:
    """A daemon that was killed after it had scheduled the cycle schedules it again."""
    await bench.driver.cycle(120, 1)
    await bench.driver.cycle(60, 1)
    assert (await bench.reading()).shutdown_active
    assert bench.device.outlets.shutdown_at is not None


async def test_a_refused_command_says_so(bench: Bench) -> None:
    """The UPS's own reason is passed on."""
    with pytest.raises(UpsError, match="sub-command unknown"):
        await bench.ask(gpser.EXTENDED)


async def test_a_battery_test_shows_as_one(bench: Bench) -> None:
    """Its flag keeps it from being an outage."""
    await bench.ask(gpser.BATTERY_TEST)
    reading = await bench.reading()
    assert reading.test_in_progress
    assert reading.on_battery


def test_a_backend_that_is_none_is_an_error_that_names_it() -> None:
    """A misspelt `ups.backend` is told apart from a missing UPS."""
    with pytest.raises(UpsError, match=r"ups\.backend: no\.such\.module"):
        load_backend("no.such.module")
