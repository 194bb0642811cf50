"""Whatever goes wrong between driver and UPS, it comes back: to that UPS and no other, leaving nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.profiles import FULL_REPORT, IPLUG_800
from tests.sim.cables import OTHER, OURS, Cabled, Socket, living, loop, plugged, reading
from tests.sim.outages import virtually
from upsd.ups.selection import Known, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from hardware_sim.ups.profiles import Profile

FRAME_S = 0.55
"""A status poll of a one-phase unit at 1200 baud: 60 bytes, a moment's thought, and the endpoint's next poll."""


# Coming back ---------------------------------------------------------------------------------------------------


class Trouble:
    """Something that goes wrong with a UPS, and stops going wrong."""

    def __init__(self, begin: Callable[[Cabled], None], end: Callable[[Cabled], None]) -> None:
        self.begin = begin
        self.end = end


def knob(name: str, wrong: object = True, right: object = False) -> Trouble:  # noqa: FBT002
    """A fault of the simulated UPS."""
    return Trouble(lambda ups: setattr(ups.faults, name, wrong), lambda ups: setattr(ups.faults, name, right))


def taken_by_another(ups: Cabled) -> None:
    """Another program opens the device and claims its interface, as NUT's driver would."""
    ups.faults.unplugged = True
    ups.faults.unplugged = False
    socket = ups.bus.sockets[0]
    (address,) = socket.backend.enumerate_devices()
    handle = socket.backend.open_device(address)
    socket.backend.detach_kernel_driver(handle, 0)
    socket.backend.claim_interface(handle, 0)
    ups.thief = handle  # type: ignore[attr-defined]


def given_back(ups: Cabled) -> None:
    """The other program ends."""
    ups.bus.sockets[0].backend.close_device(ups.thief)  # type: ignore[attr-defined]


def bus_reset(ups: Cabled) -> None:
    """The hub resets its port: the bridge forgets how its line is set up."""
    ups.bridge.reset(loop().time())


TROUBLES = {
    "unplugged": knob("unplugged"),
    "silent: endless empty reports": knob("silent"),
    "frozen": knob("frozen"),
    "hung: no read is answered": knob("hung"),
    "babble": knob("babble"),
    "every reply refused": knob("nak_replies", -1, 0),
    "every reply damaged": knob("corrupt_replies", -1, 0),
    "every reply torn": knob("truncate_replies", -1, 0),
    "every reply another's": knob("mismatch_replies", -1, 0),
    "echo": knob("echo_replies", -1, 0),
    "held by another program": Trouble(taken_by_another, given_back),
    "stalled": knob("stalled"),
    "bus reset": Trouble(bus_reset, lambda _: None),
}
LASTING = {name: trouble for name, trouble in TROUBLES.items() if name not in {"stalled", "bus reset"}}
"""Those that the driver can't mend by itself."""
EACH_TROUBLE = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)


@EACH_TROUBLE
@pytest.mark.parametrize("lasts_s", [0.1, 1.0, 7.3, 100.0])
async def test_readings_are_back_within_two_seconds_of_the_device(trouble: Trouble, lasts_s: float) -> None:
    """Without a restart, without a wrong reading meanwhile, and with no more than one event each way."""
    async with reading() as ups:
        await asyncio.sleep(5)
        opened = ups.bus.opened
        trouble.begin(ups)
        await asyncio.sleep(lasts_s)
        trouble.end(ups)
        assert await ups.good() <= 2.0
        await asyncio.sleep(10)
        assert ups.names in ([], ["communication_lost", "communication_back"])
        assert all(reading.output_powered and not reading.on_battery for reading in ups.readings)
        assert ups.driver.trouble is None
        assert ups.bus.opened == opened


@settings(max_examples=25)
@given(st.sampled_from(sorted(TROUBLES)), st.floats(0.01, 20.0))
def test_however_long_it_lasts_readings_are_back_within_two_seconds(name: str, lasts_s: float) -> None:
    """There is no moment at which it must not end."""

    async def play() -> None:
        async with reading() as ups:
            TROUBLES[name].begin(ups)
            await asyncio.sleep(lasts_s)
            TROUBLES[name].end(ups)
            assert await ups.good() <= 2.0

    virtually(play())


