"""Discharges of simulated batteries that the model has not seen, as an iPlug would report them.

The voltage comes in steps of 0.1 V with a noise of 0.1 V either way, and the load only from the settings. The physics
and the inverter are the simulator's; the model has others.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hardware_sim.ups.battery import Battery, BatterySpec, Inverter
from hardware_sim.ups.profiles import IPLUG_800
from upsd.domain.power import Reading
from upsd.ups.battery.facts import BatteryFacts
from upsd.ups.battery.history import BatteryHistory, decoded, encoded
from upsd.ups.battery.watch import BatteryWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from upsd.domain.power import Event, RuntimeEstimate

READ_EVERY_S = 2.5
A_DAY_S = 86_400.0
BEGAN = datetime(2026, 11, 23, 19, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """What was said at one tenth of a discharge, and how long it really lasted from there (s)."""

    tenth: int
    true_s: float
    said: RuntimeEstimate


def settings_say(capacity_ah: float) -> BatteryFacts:
    """What the daemon knows on the first day: the label, and the settings' defaults for the rest."""
    return BatteryFacts(
        voltage_v=12.0, capacity_ah=capacity_ah, health=0.7, inverter_efficiency=0.8, inverter_idle_w=10.0
    )


@dataclass(frozen=True)
class Drawn:
    """A battery drawn at random: what it is, what the settings say, and the loads that it is asked and learned at."""

    spec: BatterySpec
    label_ah: float
    asked_w: float
    learned_w: tuple[float, float]

    def answers(self, *, seed: int, learned: bool) -> Sequence[Answer]:
        """What is said at every tenth, on the first day or after two discharges down to low."""
        facts = settings_say(self.label_ah)
        teacher = Observer(facts)
        for number, watts in enumerate(self.learned_w if learned else ()):
            teacher.live_through(self.spec, watts, seed + 1 + number)
        return Observer(facts, teacher.watch.history).answers(self.spec, self.asked_w, seed)


def drawn(seed: int) -> Drawn:
    """Any age, temperature, weak cell and load, and settings that are wrong by 30 % down or 40 % up."""
    pick = random.Random(seed)
    capacity_ah = pick.uniform(5.0, 9.0)
    spec = BatterySpec(
        capacity_ah=capacity_ah,
        health=pick.uniform(0.45, 1.0),
        temperature_c=pick.uniform(0.0, 35.0),
        weakest_cell=pick.choice([1.0, pick.uniform(0.6, 1.0)]),
    )
    label_ah = capacity_ah * pick.uniform(0.7, 1.4)
    return Drawn(spec, label_ah, pick.uniform(30.0, 150.0), (pick.uniform(30.0, 150.0), pick.uniform(30.0, 150.0)))


def seconds_to_low(spec: BatterySpec, watts: float) -> float:
    """How long a full battery really carries this load until the UPS says that it is low."""
    battery, seconds = Battery(spec), 0.0
    while battery.voltage_v > IPLUG_800.battery_low_v:
        battery.step(READ_EVERY_S, Inverter().drain_w(watts))
        seconds += READ_EVERY_S
    return seconds


def readings(spec: BatterySpec, watts: float, began_at: float, seed: int) -> Iterator[Reading]:
    """An outage with a full battery, from its first reading to the one with the low-battery flag."""
    battery, noise, at, low = Battery(spec), random.Random(seed), began_at, False
    while not low:
        battery.step(READ_EVERY_S, Inverter().drain_w(watts))
        at += READ_EVERY_S
        low = battery.voltage_v <= IPLUG_800.battery_low_v
        yield Reading(
            at=at,
            output_powered=True,
            on_battery=True,
            battery_low=low,
            battery_voltage_v=round(battery.voltage_v + noise.uniform(-0.1, 0.1), 1),
        )


class Observer:
    """A battery watch of a daemon that lives through outages, one a day, each with a battery that is charged."""

    def __init__(self, facts: BatteryFacts, history: BatteryHistory | None = None, now: float = 0.0) -> None:
        self.facts = facts
        self.events: list[Event] = []
        self.now = now
        self.kept: list[BatteryHistory] = []
        self.watch = BatteryWatch(
            history or BatteryHistory(),
            now=now,
            today=self._today,
            keep=self.kept.append,
            emit=self.events.append,
        )

    def _today(self) -> str:
        return (BEGAN + timedelta(seconds=self.now)).isoformat()

    def charged(self, watts: float) -> None:
        """A day on mains has passed, and the UPS says that the battery is charged."""
        self.now += A_DAY_S
        calm = Reading(at=self.now, output_powered=True, on_battery=False, battery_low=False, charged=True)
        self.watch.follow(self.now, watts, self.facts, calm, discharging=False)

    def live_through(self, spec: BatterySpec, watts: float, seed: int) -> None:
        """See one discharge, to the flag."""
        self.charged(watts)
        for reading in readings(spec, watts, self.now, seed):
            self.see(watts, reading)

    def restarted(self) -> Observer:
        """That of the next run of the daemon, which knows what was written down."""
        return Observer(self.facts, decoded(json.loads(json.dumps(encoded(self.kept[-1])))), self.now)

    def see(self, watts: float, reading: Reading) -> None:
        """See one reading of a discharge."""
        self.now = reading.at
        self.watch.follow(reading.at, watts, self.facts, reading, discharging=True)

    def answers(self, spec: BatterySpec, watts: float, seed: int) -> Sequence[Answer]:
        """What it says at every tenth of one discharge, beginning with the first reading."""
        self.charged(watts)
        lasts_s, began_at, found = seconds_to_low(spec, watts), self.now, list[Answer]()
        for reading in readings(spec, watts, began_at, seed):
            self.see(watts, reading)
            passed_s = reading.at - began_at
            if len(found) < 10 and passed_s >= lasts_s * len(found) / 10:
                said = self.watch.runtime(reading.at, watts, self.facts, None)
                found.append(Answer(len(found), lasts_s - passed_s, said))
        return found
