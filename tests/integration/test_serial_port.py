"""The UPS on a serial port: the daemon's own driver on a pseudo terminal that the kernel treats as a real port."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.profiles import CRC_MODE, IPLUG_800, SENTRY_60K, THREE_TO_THREE_20K
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.server import let_time_pass
from tests.integration.brokers import until
from upsd.adapters import ups_driver, ups_transport
from upsd.settings import UpsSettings
from upsd.ups.errors import Fault, UpsError
from upsd.ups.serial_port import SerialTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hardware_sim.ups.profiles import Profile
    from upsd.domain.power import Reading
    from upsd.ups.driver import UpsDriver

DEADLINE_S = 20.0
LINE_SPEED = 10.0


@dataclass
class Wired:
    """A UPS on a serial line, and the driver at the other end."""

    device: UpsDevice
    faults: Faults
    driver: UpsDriver
    readings: asyncio.Queue[Reading] = field(default_factory=asyncio.Queue)
    holder: int = -1

    async def until(self, wanted: Callable[[Reading], bool]) -> Reading:
        """The next reading that says so."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                reading = await self.readings.get()
                if wanted(reading):
                    return reading

    async def good(self) -> Reading:
        """A reading that is taken from now on."""
        now = asyncio.get_running_loop().time()
        return await self.until(lambda reading: reading.at >= now and reading.output_powered)

    async def trouble(self, text: str) -> None:
        """Wait until the driver gives this reason."""
        await until(lambda: text in (self.driver.trouble or ""), DEADLINE_S)


@contextlib.asynccontextmanager
async def wired(
    directory: Path, profile: Profile = IPLUG_800, protocol: str = "auto", *, held: bool = False
) -> AsyncIterator[Wired]:
    """A UPS on a line ten times as fast as a real one, being read; `held` if another program has its port at first."""
    device, faults, link = UpsDevice(profile, load_w=lambda: 76.0), Faults(), directory / "ttyUSB0"
    settings = UpsSettings.model_validate({"port": f"serial:{link}", "protocol": protocol})
    transport = ups_transport(settings, None)
    ups = Wired(device, faults, ups_driver(settings, transport))

    async def read() -> None:
        async for reading in ups.driver.readings():
            ups.readings.put_nowait(reading)

    async with serial_port(device, faults, LINE_SPEED, link=link):
        if held:
            ups.holder = os.open(link, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(ups.holder, fcntl.LOCK_EX)
        tasks = [asyncio.create_task(let_time_pass(device, 0.01)), asyncio.create_task(read())]
        try:
            yield ups
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await ups.driver.close()


def open_files() -> int:
    """How many this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("protocol", ["auto", "gpser"])
@pytest.mark.parametrize("profile", [IPLUG_800, CRC_MODE, THREE_TO_THREE_20K], ids=lambda profile: profile.model)
async def test_a_ups_is_read_over_rs_232(tmp_path: Path, profile: Profile, protocol: str) -> None:
    """At 1200 baud, whatever protects its frames; the mains is lost in the first reading that says so."""
    async with wired(tmp_path, profile, protocol) as ups:
        reading = await ups.good()
        assert not reading.on_battery
        assert ups.driver.identity
        assert (ups.driver.protocol, ups.driver.identity.model) == ("gpser", profile.model)
        ups.device.cut_mains()
        assert (await ups.until(lambda reading: reading.on_battery)).input_voltage_v == 0


@pytest.mark.parametrize("protocol", ["auto", "sentr"])
async def test_a_machine_that_speaks_sentr_at_9600_baud_is_found(tmp_path: Path, protocol: str) -> None:
    """Its replies hold every byte that a terminal would take for itself; the port passes them on."""
    async with wired(tmp_path, SENTRY_60K, protocol) as ups:
        reading = await ups.good()
        assert ups.driver.protocol == "sentr"
        assert len(reading.phases) == 3
        ups.device.cut_mains()
        await ups.until(lambda reading: reading.on_battery)


@pytest.mark.parametrize(
    ("fault", "wrong", "right", "says"),
    [
        ("silent", True, False, "the UPS does not answer"),
        ("frozen", True, False, "the UPS does not answer"),
        ("corrupt_replies", -1, 0, "was damaged on the line"),
        ("truncate_replies", -1, 0, "reply broke off"),
        ("nak_replies", -1, 0, "refused"),
        ("mismatch_replies", -1, 0, "got the answer to"),
        ("unplugged", True, False, "there is no serial port"),
    ],
)
async def test_whatever_goes_wrong_on_the_line_readings_come_back(
    tmp_path: Path, fault: str, wrong: int, right: int, says: str
) -> None:
    """The reason is told meanwhile, no reading is made up, and nothing has to be restarted."""
    async with wired(tmp_path) as ups:
        await ups.good()
        setattr(ups.faults, fault, wrong)
        await ups.trouble(says)
        setattr(ups.faults, fault, right)
        await ups.good()
        assert ups.driver.trouble is None


async def test_a_port_that_another_program_holds_is_waited_for(tmp_path: Path) -> None:
    """NUT's drivers lock their port in this way; when they end, it is ours."""
    async with wired(tmp_path, held=True) as ups:
        await ups.trouble("another program holds")
        os.close(ups.holder)
        await ups.good()


@pytest.mark.parametrize(
    ("name", "fault", "says"),
    [
        ("absent", Fault.NOT_PRESENT, "there is no serial port {path}; check its cable, and ups.port in the settings"),
        ("file", Fault.PORT, "{path} is no serial port; correct ups.port in the settings"),
        ("directory", Fault.PORT, "the serial port {path} failed: Is a directory"),
    ],
)
async def test_what_is_no_serial_port_is_told_apart(tmp_path: Path, name: str, fault: Fault, says: str) -> None:
    """Each with what to do about it."""
    path = tmp_path / name
    if name == "file":
        path.touch()
    if name == "directory":
        path.mkdir()
    with pytest.raises(UpsError) as raised:
        await SerialTransport(str(path)).open(str(path), 1200)
    assert (raised.value.fault, str(raised.value)) == (fault, says.format(path=path))


async def test_a_port_opened_a_thousand_times_leaves_nothing_open(tmp_path: Path) -> None:
    """Neither when it works nor when somebody else holds it."""
    link = tmp_path / "ttyUSB0"
    async with serial_port(UpsDevice(), link=link):
        transport, rival = SerialTransport(str(link)), SerialTransport(str(link))
        before = open_files()
        for _ in range(1000):
            await transport.open(str(link), 1200)
            with pytest.raises(UpsError, match="another program holds"):
                await rival.open(str(link), 1200)
            await transport.close()
        assert open_files() == before