@pytest.mark.parametrize("trouble", LASTING.values(), ids=LASTING)
async def test_trouble_that_lasts_is_noticed_within_three_seconds(
    trouble: Trouble, logged: list[MutableMapping[str, Any]]
) -> None:
    """The state is unknown then, and a person reads why; nothing says that the output is off or on battery."""
    async with reading() as ups:
        await asyncio.sleep(5)
        logged.clear()
        trouble.begin(ups)
        await asyncio.sleep(3.0)
        assert ups.names == ["communication_lost"]
        assert ups.view.state == "unknown"
        assert ups.events[0].fields["reason"]
        await asyncio.sleep(60)
        assert ups.names == ["communication_lost"]
        trouble.end(ups)
        await ups.good()
        assert ups.names == ["communication_lost", "communication_back"]
        assert [entry["event"] for entry in logged if entry["event"] == "ups_connected"] == ["ups_connected"]
        assert 1 <= sum(entry["event"] == "ups_unreachable" for entry in logged) <= 2


async def test_the_outage_goes_on_while_the_cable_is_out() -> None:
    """What the driver can't see is not taken for mains."""
    async with reading() as ups:
        ups.device.cut_mains()
        await ups.until(lambda reading: reading.on_battery)
        await asyncio.sleep(5)
        ups.faults.unplugged = True
        await asyncio.sleep(30)
        assert ups.view.lost_at is not None
        assert ups.names == ["mains_lost", "outage_confirmed", "communication_lost"]
        ups.faults.unplugged = False
        await ups.good()
        assert ups.names[-1] == "communication_back"
        assert "mains_back" not in ups.names


async def test_a_ups_that_comes_later_is_found_within_two_seconds() -> None:
    """Nothing has to be plugged in when the daemon starts."""
    ups = plugged()
    ups.faults.unplugged = True
    async with living(ups):
        await asyncio.sleep(100)
        assert ups.readings == []
        assert "no UPS is plugged in" in str(ups.driver.trouble)
        ups.faults.unplugged = False
        assert await ups.good() <= 2.0


async def test_a_hung_unit_of_ours_is_reset() -> None:
    """A bridge that comes to its senses only by a reset gets one, again and again, and no other unit does."""
    async with reading() as ups:
        ups.faults.silent = True
        resets: list[float] = []
        reset = ups.bridge.reset

        def count(now: float) -> None:
            resets.append(now)
            ups.faults.silent = len(resets) < 2
            reset(now)

        ups.bridge.reset = count  # type: ignore[method-assign]
        assert await ups.good() <= 30.0
        assert len(resets) == 2


# Whose UPS it is -----------------------------------------------------------------------------------------------


def neighbour(profile: Profile = IPLUG_800) -> tuple[UpsDevice, Socket]:
    """Another UPS, at the next port."""
    device = UpsDevice(profile, load_w=lambda: 10.0)
    return device, Socket(bridge_to(device), OTHER)


async def test_a_foreign_device_behind_the_same_id_is_left_alone(logged: list[MutableMapping[str, Any]]) -> None:
    """It is asked ever more rarely, and given back in between, so that its own program can have it."""
    ups = plugged()
    ups.faults.silent = True
    async with living(ups):
        await asyncio.sleep(120)
        assert ups.driver.identity is None
        asked_before, opened = len(ups.bus.written), ups.bus.opened
        await asyncio.sleep(60)
        assert len(ups.bus.written) - asked_before <= 2 * 3
        assert opened == 0
        theirs: Any = usb.core.find(idVendor=0x04B4, idProduct=0x5500, backend=ups.bus)
        usb.util.claim_interface(theirs, 0)
        usb.util.dispose_resources(theirs)
        assert sum(entry["event"] == "ups_unreachable" for entry in logged) == 1


