"""How setup finds the UPS: on a serial cable, behind a daemon that reads it already, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.pty import serial_port
from tests.integration.boards import ON_LINE, show
from upsd.ctl.setup import ups
from upsd.ctl.setup.interview import Interview
from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.situation import Situation
from upsd.ctl.words import painter

if TYPE_CHECKING:
    from upsd.ctl.setup.answers import Answers
    from upsd.status import StatusBoard

NO_USB = {"UPSD_UPS__BACKEND": "hardware_sim.usb_backend"}


def _situation(answers: Answers, socket: str = "/nonexistent/control.sock") -> Situation:
    paint = painter(coloured=False)
    return Situation(Path("upsd.toml"), NO_USB, Interview(answers, {}, attended=False, paint=paint), paint, socket)


@pytest.fixture(autouse=True)
def _nothing_on_usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSD_SIM_UPS", str(tmp_path / "unplugged.sock"))


async def test_a_ups_on_a_serial_cable_is_found(tmp_path: Path) -> None:
    """It is asked by the port that was answered, since other things hang on serial ports too."""
    device, link = UpsDevice(load_w=lambda: 76.0), tmp_path / "ttyUSB0"
    async with serial_port(device, speed=10.0, link=link):
        situation = _situation({("ups", "port"): f"serial:{link}"})
        outcome = await asyncio.to_thread(ups.find, situation)
    assert outcome == Outcome(State.FOUND, f"USV5, 800 VA at serial:{link}")
    assert situation.ups_port == f"serial:{link}"


async def test_a_ups_that_the_daemon_reads_is_left_to_it(board: StatusBoard, control_socket: Path) -> None:
    """Two readers would only disturb each other."""
    show(board, ON_LINE)
    outcome = await asyncio.to_thread(ups.find, _situation({}, str(control_socket)))
    assert outcome == Outcome(State.FOUND, "upsd is running and reads it: on line")


async def test_without_a_ups_nothing_goes_on_unasked() -> None:
    """Nothing is written then; the message says which answer lets it go on."""
    with pytest.raises(
        SetupError, match=r"check its cable; then run upsctl setup again \(or answer ups\.go_on_without"
    ):
        await asyncio.to_thread(ups.find, _situation({}))


async def test_with_consent_it_goes_on_and_says_so_at_the_end() -> None:
    """A rack without a UPS can be set up before the UPS comes."""
    situation = _situation({("ups", "go_on_without"): True})
    outcome = await asyncio.to_thread(ups.find, situation)
    assert outcome.state is State.LEFT_OUT
    assert situation.left == ["the UPS does not answer: no UPS is plugged in; check its cable"]
