"""The simulated UPS under its HTTP control, and what is told of it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re
from typing import TYPE_CHECKING

import pytest

from hardware_sim.ups import actions
from hardware_sim.ups.device import NotPossibleError
from hardware_sim.ups.narrator import HeardDevice, narrate
from hardware_sim.ups.rig import Rig
from tests.integration.simulated_ups import Control, controlled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
def rig() -> Rig:
    """An iPlug with 80 W on it."""
    return Rig(load_w=80.0)


@pytest.fixture
async def control(rig: Rig) -> AsyncIterator[Control]:
    """Its control."""
    async with controlled(rig) as made:
        yield made


async def test_the_state_shows_how_everything_stands(control: Control) -> None:
    """Mains, outlets, battery, what is scheduled, conditions and faults."""
    state = await control.state()
    assert state["mains"] == {"volts": 230.0, "hertz": 50.0, "usable": True}
    assert state["outlets"] == {"on": True, "off_because": None, "load_w": 80.0}
    assert (state["battery"]["charge"], state["battery"]["working"]) == (1.0, False)
    assert state["scheduled"] == {"outlets_off_in_s": None, "outlets_on_in_s": None}
    assert state["conditions"]["locked"] is False
    assert state["faults"]["unplugged"] is False


async def test_what_is_scheduled_is_shown(rig: Rig, control: Control) -> None:
    """A shutdown in five minutes, counted down; and why the outlets are off when they are."""
    rig.device.advance(asyncio.get_running_loop().time())
    rig.device.shutdown_and_restore(300, 1)
    assert 290 < (await control.state())["scheduled"]["outlets_off_in_s"] <= 300
    rig.device.cancel_shutdown()
    rig.device.shutdown_and_restore(0, 1)
    state = await control.state()
    assert state["outlets"] == {"on": False, "off_because": "cycle", "load_w": 0.0}
    assert 50 < state["scheduled"]["outlets_on_in_s"] <= 60


DEEDS: dict[str, Callable[[Rig], bool]] = {
    "cut": lambda rig: rig.device.input_voltage_v == 0.0 and rig.device.input_frequency_hz == 0.0,
    "restore": lambda rig: rig.device.input_voltage_v == 230.0,
    "brown-out?volts=180": lambda rig: (rig.device.input_voltage_v, rig.device.input_frequency_hz) == (180.0, 50.0),
    "input?volts=240&hertz=49.5": lambda rig: (
        (rig.device.input_voltage_v, rig.device.input_frequency_hz) == (240.0, 49.5)
    ),
    "load?watts=200": lambda rig: rig.device.load_w == 200.0,
    "battery?charge=0.25": lambda rig: rig.device.battery.charge == pytest.approx(0.25, abs=0.001),
    "battery?health=0.5&temperature=5": lambda rig: (
        (rig.device.battery.spec.health, rig.device.battery.spec.temperature_c) == (0.5, 5.0)
    ),
    "button": lambda rig: rig.device.outlets.on,
    "condition?locked=true&failure=on": lambda rig: rig.device.conditions.locked and rig.device.conditions.failure,
    "unplug": lambda rig: rig.faults.unplugged,
    "plug": lambda rig: not rig.faults.unplugged,
    "freeze": lambda rig: rig.faults.frozen,
    "thaw": lambda rig: not rig.faults.frozen,
    "silence": lambda rig: rig.faults.silent,
    "speak": lambda rig: not rig.faults.silent,
    "hang": lambda rig: rig.faults.hung,
    "release": lambda rig: not rig.faults.hung,
    "stall": lambda rig: rig.faults.stalled,
    "babble": lambda rig: rig.faults.babble,
    "babble?on=false": lambda rig: not rig.faults.babble,
    "corrupt": lambda rig: rig.faults.corrupt_replies == 1,
    "truncate?replies=3": lambda rig: rig.faults.truncate_replies == 3,
    "echo?replies=-1": lambda rig: rig.faults.echo_replies == -1,
    "mismatch?replies=0": lambda rig: rig.faults.mismatch_replies == 0,
    "nak?code=3&replies=2": lambda rig: (rig.faults.nak_code, rig.faults.nak_replies) == (3, 2),
    "say?charge_percent=none&output_powered=off": lambda rig: (
        rig.faults.status_overrides == {"charge_percent": None, "output_powered": False}
        and rig.faults.override_statuses == -1
    ),
    "say": lambda rig: rig.faults.override_statuses == 0,
}


@pytest.mark.parametrize("path", DEEDS)
async def test_an_action_does_what_it_says(path: str, rig: Rig, control: Control) -> None:
    """By its path and query; the answer is the state after it, and whoever keeps a record is told."""
    assert (await control.post(path))[0] == 200
    assert DEEDS[path](rig)
    assert [deed.action.name for deed in control.told] == [path.partition("?")[0]]


def test_every_action_is_done_here() -> None:
    """A new one needs a line above."""
    assert {path.partition("?")[0] for path in DEEDS} == set(actions.ACTIONS)


async def test_arguments_may_come_as_json(rig: Rig, control: Control) -> None:
    """With JSON's own null for a figure that the UPS does not give."""
    assert (await control.post("brown-out", json={"volts": 190}))[0] == 200
    assert rig.device.input_voltage_v == 190.0
    assert (await control.post("say", json={"runtime_min": None}))[0] == 200
    assert rig.faults.status_overrides == {"runtime_min": None}


