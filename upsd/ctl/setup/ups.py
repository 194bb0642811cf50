"""The second step: which UPS is there, who has it, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from upsd.adapters import ups_driver, ups_transport
from upsd.ctl import client
from upsd.ctl.holders import holders_of, usb_node
from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.questions import GO_ON_WITHOUT_UPS, UPS_PORT
from upsd.ctl.words import POWER, plain
from upsd.domain.power import PowerState
from upsd.settings import UpsSettings
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from upsd.ctl.setup.situation import Situation

_USB_ANSWERS_WITHIN_S: Final = 8.0
# The probes of all protocols and speeds, one after another.
_SERIAL_ANSWERS_WITHIN_S: Final = 25.0
_SERIAL_PORTS: Final = ("serial/by-id/*", "ttyUSB*", "ttyACM*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is plugged in that may be a UPS: its `ups.port`, and what it says it is, or why it says nothing."""

    port: str
    said: str | None
    trouble: str = ""


def find(situation: Situation) -> Outcome:
    """Find the UPS, and settle with the person which one it is."""
    if running := _read_by_the_daemon(situation.socket):
        situation.ups_port = str(situation.interview.answer(UPS_PORT, "usb", asks=False))
        return Outcome(State.FOUND, running)
    ups = _settings(situation)
    candidates = asyncio.run(_plugged_in(ups))
    for candidate in candidates:
        print(f"  {candidate.port}: {plain(candidate.said or candidate.trouble)}")
    serial = _serial_ports()
    if serial:
        print(f"  Serial ports here: {', '.join(serial)}")
    answering = [candidate for candidate in candidates if candidate.said]
    proposal = "usb" if len(candidates) < 2 else (answering or candidates)[0].port
    if not situation.keeps_settings:
        situation.ups_port = str(
            situation.interview.answer(UPS_PORT, proposal, asks=len(answering) != 1 or bool(serial))
        )
        ups = ups.model_copy(update={"port": situation.ups_port})
    return _judged(situation, ups, candidates)


def _judged(situation: Situation, ups: UpsSettings, candidates: list[Candidate]) -> Outcome:
    """Whether the one that was chosen answers; the person may go on without."""
    if ups.port.startswith("serial:"):
        chosen = asyncio.run(_identified(ups))
    else:
        fitting = [candidate for candidate in candidates if ups.port in {"usb", candidate.port}]
        answering = [candidate for candidate in fitting if candidate.said]
        chosen = (answering or fitting or [Candidate(ups.port, None, "no UPS is plugged in; check its cable")])[0]
    if chosen.said:
        return Outcome(State.FOUND, f"{chosen.said} at {chosen.port}")
    problem = f"{chosen.port}: {plain(chosen.trouble)}"
    print(f"  {situation.paint(problem, 'yellow')}")
    if not situation.interview.agrees(GO_ON_WITHOUT_UPS, default=False):
        raise SetupError(f"{problem}; then run upsctl setup again (or answer ups.go_on_without = true)")
    situation.left.append(f"the UPS does not answer: {chosen.trouble}")
    return Outcome(State.LEFT_OUT, f"going on without it, as you wish: {problem}")


def _read_by_the_daemon(socket: str) -> str | None:
    """What a running daemon says of it, if it reads it: then nobody else may ask it."""
    try:
        state = client.ask(socket, "status")["state"]
    except (client.NoDaemonError, client.RefusedError):
        return None
    if state["power"] == PowerState.UNKNOWN:
        return None
    return f"upsd is running and reads it: {POWER[state['power']]}"


def _settings(situation: Situation) -> UpsSettings:
    if situation.keeps_settings and situation.settings:
        return situation.settings.ups
    backend = situation.environment.get("UPSD_UPS__BACKEND")
    return UpsSettings(backend=backend)


async def _plugged_in(ups: UpsSettings) -> list[Candidate]:
    """All that show the bridge's USB id, each asked who it is."""
    transport = ups_transport(UpsSettings(backend=ups.backend), None)
    try:
        places = await transport.places()
    except UpsError as error:
        return [Candidate("usb", None, str(error))]
    finally:
        transport.shutdown()
    found = []
    for place in sorted(places, key=lambda place: place.path):
        device = usb_node(int(place.path.partition("-")[0]), place.plugged)
        port = f"usb:{place.path}"
        if holders := holders_of(device):
            found.append(Candidate(port, None, "; ".join(holders)))
        else:
            found.append(await _identified(ups.model_copy(update={"port": port})))
    return found


async def _identified(ups: UpsSettings) -> Candidate:
    """Ask what is at this port who it is, with the daemon's own driver."""
    transport = ups_transport(ups, None)
    driver = ups_driver(ups, transport)
    within_s = _SERIAL_ANSWERS_WITHIN_S if ups.port.startswith("serial:") else _USB_ANSWERS_WITHIN_S
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), contextlib.aclosing(driver.readings()) as readings:
                await anext(readings)
        identity = driver.identity
        if identity is None:
            return Candidate(ups.port, None, driver.trouble or f"it does not answer within {within_s:.0f} s")
        power = f", {identity.apparent_power_va} VA" if identity.apparent_power_va else ""
        return Candidate(ups.port, f"{identity.model}{power}")
    finally:
        with contextlib.suppress(UpsError):
            await driver.close()
        transport.shutdown()


def _serial_ports() -> list[str]:
    return [f"serial:{path}" for pattern in _SERIAL_PORTS for path in sorted(Path("/dev").glob(pattern))]
