"""A UPS on a serial line that falls silent is read again within two seconds of its being there, in virtual time.

The line and what is behind it are simulated, and the port: a real one is in `tests/integration/test_serial_port.py`.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.line import serial_line
from hardware_sim.ups.profiles import IPLUG_800, SENTRY_60K
from tests.sim.outages import virtually
from upsd.adapters import ups_driver
from upsd.settings import UpsSettings
from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import Reply, line_s
from upsd.ups.transport import Place

if TYPE_CHECKING:
    from hardware_sim.ups.profiles import Profile
    from upsd.domain.power import Reading
    from upsd.ups.exchange import Exchange, Quiet

PATH = "/dev/ttyUSB0"


class SimulatedPort:
    """A serial port whose bytes take their time; nothing tells whether it is still the same cable."""

    loses_sight = True

    def __init__(self, profile: Profile, faults: Faults) -> None:
        self._line = serial_line(UpsDevice(profile, load_w=lambda: 76.0), faults)
        self._asked = 0
        self._baud = 0

    async def places(self) -> tuple[Place, ...]:
        """The port."""
        self._asked += 1
        return (Place(PATH, self._asked),)

    async def open(self, _: str, baud: int) -> None:
        """Set the speed."""
        self._baud = baud
        self._line.set_host_baud(baud)

    async def exchange(self, exchange: Exchange, _: Quiet | None = None) -> Reply:
        """Send the request, and wait for the reply as the real port does."""
        loop, collector = asyncio.get_running_loop(), exchange.collector()
        self._line.available(loop.time())
        self._line.feed(exchange.request, loop.time())
        begins_by = loop.time() + line_s(len(exchange.request), self._baud) + exchange.begins_within_s
        while loop.time() < begins_by or collector.started:
            await asyncio.sleep(min(max((self._line.next_due() or math.inf) - loop.time(), 0.0) + 1e-4, 0.05))
            if data := self._line.available(loop.time()):
                reply = collector.feed(data)
                if reply is not None:
                    return Reply(reply, loop.time())
        raise UpsError(Fault.NO_REPLY, "the UPS does not answer")

    def hurry(self) -> None:
        """It repeats nothing anyway."""

    def slow_down(self) -> None:
        """It takes what it is given."""

    async def reset(self) -> None:
        """There is no such thing."""

    async def close(self) -> None:
        """Nothing is held."""

    def shutdown(self) -> None:
        """Nothing is held."""


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([IPLUG_800, SENTRY_60K]), st.floats(0.1, 40.0) | st.floats(40.0, 300.0))
def test_a_serial_ups_that_had_hung_is_read_again_within_two_seconds(profile: Profile, hung_s: float) -> None:
    """Whenever it wakes up, and in whatever way it is being asked just then."""

    async def play() -> None:
        faults = Faults()
        readings: asyncio.Queue[Reading] = asyncio.Queue()
        driver = ups_driver(UpsSettings.model_validate({"port": f"serial:{PATH}"}), SimulatedPort(profile, faults))

        async def read() -> None:
            async for reading in driver.readings():
                readings.put_nowait(reading)

        reader = asyncio.create_task(read())
        await readings.get()
        await asyncio.sleep(3.0)
        faults.frozen = True
        await asyncio.sleep(hung_s)
        faults.frozen = False
        while not readings.empty():
            readings.get_nowait()
        async with asyncio.timeout(2.0):
            await readings.get()
        reader.cancel()

    virtually(play())