@pytest.mark.parametrize("body", [b"volts=190&hertz=49.5", b'{"volts": 190, "hertz": 49.5}'])
async def test_arguments_may_come_as_curl_sends_them(body: bytes, rig: Rig, control: Control) -> None:
    """`curl -d` says of whatever it sends that it is a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with control.session.post(control.url + "input", data=body, headers=headers) as answer:
        assert answer.status == 200
    assert (rig.device.input_voltage_v, rig.device.input_frequency_hz) == (190.0, 49.5)


@pytest.mark.parametrize(
    ("path", "data", "status", "text"),
    [
        ("shutdown", None, 404, "there is no action 'shutdown'; there are cut, restore, "),
        ("cut?volts=1", None, 400, "cut takes no arguments; not 'volts'"),
        ("brown-out", None, 400, "brown-out needs volts, a number from 0 to 500 V"),
        ("brown-out?volts=lots", None, 400, "brown-out: volts is a number from 0 to 500 V, not 'lots'"),
        ("battery", None, 400, "battery needs at least one of charge, a number from 0 to 1; health, "),
        ("condition?sad=true", None, 400, "condition takes locked, on_bypass, "),
        ("condition?locked=maybe", None, 400, "condition: locked is true or false, not 'maybe'"),
        ("say?charge=1", None, 400, "say takes output_powered, locked, "),
        ("say?charge_percent=full", None, 400, 'say: charge_percent is a number from 0 to 6553.4, or "none", not '),
        (
            "nak",
            None,
            400,
            "nak needs code, a whole number from 0 to 5; replies (optional), a whole number from -1 to ",
        ),
        ("corrupt?on=1", None, 400, "corrupt takes replies (optional), a whole number from -1 to 1000; not 'on'"),
        ("brown-out", b"volts=", 400, "brown-out: volts is a number from 0 to 500 V, not ''"),
        ("brown-out", b"180", 400, "the body can't be read: bad query field: '180'; give arguments as in ?volts=190, "),
        ("brown-out", b'{"volts"', 400, "the body can't be read: Expecting "),
        ("brown-out", b"[180]", 400, "the body is no object; give arguments as in ?volts=190, "),
        ("", None, 405, "GET / shows how everything stands, and POST /ACTION does something; actions are cut, "),
        ("cut/now", None, 404, "GET / shows how everything stands, and POST /ACTION does something; actions are cut, "),
    ],
)
async def test_what_can_not_be_done_is_told_in_one_line(
    path: str, data: bytes | None, status: int, text: str, rig: Rig, control: Control
) -> None:
    """What there is instead; and nothing was done."""
    before = rig.state(0.0)
    answered, message = await control.post(path, data=data)
    assert answered == status
    assert message.startswith(text)
    assert message.count("\n") == 1
    assert (rig.state(0.0)["mains"], control.told) == (before["mains"], [])


async def test_who_only_looks_at_an_action_is_told_to_post_it(control: Control) -> None:
    """As a line to copy; of other addresses one is told which there are."""
    async with control.session.get(control.url + "cut") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert await answer.text() == f"to do it, POST it: curl -X POST {control.url}cut\n"
    async with control.session.get(control.url + "state") as answer:
        assert answer.status == 404
        assert (await answer.text()).startswith("GET / shows how everything stands, ")


@pytest.mark.parametrize("action", ["hang", "release", "stall", "babble?on=false"])
async def test_what_only_usb_has_is_refused_without_it(action: str) -> None:
    """It would do nothing on a serial port, and is not done; other things are."""
    rig = Rig(usb=False)
    before = dataclasses.asdict(rig.faults)
    async with controlled(rig) as control:
        status, message = await control.post(action)
        assert (status, control.told, dataclasses.asdict(rig.faults)) == (409, [], before)
        assert message.endswith(" is for USB, and this UPS is on no USB cable; start it with --usbip or --socket\n")
        assert (await control.post("silence"))[0] == 200


@pytest.mark.parametrize(
    ("action", "given", "told"),
    [
        ("babble", {"on": "yes"}, "babble on=true"),
        ("brown-out", {"volts": "180"}, "brown-out volts=180"),
        ("say", {"runtime_min": None, "locked": False, "load_percent": 2.5}, "say runtime_min=none locked=false load_"),
    ],
)
def test_what_was_done_is_told_as_one_writes_it(action: str, given: dict[str, object], told: str) -> None:
    """So that it can be copied into a request."""
    deed = actions.deed_of(action, given)
    assert str(deed).startswith(told)
    name, *arguments = str(deed).split()
    assert actions.deed_of(name, dict(argument.split("=") for argument in arguments)) == deed


def test_each_command_is_told_and_so_is_its_refusal() -> None:
    """Whichever cable it came over."""
    told: list[str] = []
    device = Rig(make=functools.partial(HeardDevice, told.append)).device
    device.advance(0.0)
    device.shutdown(30)
    with pytest.raises(NotPossibleError):
        device.shutdown_and_restore(60, 2)
    device.cancel_shutdown()
    device.test_battery()
    device.test_panel()
    device.trip(600)
    assert told == [
        "command: outlets off in 30 s",
        "command, refused: outlets off in 60 s, and on again 2 min later",
        "command: forget what is scheduled",
        "command: test the battery",
        "command: test the panel",
        "command: outlets off in 600 s, until somebody switches them on",
    ]


def test_what_can_be_seen_is_told_when_it_changes() -> None:
    """Once each: an outage with a shutdown in it, the mains back, a battery test and a cable that is pulled."""
    told: list[str] = []
    rig = Rig(load_w=80.0)
    rig.device.advance(0.0)
    narrate(rig, told.append)
    rig.device.cut_mains()
    rig.device.shutdown(5)
    for now in (4.0, 6.0):
        rig.device.advance(now)
    rig.device.restore_mains()
    rig.device.test_battery()
    rig.faults.unplugged = True
    rig.device.advance(30.0)
    assert told == [
        "mains: 0 V, 0 Hz, not usable",
        "outlets: on battery",
        "outlets: off (shutdown)",
        "mains: 230 V, 50 Hz",
        "outlets: on mains",
        "outlets: on battery",
        "battery test: in progress",
        "cable: out",
        "outlets: on mains",
        "battery test: over",
    ]


def test_the_table_names_every_action_and_figure() -> None:
    """One row each; nothing breaks a row."""
    rows = actions.markdown_table().splitlines()
    assert [row.split("`")[1] for row in rows[2:]] == list(actions.ACTIONS)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "`charge_percent`" in rows[-1]
