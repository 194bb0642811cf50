"""Scenarios: what ships, played in virtual time; what a wrong file is told; what was recorded, played again."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.ups import scenario
from hardware_sim.ups.actions import ArgumentError, deed_of
from hardware_sim.ups.recording import Recording
from hardware_sim.ups.rig import PROFILES, Rig
from hardware_sim.ups.scenario import Scenario, ScenarioError
from hardware_sim.ups.server import let_time_pass
from hardware_sim.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable

FLICKER = """\
title = "A flicker"
[[do]]
at = "10s"
action = "cut"
[[do]]
at = "12.5s"
action = "restore"
"""


@dataclass
class Played:
    """A rig after a scenario, and what happened meanwhile."""

    rig: Rig
    deeds: list[tuple[float, str]] = field(default_factory=list)
    outlets: list[tuple[float, bool]] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Any]:
        """As the control shows it."""
        return self.rig.state(self.rig.device.running_s)


def play(wanted: Scenario, *, speed: float = 1.0, longer_s: float = 0.0) -> Played:
    """Play it in virtual time, and go on for so long after it."""
    profile = PROFILES[wanted.profile or "iplug-800"]
    charge = 1.0 if wanted.charge is None else wanted.charge
    played = Played(Rig(profile, charge=charge, load_w=wanted.load_w or 0.0, speed=speed))

    async def act() -> None:
        loop = asyncio.get_running_loop()
        played.rig.device.listen(lambda on: played.outlets.append((loop.time(), on)))
        living = asyncio.create_task(let_time_pass(played.rig.device, 1.0))
        await scenario.play(wanted, played.rig, lambda deed: played.deeds.append((loop.time(), str(deed))))
        await asyncio.sleep(longer_s)
        living.cancel()
        played.rig.device.advance(loop.time())

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(act())
    return played


def after_brown_out(played: Played) -> bool:
    """Twice too far from the nominal voltage: a minute on battery, and then normal mains."""
    mains = {"volts": 228.0, "hertz": 49.8, "usable": True}
    return played.rig.device.counters.battery_s == pytest.approx(60.0) and played.state["mains"] == mains


def after_coming_and_going(played: Played) -> bool:
    """Out of battery by now, after four outages of which the last has not ended."""
    counters = played.rig.device.counters
    return (counters.blackouts, counters.full_discharges) == (4, 1) and not played.state["outlets"]["on"]


def after_flaky_cable(played: Played) -> bool:
    """In, for the fifth time."""
    faults = played.state["faults"]
    return (faults["plug_count"], faults["unplugged"]) == (5, False)


def after_flicker(played: Played) -> bool:
    """On mains, after three outages of less than four seconds."""
    counters = played.rig.device.counters
    return counters.battery_s == pytest.approx(3.8) and counters.blackouts == 3 and played.state["mains"]["usable"]


def after_hung_bridge(played: Played) -> bool:
    """One outage of a minute; the halt stays until a host clears it, and nothing hangs."""
    faults = played.state["faults"]
    return (
        played.rig.device.counters.battery_s == pytest.approx(60.0)
        and (faults["hung"], faults["stalled"]) == (False, True)
        and played.state["mains"]["usable"]
    )


def after_long_outage(played: Played) -> bool:
    """Empty after some ten minutes, off until the mains was back, and charging since."""
    (off_at, off), (on_at, on) = played.outlets
    return (
        500 < off_at < 800
        and not off
        and on
        and on_at == pytest.approx(3600, abs=1)
        and played.state["mains"]["usable"]
    )


def after_noisy_line(played: Played) -> bool:
    """Nobody asked: each damage still waits for its reply, and what holds until it is set back was set back."""
    faults = played.state["faults"]
    waiting = ("truncate_replies", "echo_replies", "mismatch_replies", "nak_replies", "override_statuses")
    lasting = ("babble", "silent", "corrupt_replies")
    return all(faults[name] == 1 for name in waiting) and not any(faults[name] for name in lasting)


def after_worn_out_battery(played: Played) -> bool:
    """It lasted for less than two minutes, and the mains brought the outlets back."""
    (off_at, off), (on_at, on) = played.outlets
    return 30 < off_at < 150 and not off and on and on_at == pytest.approx(600, abs=1)


ENDINGS: dict[str, Callable[[Played], bool]] = {
    "brown-out": after_brown_out,
    "coming-and-going": after_coming_and_going,
    "flaky-cable": after_flaky_cable,
    "flicker": after_flicker,
    "hung-bridge": after_hung_bridge,
    "long-outage": after_long_outage,
    "noisy-line": after_noisy_line,
    "worn-out-battery": after_worn_out_battery,
}


def test_every_scenario_that_ships_is_played_here() -> None:
    """A new one needs an ending."""
    assert set(scenario.shipped()) == set(ENDINGS)


@pytest.mark.parametrize("name", ENDINGS)
def test_a_scenario_ends_as_its_title_promises(name: str) -> None:
    """The UPS is then as the ending says, and the same when it is played again."""
    wanted = scenario.load(name)
    first, second = (play(wanted, longer_s=1800.0 if name == "coming-and-going" else 1.0) for _ in range(2))
    assert ENDINGS[name](first)
    assert (first.state, first.deeds, first.outlets) == (second.state, second.deeds, second.outlets)


def test_things_happen_at_their_times() -> None:
    """Each deed at its time, to the millisecond."""
    played = play(scenario.parse(FLICKER, "flicker.toml"))
    assert [deed for _, deed in played.deeds] == ["cut", "restore"]
    assert [at for at, _ in played.deeds] == pytest.approx([10.0, 12.5], abs=0.001)


def test_the_example_of_the_document_can_be_played() -> None:
    """It has everything that a file may have."""
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.+?)```", text, re.DOTALL)
    wanted = scenario.parse(example, "example.toml")
    assert (wanted.profile, wanted.charge, wanted.load_w, wanted.speed) == ("full-report", 0.8, 120.0, 2.0)
    played = play(wanted, speed=2.0)
    assert played.deeds == [(5.0, "brown-out volts=180"), (30.0, "cut"), (45.0, "restore")]
    assert played.state["mains"]["usable"]


def test_what_is_for_usb_is_passed_over_without_it() -> None:
    """It is told all the same, and the rest is done."""
    rig, told = Rig(usb=False), []
    wanted = scenario.parse(FLICKER.replace('"cut"', '"hang"').replace('"restore"', '"cut"'), "flicker.toml")
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario.play(wanted, rig, lambda deed: told.append(str(deed))))
    assert (told, rig.faults.hung, rig.device.input_voltage_v) == (["hang", "cut"], False, 0.0)


def test_at_twice_the_speed_everything_takes_half_the_time() -> None:
    """The times of the file are the UPS's, and so are its battery's."""
    slow, quick = (play(scenario.parse(FLICKER, "flicker.toml"), speed=speed) for speed in (1.0, 2.0))
    assert [at for at, _ in quick.deeds] == pytest.approx([5.0, 6.25])
    assert quick.rig.device.counters.battery_s == pytest.approx(slow.rig.device.counters.battery_s)


def test_what_a_file_leaves_out_is_left_to_who_plays_it() -> None:
    """And what it has is taken."""
    bare = scenario.parse(FLICKER, "flicker.toml")
    assert (bare.profile, bare.charge, bare.load_w, bare.speed) == (None, None, None, None)
    full = scenario.parse('profile = "crc"\ncharge = 0.5\nload = 120\nspeed = 4\n' + FLICKER, "flicker.toml")
    assert (full.profile, full.charge, full.load_w, full.speed) == ("crc", 0.5, 120.0, 4.0)


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ('action = "cut"', 'action = "cat"', "entry 1: there is no action 'cat'; there are cut, restore, "),
        ('action = "cut"', 'action = "brown-out"', "entry 1: brown-out needs volts, a number from 0 to 500 V"),
        ('action = "cut"', 'action = "cut"\nvolts = 1', "entry 1: cut takes no arguments; not 'volts'"),
        (
            'action = "restore"',
            'action = "nak"\ncode = 9',
            "entry 2: nak: code is a whole number from 0 to 5, not 9",
        ),
        ('action = "restore"', "", "entry 2: it needs an action, such as "),
        ('at = "10s"', "", "entry 1: it needs a time, such as "),
        ('at = "10s"', 'at = "soon"', "entry 1: it needs a time, such as "),
        ('at = "12.5s"', "at = 9", "entry 2: at 9 s it comes before the entry that it follows, at 10 s; put it there"),
        ('at = "12.5s"', "at = -1", 'entry 2: it needs a time, such as at = 10 (seconds), "10s" or '),
        ("title", "tilte", "there is no key 'tilte'; there are title, profile, charge, load, speed, do"),
        ('title = "A flicker"', "", "it needs a title, such as "),
        ('title = "A flicker"', 'title = "A"\nprofile = "iplug"', "profile is one of iplug-800, "),
        ('title = "A flicker"', 'title = "A"\ncharge = 50', "charge is a number from 0 to 1, not 50"),
        ("[[do]]", "[do]", "it is no TOML: Cannot declare ('do',) twice (at line 5, column 4)"),
        ('"A flicker"', "A flicker", "it is no TOML: Invalid value (at line 1, column 9)"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong_and_what_would_be_right(wrong: str, right: str, message: str) -> None:
    """With the file's name in front."""
    with pytest.raises(ScenarioError) as told:
        scenario.parse(FLICKER.replace(wrong, right), "mine.toml")
    assert str(told.value).startswith(f"mine.toml: {message}")


