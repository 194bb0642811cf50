"""`upsctl ups`: each word, its answer and its exit status."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_line import Result, upsctl
from upsd.control import ActError, ControlServer
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from upsd.status import Json


@dataclass
class Ups:
    """A UPS behind a daemon: what it answers, and what it was told."""

    answers: dict[str, Json]
    told: list[Mapping[str, Json]]

    async def obey(self, request: Mapping[str, Json]) -> Json:
        """Answer a command, or refuse it with a text."""
        self.told.append(request)
        answer = self.answers[str(request["act"])]
        if isinstance(answer, str):
            raise ActError(answer)
        return answer


@pytest.fixture
async def ups(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ups]:
    """Whose daemon upsctl finds in its environment."""
    passed: Json = {"outcome": "Done and passed", "reason": "it held", "lowest_voltage_v": 12.1, "seconds": 9.7}
    answers: dict[str, Json] = {
        "ups-test": passed,
        "ups-panel-test": {"on_battery": False},
        "ups-cycle": {"confirmed": True},
        "ups-cancel": {"confirmed": True},
        "ups-new-battery": {"forgotten": True},
    }
    made = Ups(answers, [])

    async def details() -> Json:
        return {"protocol": "gpser", "device.model": "USV5", "device.serial": None}

    async def beeper() -> Json:
        return {"sounding": False}

    acts = dict.fromkeys(answers, made.obey)
    asks = {"ups": details, "ups-beeper": beeper}
    with tempfile.TemporaryDirectory(prefix="upsd-") as directory:
        path = Path(directory) / "control.sock"
        monkeypatch.setenv("UPSD_CONTROL__SOCKET", str(path))
        async with ControlServer(StatusBoard("iplug"), path, extra=asks, acts=acts, may_act=lambda _: None):
            yield made


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("show",), "protocol: gpser\ndevice.model: USV5\ndevice.serial: not reported\n"),
        (("beeper",), "the beeper is silent\n"),
        (("test",), "Done and passed: it held (9.7 s, lowest voltage 12.1 V)\n"),
        (("panel-test",), "the UPS tests its lamps: look at them now\n"),
        (
            ("cycle", "--off-after", "120", "--restore-after", "2", "--yes"),
            "outlets off in 120 s, on again 2 min later; the UPS shows it. Call it off with: upsctl ups cancel\n",
        ),
        (("cancel",), "nothing is scheduled any more\n"),
        (
            ("new-battery", "--yes"),
            "what was learned of the old battery is forgotten; the new one is counted on carefully at first\n",
        ),
    ],
)
@pytest.mark.usefixtures("ups")
async def test_each_word_to_the_ups_has_its_answer(words: tuple[str, ...], out: str) -> None:
    """One line for a person, exit status 0 for a script."""
    assert await upsctl("ups", *words) == Result(0, out, "")


@pytest.mark.usefixtures("ups")
async def test_what_the_ups_says_of_itself_is_there_for_programs() -> None:
    """Unknown is null."""
    shown = json.loads((await upsctl("ups", "show", "--json")).out)
    assert shown == {"protocol": "gpser", "device.model": "USV5", "device.serial": None}


async def test_a_refused_command_exits_with_1_and_the_reason(ups: Ups) -> None:
    """Nobody has to read a log."""
    ups.answers["ups-test"] = "refused: the rack lives on its battery"
    assert await upsctl("ups", "test") == Result(1, "", "upsctl: upsd says: refused: the rack lives on its battery\n")


async def test_a_test_that_was_not_passed_exits_with_1(ups: Ups) -> None:
    """A timer that runs it can tell."""
    weak: Json = {"outcome": "Done and warning", "reason": "weak", "lowest_voltage_v": None, "seconds": 9.0}
    ups.answers["ups-test"] = weak
    assert await upsctl("ups", "test") == Result(1, "Done and warning: weak (9.0 s)\n", "")
    shown = await upsctl("ups", "test", "--json")
    assert (shown.code, json.loads(shown.out)) == (1, weak)


async def test_an_outlet_cycle_says_whether_it_is_meant(ups: Ups) -> None:
    """The daemon decides by it, and it is never so by default."""
    await upsctl("ups", "cycle")
    await upsctl("ups", "cycle", "--yes")
    assert [request["yes"] for request in ups.told] == [False, True]
    asked = {"act": "ups-cycle", "off_after_s": 180, "restore_after_min": 1, "yes": False}
    assert ups.told[0] == {**asked, "uid": os.getuid()}


@pytest.mark.parametrize("option", ["--off-after", "--restore-after"])
@pytest.mark.parametrize("value", ["0", "65536", "-1", "soon"])
async def test_a_delay_that_the_ups_cannot_count_names_the_option(ups: Ups, option: str, value: str) -> None:
    """Without a time until they come on again the outlets would stay off."""
    result = await upsctl("ups", "cycle", f"{option}={value}", "--yes")
    assert result.code == 64
    assert f"argument {option}: '{value}' is no whole number from 1 to 65535" in result.err
    assert ups.told == []


async def test_a_bench_that_nobody_answers_at_changes_nothing(tmp_path: Path) -> None:
    """It needs a person."""
    settings = tmp_path / "upsd.toml"
    rack = f'state_directory = "{tmp_path}"\n[master]\nname = "m"\nwatts = 5\n[control]\nsocket = "{tmp_path}/none"\n'
    settings.write_text(rack)
    result = await upsctl("ups", "bench", "--config", str(settings))
    assert (result.code, result.err.strip()) == (1, "Stopped: nothing is changed.")
    settings.write_text(rack.replace(f'"{tmp_path}"', '"/nonexistent"'))
    result = await upsctl("ups", "bench", "--config", str(settings))
    assert (result.code, "there is no directory /nonexistent that you may write to" in result.err) == (1, True)
    assert not (tmp_path / "ups-profile.json").exists()


async def test_what_the_ups_does_not_show_is_said(ups: Ups) -> None:
    """Taken is not done."""
    ups.answers["ups-cycle"] = ups.answers["ups-cancel"] = {"confirmed": False}
    assert "does not show it" in (await upsctl("ups", "cycle", "--yes")).out
    assert (await upsctl("ups", "cancel")).code == 1


async def test_ups_without_a_command_shows_what_there_is() -> None:
    """With an example for each."""
    result = await upsctl("ups")
    assert result.code == 0
    assert all(word in result.out for word in ("show", "beeper", "test", "panel-test", "cycle", "cancel", "bench"))
