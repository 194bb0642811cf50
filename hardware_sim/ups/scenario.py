"""Scenarios: what happens to a simulated UPS, and when, as a TOML file that can be played again and again.

    title = "A flicker"
    profile = "iplug-800"   # these four may be left out
    charge = 1.0
    load = 80
    speed = 1.0
    [[do]]
    at = "10s"
    action = "brown-out"
    volts = 180

Times are the UPS's: at twice the speed everything comes in half the time. The actions are those of `actions`.
"""

from __future__ import annotations

import asyncio
import math
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.ups.actions import ArgumentError, Deed, UnknownActionError, deed_of
from hardware_sim.ups.arguments import Argument
from hardware_sim.ups.rig import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.resources.abc import Traversable

    from hardware_sim.ups.rig import Rig

CHARGE: Final = Argument(name="charge", most=1)
LOAD: Final = Argument(name="load", most=100_000, unit="W")
SPEED: Final = Argument(name="speed", least=0.01, most=10_000)
_NUMBERS: Final = (CHARGE, LOAD, SPEED)
_KEYS: Final = ("title", "profile", *(number.name for number in _NUMBERS), "do")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h)")


class ScenarioError(Exception):
    """A file that can't be played; the message says where it is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Something that happens so many seconds after the beginning."""

    at_s: float
    deed: Deed


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A file that was read; `None` where it leaves the choice to whoever plays it."""

    title: str
    profile: str | None
    charge: float | None
    load_w: float | None
    speed: float | None
    scenes: tuple[Scene, ...]


NOTHING: Final = Scenario(title="Nothing happens", profile=None, charge=None, load_w=None, speed=None, scenes=())


def shipped() -> dict[str, Traversable]:
    """The scenarios that come along, by name."""
    folder = resources.files("hardware_sim") / "scenarios"
    files = (file for file in folder.iterdir() if file.name.endswith(".toml"))
    return {file.name.removesuffix(".toml"): file for file in sorted(files, key=lambda file: file.name)}


def load(name: str) -> Scenario:
    """The scenario that comes along under this name, or is in this file.

    Raises:
        ScenarioError: there is none, or it is wrong.
    """
    ours = shipped()
    file = ours.get(name, Path(name))
    try:
        return parse(file.read_text(encoding="utf-8"), name)
    except FileNotFoundError as error:
        raise ScenarioError(f"{name}: no such file, and there come along only {', '.join(ours)}") from error
    except OSError as error:
        raise ScenarioError(f"{name}: {error.strerror}; name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{name}: it is no text in UTF-8; save it as that") from error


def parse(text: str, name: str) -> Scenario:
    """The scenario of a text; `name` is for messages.

    Raises:
        ScenarioError: it is wrong.
    """
    try:
        return _scenario(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: it is no TOML: {error}") from error
    except ScenarioError as error:
        raise ScenarioError(f"{name}: {error}") from error


async def play(scenario: Scenario, rig: Rig, told: Callable[[Deed], None] = lambda _: None) -> None:
    """Let it all happen on the running loop's time, as many times as fast as the rig is; `told` hears of each deed.

    What would do nothing on this rig is told, and passed over.
    """
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    for scene in scenario.scenes:
        due_at = began_at + scene.at_s / rig.speed
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        told(scene.deed)
        if not scene.deed.hindrance(rig):
            scene.deed.do(rig, loop.time())


def duration_s(given: object) -> float:
    """The seconds of "10s", "1.5min", "2h 30min" or "250ms", or a number of them.

    Raises:
        ValueError: it is none of that.
    """
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < math.inf:
        return float(given)
    parts = _DURATION.findall(str(given)) if isinstance(given, str) else []
    if not parts or _DURATION.sub("", str(given)).strip():
        raise ValueError(f"{given!r} is no duration")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _scenario(file: Mapping[str, Any]) -> Scenario:
    if stray := sorted(file.keys() - set(_KEYS)):
        raise ScenarioError(f"there is no key {stray[0]!r}; there are {', '.join(_KEYS)}")
    if not isinstance(title := file.get("title"), str):
        raise ScenarioError('it needs a title, such as title = "A flicker"')
    if (profile := file.get("profile")) not in (None, *PROFILES):
        raise ScenarioError(f"profile is one of {', '.join(PROFILES)}, not {profile!r}")
    charge, load_w, speed = (_number(file, number) for number in _NUMBERS)
    scenes = _scenes(file.get("do"))
    return Scenario(title=title, profile=profile, charge=charge, load_w=load_w, speed=speed, scenes=scenes)


def _number(file: Mapping[str, Any], argument: Argument) -> float | None:
    given = file.get(argument.name)
    try:
        return None if given is None else argument.read(given)
    except ValueError:
        raise ScenarioError(f"{argument.name} is {argument.limits}, not {given!r}") from None


def _scenes(entries: object) -> tuple[Scene, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ScenarioError("it needs entries that begin with [[do]]")
    scenes: list[Scene] = []
    for number, entry in enumerate(entries, start=1):
        try:
            scenes.append(_scene(entry, scenes[-1].at_s if scenes else 0.0))
        except (ScenarioError, UnknownActionError, ArgumentError) as error:
            raise ScenarioError(f"entry {number}: {error}") from error
    return tuple(scenes)


def _scene(entry: Mapping[str, Any], earliest_s: float) -> Scene:
    arguments = dict(entry)
    given, action = arguments.pop("at", None), arguments.pop("action", None)
    try:
        at_s = duration_s(given)
    except ValueError:
        raise ScenarioError(f'it needs a time, such as at = 10 (seconds), "10s" or "1h 30min", not {given!r}') from None
    if at_s < earliest_s:
        raise ScenarioError(
            f"at {at_s:g} s it comes before the entry that it follows, at {earliest_s:g} s; put it there"
        )
    if not isinstance(action, str):
        raise ScenarioError('it needs an action, such as action = "cut"')
    return Scene(at_s, deed_of(action, arguments))
