"""What do the readings mean? Readings in, power state and events out; pure, time is an argument.

Three rules come first. One sample decides nothing but what a UPS must be believed at once: that it runs on battery,
which is reported at once and acted on after the debounce, and that its battery is low, in an outage that was
confirmed. Silence is *unknown*: never off, never on battery. And an outage that was seen goes on until a reading says
that it is over, also while the UPS is silent.

A supply that chatters faster than the debounce drains the battery in flickers of which none counts. So once the battery
is low, only mains that stays for as long as the debounce ends anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from upsd.domain.power import Event, PowerState, Reading, Severity

if TYPE_CHECKING:
    from upsd.domain.power import Scalar

_MAINS_GONE_V = 50
_READINGS_TO_BELIEVE = 2


@dataclass(frozen=True, slots=True)
class PowerRules:
    """How long the supply must stay lost before it counts (s), and how long silence may last (s)."""

    debounce_s: float
    silence_s: float


@dataclass(frozen=True, slots=True)
class PowerView:
    """What we know of the supply; loop times in seconds, `None` while it is not so.

    Attributes:
        heard_at: the last reading came, or we began to listen.
        silent: no reading for longer than the rules allow.
        lost_at: the mains went; kept through silence until a reading says that it is back.
        confirmed: the loss outlasted the debounce, so it is an outage.
        low: the UPS says that its battery is low, on battery.
        off_readings: how many readings in a row said that the output is off.
        believed: readings in a row that agree with the last one on mains or battery.
        believed_lost: what they agree on.
        mains_since: the first reading of an unbroken row that says that there is mains.
        low_since: the UPS said on battery that it is low, and there was no mains that stayed since.
        test_until: until when a battery test of ours may have the UPS on its battery.
    """

    heard_at: float
    reading: Reading | None = None
    silent: bool = False
    lost_at: float | None = None
    confirmed: bool = False
    low: bool = False
    off_readings: int = 0
    believed: int = 0
    believed_lost: bool = False
    mains_since: float | None = None
    low_since: float | None = None
    test_until: float = -math.inf

    @property
    def state(self) -> PowerState:
        """What feeds the rack; unknown until the first reading and in silence."""
        if self.silent or self.reading is None:
            return PowerState.UNKNOWN
        if self.off_readings >= _READINGS_TO_BELIEVE:
            return PowerState.OUTPUT_OFF
        return PowerState.ON_LINE if self.lost_at is None else PowerState.ON_BATTERY

    @property
    def on_mains(self) -> bool:
        """Whether two readings in a row say that the mains feeds the rack."""
        return self.state is PowerState.ON_LINE and self.believed >= _READINGS_TO_BELIEVE

    @property
    def perhaps_back(self) -> bool:
        """Whether the last reading says that the mains is back from an outage, which takes a second one to believe."""
        return self.lost_at is not None and not self.silent and not self.believed_lost

    @property
    def testing(self) -> bool:
        """Whether the UPS says that it tests its battery."""
        return self.reading is not None and self.reading.test_in_progress


def mains_lost(reading: Reading, test_until: float = -math.inf) -> bool:
    """Whether the rack lives on the battery because the mains is gone, and not for a battery test.

    Some units do not show that they test; of a test that we have begun, until `test_until` (loop time), we know.
    """
    if not reading.on_battery:
        return False
    gone = reading.input_voltage_v is not None and reading.input_voltage_v < _MAINS_GONE_V
    return gone or not (reading.test_in_progress or reading.at < test_until)


def observe(view: PowerView, reading: Reading, rules: PowerRules) -> tuple[PowerView, tuple[Event, ...]]:
    """Take one reading in."""
    now, events = reading.at, list[Event]()
    events += _doubt_events(view, reading)
    if view.silent:
        events.append(_event("communication_back", silent_s=round(now - view.heard_at, 1)))
    events += _test_events(view, reading)
    off_readings = 0 if reading.output_powered else view.off_readings + 1
    if off_readings == _READINGS_TO_BELIEVE:
        events.append(_event("output_off", Severity.CRITICAL))
    if off_readings == 0 and view.off_readings >= _READINGS_TO_BELIEVE:
        events.append(_event("output_on"))

    # What was believed to be an outage ends when the UPS leaves its battery, whatever flags it shows meanwhile.
    lost = reading.on_battery if view.confirmed else mains_lost(reading, view.test_until)
    agrees = view.reading is not None and view.believed_lost == lost
    seen = replace(
        view,
        heard_at=now,
        reading=reading,
        silent=False,
        off_readings=off_readings,
        believed=view.believed + 1 if agrees else 1,
        believed_lost=lost,
        mains_since=None if lost else now if view.mains_since is None else view.mains_since,
    )
    # The mains stays until a reading says otherwise, however rarely there is one.
    if view.mains_since is not None and now - view.mains_since >= rules.debounce_s:
        seen = replace(seen, low_since=None)
    if lost and reading.battery_low and seen.low_since is None:
        seen = replace(seen, low_since=now)
    settled, changes = _lost(seen, now, rules) if lost else _on_mains(seen, now)
    return settled, (*events, *changes)


def tick(
    view: PowerView, now: float, rules: PowerRules, trouble: str | None = None
) -> tuple[PowerView, tuple[Event, ...]]:
    """Let time pass without a reading; `trouble` is why none comes, if that is known.

    A UPS that falls silent right after it lost the mains can't take that back, so its outage counts after the debounce.
    """
    events, lost_at = list[Event](), view.lost_at
    if not view.silent and now - view.heard_at > rules.silence_s:
        on_battery, silent_s = lost_at is not None, round(now - view.heard_at, 1)
        severity = Severity.CRITICAL if on_battery else Severity.WARNING
        off_readings = view.off_readings if view.off_readings >= _READINGS_TO_BELIEVE else 0
        events.append(_event("communication_lost", severity, on_battery=on_battery, silent_s=silent_s, reason=trouble))
        view = replace(view, silent=True, believed=0, off_readings=off_readings)
    if view.silent and lost_at is not None and not view.confirmed and now - lost_at >= rules.debounce_s:
        view = replace(view, confirmed=True)
        events.append(_confirmed(now - lost_at))
    return view, tuple(events)


def _lost(view: PowerView, now: float, rules: PowerRules) -> tuple[PowerView, tuple[Event, ...]]:
    reading, events = view.reading, list[Event]()
    lost_at = now if view.lost_at is None else view.lost_at
    if view.lost_at is None:
        view = replace(view, lost_at=lost_at)
        input_voltage = reading.input_voltage_v if reading else None
        events.append(_event("mains_lost", Severity.WARNING, input_voltage=input_voltage))
    since = now - lost_at
    lasts_s = now - (lost_at if view.low_since is None else min(lost_at, view.low_since))
    if not view.confirmed and lasts_s >= rules.debounce_s and view.believed >= _READINGS_TO_BELIEVE:
        view = replace(view, confirmed=True)
        events.append(_confirmed(since))
    if reading is not None and reading.battery_low and view.confirmed and not view.low:
        view = replace(view, low=True)
        events.append(_event("battery_low", Severity.CRITICAL, battery_voltage=reading.battery_voltage_v))
    return view, tuple(events)


def _on_mains(view: PowerView, now: float) -> tuple[PowerView, tuple[Event, ...]]:
    if view.lost_at is None:
        return view, ()
    # An outage that was believed ends only when two readings in a row say so: a single wrong one in the middle of a
    # shutdown must not call it off.
    if view.confirmed and view.believed < _READINGS_TO_BELIEVE:
        return view, ()
    if view.low and view.low_since is not None:
        return view, ()
    event = _event("mains_back", on_battery_s=round(now - view.lost_at, 1), flicker=not view.confirmed)
    return replace(view, lost_at=None, confirmed=False, low=False), (event,)


def _test_events(view: PowerView, reading: Reading) -> tuple[Event, ...]:
    if reading.test_in_progress == view.testing:
        return ()
    return (_event("battery_test_started" if reading.test_in_progress else "battery_test_ended"),)


def _doubt_events(view: PowerView, reading: Reading) -> tuple[Event, ...]:
    """A figure that is not believed is told once, however long the UPS repeats it."""
    before = {(doubt.figure, doubt.rule) for doubt in view.reading.doubts} if view.reading else set()
    return tuple(
        _event("figure_doubted", Severity.WARNING, figure=doubt.figure, said=doubt.said, rule=doubt.rule)
        for doubt in reading.doubts
        if (doubt.figure, doubt.rule) not in before
    )


def _confirmed(since_s: float) -> Event:
    return _event("outage_confirmed", Severity.CRITICAL, on_battery_s=round(since_s, 1))


def _event(name: str, severity: Severity = Severity.INFO, **fields: Scalar) -> Event:
    return Event(name, severity, MappingProxyType(fields))