def test_a_file_without_entries_is_no_scenario() -> None:
    """It is told how they begin."""
    with pytest.raises(ScenarioError, match=r"mine\.toml: it needs entries that begin with \[\[do\]\]"):
        scenario.parse('title = "Nothing"', "mine.toml")


def test_a_file_that_is_not_there_is_told_what_there_is(tmp_path: Path) -> None:
    """By the names of what comes along."""
    with pytest.raises(ScenarioError, match=r"none\.toml: no such file, .*long-outage"):
        scenario.load(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("10s", 10), ("250ms", 0.25), ("1.5min", 90), ("2h 30min", 9000), ("1min10s", 70), (10, 10), (0, 0), (2.5, 2.5)],
)
def test_durations_are_written_as_people_write_them(given: object, seconds: float) -> None:
    """Several parts add up; a number is seconds."""
    assert scenario.duration_s(given) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1m", "10s?", -1, math.nan, math.inf, None, True, ["10s"]])
def test_other_things_are_no_durations(text: object) -> None:
    """A text needs a unit."""
    with pytest.raises(ValueError, match="is no duration"):
        scenario.duration_s(text)


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """And what to do."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(ScenarioError, match=r"binary\.toml: it is no text in UTF-8; save it as that"):
        scenario.load(str(binary))
    with pytest.raises(ScenarioError, match="Is a directory; name a file that can be read"):
        scenario.load(str(tmp_path))


def test_what_was_recorded_can_be_played_again(tmp_path: Path) -> None:
    """The same deeds at the same times, on the same UPS; a figure that is not given is written as one."""
    path = tmp_path / "recorded.toml"
    done = [
        (2.0, deed_of("say", {"charge_percent": "none", "output_powered": False, "replies": 2})),
        (5.5, deed_of("brown-out", {"volts": "180"})),
        (5.5, deed_of("condition", {"locked": "yes"})),
    ]

    async def record() -> None:
        loop = asyncio.get_running_loop()
        with Recording(path, Rig(PROFILES["crc"], charge=0.5, load_w=120.0, speed=2.0), "crc") as recording:
            for at_s, deed in done:
                await asyncio.sleep(at_s - loop.time())
                recording.note(deed)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(record())
    again = scenario.load(str(path))
    assert (again.profile, again.charge, again.load_w, again.speed) == ("crc", 0.5, 120.0, 2.0)
    assert [(scene.at_s, str(scene.deed)) for scene in again.scenes] == [(2 * at_s, str(deed)) for at_s, deed in done]
    assert play(again).rig.device.conditions.locked


@pytest.mark.parametrize(("given", "volts"), [(0, 0.0), ("500", 500.0), (230.5, 230.5)])
def test_numbers_may_be_written_in_several_ways(given: object, volts: float) -> None:
    """As a query, JSON or TOML has them; the limits count as well."""
    assert deed_of("brown-out", {"volts": given}).values == {"volts": volts}


@pytest.mark.parametrize("given", [-0.1, 501, "nan", "much", True, None, [1]])
def test_other_things_are_no_numbers(given: object) -> None:
    """What is beyond the limits, no number at all or a switch is not taken."""
    with pytest.raises(ArgumentError, match="volts is a number from 0 to 500 V, not "):
        deed_of("brown-out", {"volts": given})