async def test_ours_is_found_beside_a_foreign_device() -> None:
    """Which is not ours because it came first."""
    device, socket = neighbour()
    del device
    socket.bridge.faults.silent = True
    async with living(plugged(beside=[socket])) as ups:
        await ups.good()
        assert ups.remembered == [Known(OURS, "USV5", None)]


async def test_ours_comes_back_within_two_seconds_beside_a_foreign_device() -> None:
    """The foreign one holds nobody up."""
    _, socket = neighbour()
    socket.bridge.faults.silent = True
    async with reading(beside=[socket]) as ups:
        for _ in range(5):
            ups.faults.unplugged = True
            await asyncio.sleep(7.3)
            ups.faults.unplugged = False
            assert await ups.good() <= 2.0


async def test_two_that_answer_are_not_guessed_at() -> None:
    """The wrong one could feed another rack; a person has to say which."""
    _, socket = neighbour()
    async with living(plugged(beside=[socket])) as ups:
        await asyncio.sleep(30)
        assert ups.readings == []
        assert "2 UPSes answer" in str(ups.driver.trouble)


@pytest.mark.parametrize("wanted", [Wanted(path=OTHER), Wanted(serial="SIM8000000000001"), Wanted(model="ULC3")])
async def test_the_one_that_the_settings_name_is_read(wanted: Wanted) -> None:
    """By its place, its serial number or its model; the other one is left alone."""
    _, socket = neighbour(FULL_REPORT)
    async with living(plugged(beside=[socket], wanted=wanted)) as ups:
        await ups.good()
        assert ups.driver.identity
        assert ups.driver.identity.model == "ULC3"
        ups.device.cut_mains()
        await asyncio.sleep(10)
        assert "mains_lost" not in ups.names


async def test_the_one_that_was_ours_before_a_restart_is_read() -> None:
    """Nobody has to write it into the settings, as long as it stays where it is."""
    _, socket = neighbour()
    async with living(plugged(beside=[socket], known=Known(OTHER, "USV5", None))) as ups:
        await ups.good()
        ups.device.cut_mains()
        await asyncio.sleep(10)
        assert ups.names == []


async def test_another_unit_never_takes_the_place_of_ours() -> None:
    """A TV's UPS at the next port says nothing of the rack, also when ours is gone for an hour."""
    device, socket = neighbour()
    async with living(plugged(beside=[socket], wanted=None, known=Known(OURS, "USV5", None))) as ups:
        await ups.good()
        ups.faults.unplugged = True
        device.cut_mains()
        await asyncio.sleep(3600)
        assert ups.names == ["communication_lost"]
        ups.faults.unplugged = False
        assert await ups.good() <= 2.0


async def test_a_unit_that_is_plugged_in_elsewhere_is_followed() -> None:
    """With its new place remembered."""
    async with reading() as ups:
        ups.faults.unplugged = True
        await asyncio.sleep(10)
        ups.bus.sockets[0].path = "1-6"
        ups.faults.unplugged = False
        assert await ups.good() <= 2.0
        assert [known.path for known in ups.remembered] == [OURS, "1-6"]


# Nothing is lost on the way ------------------------------------------------------------------------------------


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kib() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4


async def test_a_thousand_replugs_leave_nothing_behind() -> None:
    """No handle, no thread, no memory."""
    async with reading(line_speed=20.0) as ups:

        async def replug(times: int) -> None:
            for _ in range(times):
                ups.faults.unplugged = True
                await asyncio.sleep(0.3)
                ups.faults.unplugged = False
                assert await ups.good() <= 2.0
            ups.readings.clear()
            ups.told_at.clear()
            ups.events.clear()
            ups.bus.written.clear()
            gc.collect()

        await replug(100)
        files, threads, resident = open_files(), threading.active_count(), [resident_kib()]
        opened, objects = ups.bus.opened, len(gc.get_objects())
        for _ in range(2):
            await replug(500)
            resident.append(resident_kib())
        assert open_files() <= files
        assert threading.active_count() <= threads
        assert ups.bus.opened == opened
        assert len(gc.get_objects()) - objects < 200
        # A leak shows each time; what the allocator sets aside in a process of many tests, once.
        assert min(after - before for before, after in pairwise(resident)) < 1024
