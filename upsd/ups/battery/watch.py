"""Follows the battery by the readings: on mains it fills, on battery every few seconds of voltage teach something.

Plain calls with the time in them, as in the supervisor that makes them. What was learned is handed out to be kept once
a minute during a discharge, since a shutdown may take this machine's power before the discharge has ended, and with it
the charge that is left, so that the next run of the daemon does not believe in a full battery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from upsd.domain.power import Event, RuntimeEstimate, Severity
from upsd.ups.battery.chemistry import FULL_BLOCK_V, LOW_BLOCK_V, Use
from upsd.ups.battery.health import health_of
from upsd.ups.battery.history import BatteryHistory, Charge, with_beginning, with_discharge
from upsd.ups.battery.learning import Discharge, Point
from upsd.ups.battery.memory import Memory
from upsd.ups.battery.opinion import (
    Opinion,
    Outlook,
    after_low_s,
    doubted,
    outlooks,
    runtime_s,
    starting,
    told,
    untried,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from upsd.domain.power import BatteryHealth, Reading
    from upsd.ups.battery.facts import BatteryFacts

_STEP_S: Final = 10.0
_STEP_ON_MAINS_S: Final = 300.0
_KEEP_EVERY_S: Final = 60.0
_KEEP_CHARGE_EVERY_S: Final = 300.0
_LONGEST_GAP_S: Final = 3600.0
"""A daemon that starts on battery so soon after it stopped on battery was away in one and the same outage."""
_MOST_POINTS: Final = 120
_REFILL_HOURS: Final = 12.0
_UNSURE_AT_START: Final = 0.1
_UNSURE_IN_OUTAGE: Final = 0.3
_SURER_EVERY_S: Final = 4 * 3600.0
_NOT_REFILLED: Final = 0.25
# No 12 V block has another voltage, alive or dead; such a figure says nothing of it.
_LEAST_BLOCK_V: Final = 4.0
_MOST_BLOCK_V: Final = 17.0
_MEAN_BLOCK_V: Final = (FULL_BLOCK_V + LOW_BLOCK_V) / 2


@dataclass(slots=True)
class _Running:
    """A discharge that goes on: what was thought of the battery before, and what it has shown since."""

    began_at: float
    unsure: float
    before: Opinion
    known: BatteryHistory
    opinion: Opinion
    watt_seconds: float = 0.0
    every: int = 1
    steps: int = 0
    points: list[Point] = field(default_factory=list)
    reached_low: bool = False

    def take(self, point: Point, *, last: bool) -> None:
        """Note a point; when there are too many, every second one goes and from then on fewer come."""
        self.steps += 1
        if last or self.steps % self.every == 0:
            self.points.append(point)
        if len(self.points) > _MOST_POINTS:
            del self.points[::2]
            self.every *= 2

    def go_on(self, shown: Discharge, at: float, facts: BatteryFacts) -> None:
        """Take in what was written down of it until then (loop time)."""
        self.began_at, self.watt_seconds = at - shown.seconds, shown.watts * shown.seconds
        self.points, self.steps, self.reached_low = list(shown.points), len(shown.points), shown.reached_low
        drawn_ah = shown.points[0].use.drawn_ah
        for number, point in enumerate(shown.points):
            share = (point.use.drawn_ah - drawn_ah) / facts.capacity_ah
            drawn_ah = point.use.drawn_ah
            self.opinion = told(
                self.opinion, point.use, point.current_a, point.block_v, share, facts, first=number == 0
            )


def full_runtime(facts: BatteryFacts, watts: float) -> RuntimeEstimate:
    """How long a full battery that has shown nothing yet carries this load until the UPS says low."""
    power_w = facts.block_w(watts)
    low_s, expected_s, high_s = runtime_s(outlooks(untried(facts), Use(), power_w, facts), Use(), power_w)
    return RuntimeEstimate(expected_s, low_s, high_s, "model")


class BatteryWatch:
    """What the battery is thought to give.

    Args:
        history: what is known of it from before.
        now: loop time at the start.
        today: the date, to write down (ISO 8601).
        keep: is handed the history whenever there is something new in it.
        emit: hears every event.
        installed: when the battery was put in, if that is known.
    """

    def __init__(
        self,
        history: BatteryHistory,
        *,
        now: float,
        today: Callable[[], str],
        keep: Callable[[BatteryHistory], None],
        emit: Callable[[Event], None],
        installed: date | None = None,
    ) -> None:
        self.history = replace(history, charge=None)
        self._today = today
        self._keep = keep
        self._emit = emit
        self._installed = installed
        self._at = now
        self._began_before: float | None = None
        self._use, self._unsure = Use(), _UNSURE_AT_START
        self._knows_beginning = False
        self._kept_at, self._kept_ah = -math.inf, 0.0
        self._broken_off: Discharge | None = None
        if history.charge is not None:
            self._recall(history.charge, now)
        self._running: _Running | None = None
        self._volts: list[float] = []
        self._memory: Memory | None = None
        self._settled: Opinion | None = None
        self._outlooks: tuple[Outlook, ...] = ()
        self._figures: tuple[float, tuple[float, float, float]] | None = None

    def _recall(self, charge: Charge, now: float) -> None:
        """Believe in the charge that an earlier run wrote down; nobody knows whether there was mains since."""
        age = datetime.fromisoformat(self._today()) - datetime.fromisoformat(charge.at)
        age_s = max(0.0, age.total_seconds())
        self._use, self._kept_ah = charge.use, charge.use.drawn_ah
        self._unsure = max(charge.unsure, _UNSURE_AT_START)
        if charge.discharging and age_s < _LONGEST_GAP_S:
            self._began_before, self._knows_beginning = now - age_s, True
            newest = self.history.discharges[-1] if self.history.discharges else None
            self._broken_off = newest if newest and newest.date == charge.at else None
        else:
            self._use = self._use.after(age_s, 0.0)

    def follow(
        self, now: float, watts: float, facts: BatteryFacts, reading: Reading | None, *, discharging: bool
    ) -> None:
        """Take the time since the last call in, and a fresh reading if there is one."""
        if discharging:
            self._follow_discharge(now, watts, facts, reading)
        else:
            self._follow_charge(now, facts, charged=reading is not None and reading.charged)

    def runtime(self, now: float, watts: float, facts: BatteryFacts, told_s: float | None) -> RuntimeEstimate:
        """How long it lasts until the UPS says low; `told_s` is what the UPS itself says."""
        low_s, expected_s, high_s = self._seconds(now, watts, facts)
        if told_s is not None and told_s < low_s:
            return RuntimeEstimate(min(told_s, expected_s), told_s, high_s, "ups", model_s=expected_s, ups_s=told_s)
        return RuntimeEstimate(expected_s, low_s, high_s, "model", model_s=expected_s, ups_s=told_s)

    def after_low_s(self, watts: float, facts: BatteryFacts) -> float:
        """How long it lasts from now, at which the UPS says that it is low."""
        if self._running is None:
            return facts.after_low_s
        return after_low_s(self._running.opinion, self._use, facts.block_w(watts), facts)

    def health(self) -> BatteryHealth:
        """How worn it is, as far as it has shown."""
        return health_of(self.history.health, self._installed)

    def take_up(self, lost_at: float) -> None:
        """Go on with a discharge that an earlier run of the daemon saw begin (loop time)."""
        self._began_before = lost_at if self._began_before is None else max(lost_at, self._began_before)

    def replaced(self) -> None:
        """An operator says that there is a new battery: nothing that was learned holds any more."""
        self._begin_anew("an operator said so")

    def _follow_discharge(self, now: float, watts: float, facts: BatteryFacts, reading: Reading | None) -> None:
        running = self._running
        if running is None:
            if not self._knows_beginning:
                self._unsure = _UNSURE_IN_OUTAGE  # nobody knows for how long it was so before we came
            self._at = max(self._at, now - _STEP_S) if self._began_before is None else self._began_before
            running = self._running = self._begun(now, facts)
            self._volts, self._began_before, self._broken_off = [], None, None
        block_v = 0.0 if reading is None else (reading.battery_voltage_v or 0.0) / facts.blocks
        if _LEAST_BLOCK_V <= block_v <= _MOST_BLOCK_V:
            self._volts.append(block_v)
        low = reading is not None and reading.battery_low and not running.reached_low
        if now - self._at >= _STEP_S or low or not running.points:
            self._step(running, now, watts, facts, low=low)
        if low and running.points:
            running.reached_low = True
            self._conclude(running, now, facts)
        elif now - self._kept_at >= _KEEP_EVERY_S and not running.reached_low:
            today = self._today()
            if running.points:
                self.history = with_beginning(running.known, self._discharge(running, now, today))
            self._hand_out(now, today)

    def _begun(self, now: float, facts: BatteryFacts) -> _Running:
        """A discharge that begins, or the one that an earlier run of the daemon has followed so far."""
        shown, known = self._broken_off, self.history
        if shown is not None:
            known = replace(known, discharges=known.discharges[:-1])
        before = self._opinion(facts, known.discharges, at_once=True)
        unsure = self._unsure if shown is None else shown.unsure
        running = _Running(now, unsure, before, known, starting(before, unsure))
        if shown is not None:
            running.go_on(shown, self._at, facts)
        return running

    def _step(self, running: _Running, now: float, watts: float, facts: BatteryFacts, *, low: bool) -> None:
        seconds = max(0.0, now - self._at)
        block_v = sum(self._volts) / len(self._volts) if self._volts else None
        current_a = facts.block_w(watts) / max(1.0, block_v or _MEAN_BLOCK_V)
        self._use = self._use.after(seconds, current_a)
        running.watt_seconds += watts * seconds
        if block_v is not None:
            share = current_a * seconds / 3600.0 / facts.capacity_ah
            running.opinion = told(
                running.opinion, self._use, current_a, block_v, share, facts, first=not running.points
            )
            if not running.reached_low:
                running.take(Point(self._use, current_a, block_v), last=low)
        self._at, self._volts, self._outlooks = max(self._at, now), [], ()

    def _follow_charge(self, now: float, facts: BatteryFacts, *, charged: bool) -> None:
        self._knows_beginning, self._began_before, self._broken_off = True, None, None
        if self._running is not None:
            self._end(self._running, now, facts)
        else:
            self._learn(facts, self.history.discharges)
        seconds = now - self._at
        if charged and (self._use != Use() or self._unsure):
            self._use, self._unsure, seconds, self._kept_at = Use(), 0.0, _STEP_ON_MAINS_S, -math.inf
        if seconds < _STEP_ON_MAINS_S:
            return
        self._use = self._use.refilled(max(0.0, now - self._at), facts.capacity_ah / _REFILL_HOURS)
        self._unsure *= math.exp(-max(0.0, now - self._at) / _SURER_EVERY_S)
        self._at, self._outlooks = max(self._at, now), ()
        if self._use.drawn_ah != self._kept_ah and now - self._kept_at >= _KEEP_CHARGE_EVERY_S:
            self._hand_out(now, self._today())

    def _end(self, running: _Running, now: float, facts: BatteryFacts) -> None:
        self._running, self._outlooks = None, ()
        # It is not known how much of it the charger has put back, until the UPS says that it is charged.
        self._unsure = min(1.0, running.unsure + _NOT_REFILLED * self._use.drawn_ah / facts.capacity_ah)
        if not running.reached_low and len(running.points) > 1:
            self._conclude(running, now, facts)

    def _conclude(self, running: _Running, now: float, facts: BatteryFacts) -> None:
        today = self._today()
        discharge = self._discharge(running, now, today)
        self.history, changed = with_discharge(running.known, discharge, running.before, facts)
        if changed:
            self._tell_changed("it gives far more than the one that was learned")
        self._hand_out(now, today)

    def _discharge(self, running: _Running, now: float, today: str) -> Discharge:
        seconds = max(1.0, now - running.began_at)
        return Discharge(
            date=today,
            seconds=seconds,
            watts=running.watt_seconds / seconds,
            unsure=running.unsure,
            reached_low=running.reached_low,
            points=tuple(running.points),
        )

    def _hand_out(self, now: float, today: str) -> None:
        """Have it kept; a discharge of the same moment as the charge is one that goes on."""
        self._kept_at, self._kept_ah = now, self._use.drawn_ah
        charge = Charge(today, self._use, self._unsure, discharging=self._running is not None)
        self._keep(replace(self.history, charge=charge))

    def _begin_anew(self, reason: str) -> None:
        self.history = BatteryHistory()
        self._settled, self._outlooks, self._running, self._broken_off = None, (), None, None
        self._use, self._unsure = Use(), _UNSURE_IN_OUTAGE  # a new battery has lain somewhere
        self._tell_changed(reason)
        self._hand_out(self._at, self._today())

    def _tell_changed(self, reason: str) -> None:
        self._emit(Event("battery_changed", Severity.WARNING, {"reason": reason}))

    def _opinion(self, facts: BatteryFacts, discharges: tuple[Discharge, ...], *, at_once: bool = False) -> Opinion:
        """What is thought of the battery today, by these discharges; until they are learned from, as before."""
        memory = self._learn(facts, discharges)
        while at_once and not memory.complete(discharges):
            memory = self._learn(facts, discharges)
        if self._settled is None or memory.complete(discharges):
            self._settled = memory.at(self._today())
        return self._settled

    def _learn(self, facts: BatteryFacts, discharges: tuple[Discharge, ...]) -> Memory:
        """Learn from one more discharge, if there is one."""
        memory = self._memory
        if memory is None or not memory.fits(facts, discharges):
            memory = Memory.empty(facts)
        if not memory.complete(discharges):
            memory, self._outlooks = memory.further(discharges), ()
        self._memory = memory
        return memory

    def _seconds(self, now: float, watts: float, facts: BatteryFacts) -> tuple[float, float, float]:
        if not self._outlooks:
            running, unsure = self._running, self._unsure
            opinion = running.opinion if running else starting(self._opinion(facts, self.history.discharges), unsure)
            self._outlooks = outlooks(doubted(opinion), self._use, facts.block_w(watts), facts)
            self._figures = None
        if self._figures is None or self._figures[0] != watts:
            self._figures = watts, runtime_s(self._outlooks, self._use, facts.block_w(watts))
        elapsed_s = 0.0 if self._running is None else max(0.0, now - self._at)
        low_s, expected_s, high_s = (max(0.0, seconds - elapsed_s) for seconds in self._figures[1])
        return low_s, expected_s, high_s
