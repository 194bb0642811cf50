"""NUT's own driver reads the simulated UPS, and understands of it what we understand."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from hardware_sim.ups import line
from hardware_sim.ups.actions import deed_of
from hardware_sim.ups.frames import NAK, FrameCollector
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.responder import Responder
from hardware_sim.ups.rig import PROFILES, Rig
from hardware_sim.ups.server import let_time_pass
from tests.nut import running_nut
from tests.nut_oracle import STATES, compared, disagreements
from upsd.adapters import ups_driver, ups_transport
from upsd.domain.power import PowerState
from upsd.settings import UpsSettings
from upsd.status import Snapshot, state_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from tests.nut import Nut
    from tests.nut_oracle import State
    from upsd.status import Document

LINE_SPEED = 10.0
NUT_FINDS_IT_WITHIN_S = 60.0
"""At 1200 baud it does so after 16 s: before, it tries 9600 baud with either protocol, and 1200 with the other one."""
ALMOST_STILL = 0.01
"""The speed of the UPSes' time: both drivers shall find the same."""
OBEYED = {"SUCCESS", "ERR UNKNOWN"}
"""NUT 2.8.0 says the second of `shutdown.return`, having had its frame answered."""
COMMANDED = ("full-on-line", "three-to-three", "sentry")
FIELDS_AT_LEAST = 12


async def test_nut_and_upsd_agree_and_nut_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each state of the table field by field; and no frame that NUT sends, with all its commands, is in vain."""
    asked: list[tuple[bytes, bytes]] = []

    class Listening(Responder):
        """Notes every request frame and its reply."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._frames = FrameCollector()

        def hear(self, byte: int, now: float) -> bytes:
            reply, frame = super().hear(byte, now), self._frames.feed(byte)
            if frame is not None:
                asked.append((frame, reply))
            return reply

    async with AsyncExitStack() as stack:
        with monkeypatch.context() as listening:
            listening.setattr(line, "Responder", Listening)
            rigs = {name: await _rig(state, stack) for name, state in STATES.items()}
            ports = {name: await _port(rig, stack) for name, rig in rigs.items()}
        drivers = {name: ("driver = riello_ser", f"port = {port}") for name, port in ports.items()}
        nut = await stack.enter_async_context(running_nut(tmp_path / "nut", drivers))

        async with asyncio.TaskGroup() as group:
            for name, rig in rigs.items():
                group.create_task(_agree(nut, name, rig))
        done = {name: await _command(nut, name, rigs[name]) for name in COMMANDED}

    assert all(word in OBEYED for said in done.values() for word in said.values()), done
    assert {frame[3:5] for frame, _ in asked} >= {b"GI", b"GN", b"RS", b"RE", b"CS", b"CR", b"CD", b"TB", b"TP"}
    assert [frame for frame, reply in asked if not reply] == []
    assert {frame[3:5] for frame, reply in asked if reply[3] == NAK} == {b"RE"}, "which a unit with one phase has not"


async def _rig(state: State, stack: AsyncExitStack) -> Rig:
    profile = PROFILES[state.profile]
    rig = Rig(profile, load_w=state.load_share * profile.real_power_w, speed=ALMOST_STILL)
    living = asyncio.create_task(let_time_pass(rig.device))
    stack.callback(living.cancel)
    now = asyncio.get_running_loop().time()
    rig.device.advance(now)
    for action in state.actions:
        name, *values = action.split()
        deed_of(name, dict(value.split("=", 1) for value in values)).do(rig, now)
    return rig


async def _port(rig: Rig, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(serial_port(rig.device, rig.faults, LINE_SPEED))


async def _agree(nut: Nut, name: str, rig: Rig) -> None:
    """Wait until both say the same: neither reads at the very moment at which the other does."""
    differ = ["nothing was compared"]
    async with AsyncExitStack() as stack:
        ours = Ours(await _port(rig, stack))
        stack.push_async_callback(ours.close)
        with explaining(lambda: f"{name}: {'; '.join(differ)}"):
            async with asyncio.timeout(NUT_FINDS_IT_WITHIN_S):
                while differ:
                    theirs, (readings, device) = await nut.variables(name), await ours.documents()
                    differ = disagreements(theirs, readings, device)
                    if compared(theirs, readings, device) < FIELDS_AT_LEAST:
                        differ.append(f"NUT knows only {theirs}")


async def _command(nut: Nut, name: str, rig: Rig) -> dict[str, str]:
    """What NUT says to each of its commands for this UPS, which each time has its outlets on and nothing pending."""
    said = {}
    for command in await nut.commands(name):
        if command.startswith("driver."):
            continue  # from NUT 2.8.1 on: it is the driver's own
        said[command] = (await nut.command(name, command)).strip()
        rig.device.cancel_shutdown()
        rig.device.press_button()
    return said


class Ours:
    """The daemon's driver at a serial port."""

    def __init__(self, port: str) -> None:
        settings = UpsSettings.model_validate({"port": f"serial:{port}"})
        self._driver = ups_driver(settings, ups_transport(settings, None))
        self._readings = self._driver.readings()

    async def documents(self) -> tuple[Document, Document]:
        """A reading that is taken now, and who the UPS is, by NUT's names."""
        reading = await anext(self._readings)
        snapshot = Snapshot(ups="ups", power=PowerState.ON_LINE, identity=self._driver.identity, reading=reading)
        document = state_document(snapshot, at=None, now=reading.at)
        readings, device = document["readings"], document["device"]
        assert isinstance(readings, dict)
        assert isinstance(device, dict)
        return readings, device

    async def close(self) -> None:
        """Give the port back."""
        await self._readings.aclose()
        await self._driver.close()


@contextlib.contextmanager
def explaining(why: Callable[[], str]) -> Iterator[None]:
    """Say why something did not come about in time."""
    try:
        yield
    except TimeoutError:
        raise AssertionError(why()) from None
