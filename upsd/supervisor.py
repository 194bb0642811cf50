"""What follows from a reading, and from the lack of one? The rooms' decisions, put one after the other.

reading -> power view -> events -> battery -> trigger -> conductor. Nothing here waits for anything: `hear` and `tick`
are plain calls with the time in them, so that a whole outage can be followed in a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from upsd.power import PowerView, mains_lost, observe, tick
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.conductor import Phase
from upsd.shutdown.trigger import Supply, Trigger, evaluate, starts_in_s
from upsd.status import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Event, Reading, RuntimeEstimate, UpsIdentity
    from upsd.power import PowerRules
    from upsd.shutdown.conductor import Conductor
    from upsd.shutdown.journal import Unfinished
    from upsd.shutdown.trigger import TriggerRules
    from upsd.ups.battery.facts import BatteryFacts
    from upsd.ups.battery.watch import BatteryWatch

# A shutdown that passed its point of no return before we were restarted goes on after this, with or without a reading.
_RESUME_BLIND_S = 10.0


@dataclass(frozen=True, slots=True)
class SupervisorRules:
    """What the settings say of decisions; `watts` by machine, of everything on the outlets."""

    ups: str
    power: PowerRules
    trigger: TriggerRules
    watts: Mapping[str, float]


class Supervisor:
    """Follows the supply and tells the conductor.

    Args:
        rules: what the settings say.
        conductor: runs the plans.
        facts: what is known of the battery, by who the UPS says it is.
        battery: follows the battery.
        emit: hears every event.
        unfinished: the outage that the journal leaves open.
        lost_at: since when the mains is away, if a run of the daemon before this one has seen it go (loop time).
        boot_id: of this boot.
        now: loop time at the start.
    """

    def __init__(
        self,
        rules: SupervisorRules,
        conductor: Conductor,
        *,
        facts: Callable[[UpsIdentity | None], BatteryFacts],
        battery: BatteryWatch,
        emit: Callable[[Event], None],
        unfinished: Unfinished | None,
        lost_at: float | None,
        boot_id: str,
        now: float,
    ) -> None:
        self._rules = rules
        self._conductor = conductor
        self._facts = facts
        self._watch = battery
        self._emit = emit
        self._unfinished = unfinished
        self._lost_before = lost_at
        self._boot_id = boot_id
        self._started_at = now
        self._trigger = Trigger()
        self._ends = (-math.inf, -math.inf)
        self._low_end = math.inf
        self.view = PowerView(heard_at=now)
        self.identity: UpsIdentity | None = None
        self._known: tuple[UpsIdentity | None, BatteryFacts] | None = None
        self.warnings: tuple[str, ...] = ()
        self.test_result: str | None = None

    def hear(self, reading: Reading) -> None:
        """Follow one reading."""
        confirmed = self.view.confirmed
        if self.view.reading is None:
            self._take_up(reading)
        self.view, events = observe(self.view, reading, self._rules.power)
        if self.view.confirmed != confirmed:
            self._conductor.note_supply(self.view.lost_at)
        self._low_end = min(self._low_end, reading.at + self._battery.after_low_s) if self.view.low else math.inf
        on_mains = self.view.lost_at is None
        discharging = reading.on_battery or not on_mains
        self._watch.follow(reading.at, self._watts(), self._battery, reading, discharging=discharging)
        self._ends = (self._ends[1], -math.inf if on_mains else reading.at + self._estimate(reading.at).low_s)
        self._follow(reading.at, events)
        if self.view.on_mains:
            self._conductor.mains_back()

    def _take_up(self, reading: Reading) -> None:
        """Go on with an outage that an earlier run of the daemon saw begin, if there still is one."""
        if self._lost_before is not None and mains_lost(reading):
            self.view = replace(self.view, lost_at=self._lost_before)
            self._watch.take_up(self._lost_before)
        elif self._lost_before is not None:
            self._conductor.note_supply(None)

    def expect_test(self, until: float) -> None:
        """Until then (loop time) the UPS may live on its battery because we have it tested."""
        self.view = replace(self.view, test_until=until)

    def tick(self, now: float, *, trouble: str | None = None) -> None:
        """Let time pass; to be called about once a second. `trouble` is why there are no readings, if that is known."""
        self.view, events = tick(self.view, now, self._rules.power, trouble)
        if events or self.view.silent:
            self._follow(now, events)

    def battery_end_at(self, now: float) -> float:
        """Until when the battery may be used (loop time); infinite on mains."""
        if self.view.lost_at is None:
            return math.inf
        return now + self.runtime(now).low_s - self._rules.trigger.reserve_s

    def runtime(self, now: float) -> RuntimeEstimate:
        """How long the battery carries what is still on.

        One reading alone can't make it shorter, and silence can't make it longer.
        """
        estimate = self._estimate(now)
        low_s = estimate.low_s
        if not self.view.silent:
            low_s = max(low_s, self._ends[0] - now)
        elif self.view.lost_at is not None:
            low_s = min(low_s, max(self._ends) - now)
        # The model knows the time until the flag; once it is up, what counts is how long the UPS then lasts.
        low_s = max(0.0, low_s if math.isinf(self._low_end) else self._low_end - now)
        expected_s = max(estimate.expected_s, low_s)
        return replace(estimate, low_s=low_s, expected_s=expected_s, high_s=max(estimate.high_s, expected_s))

    def _estimate(self, now: float) -> RuntimeEstimate:
        told_s = None if self.view.silent or self.view.reading is None else self.view.reading.runtime_s
        return self._watch.runtime(now, self._watts(), self._battery, told_s)

    @property
    def _battery(self) -> BatteryFacts:
        """What is known of the battery, gathered anew only when another UPS answers."""
        if self._known is None or self._known[0] is not self.identity:
            self._known = self.identity, self._facts(self.identity)
        return self._known[1]

    def would_start_in_s(self, now: float) -> float | None:
        """How long an outage that begins now would wait with the shutdown; `None` if for the UPS's own word only."""
        need_s = critical_path_s(self._conductor.plan)
        supply = Supply(on_battery_s=0.0, low_s=self.runtime(now).low_s, need_s=need_s)
        return starts_in_s(supply, self._rules.trigger)

    def snapshot(self, now: float) -> Snapshot:
        """Everything that a surface shows."""
        plan, ended = self._conductor.plan, self._ended()
        supply = self._supply(now)
        return Snapshot(
            ups=self._rules.ups,
            identity=self.identity,
            power=self.view.state,
            reading=None if self.view.silent else self.view.reading,
            on_battery_s=None if self.view.lost_at is None else now - self.view.lost_at,
            runtime=self.runtime(now) if self.view.reading else None,
            plan_expected_s=critical_path_s(plan, ended=ended),
            plan_minimum_s=critical_path_s(plan, forced=True, ended=ended),
            starts_in_s=starts_in_s(supply, self._rules.trigger) if supply and self._conductor.may_start else None,
            outage=self._conductor.outage,
            phase=self._conductor.phase.value,
            warnings=self.warnings,
            test_result=self.test_result,
            battery=self._watch.health(),
        )

    def _follow(self, now: float, events: tuple[Event, ...]) -> None:
        for event in events:
            self._emit(event)
        if self._unfinished:
            self._settle_unfinished(self._unfinished, now)
        self._pull_trigger(now)

    def _pull_trigger(self, now: float) -> None:
        supply = self._supply(now)
        if supply is None or not self._conductor.may_start:
            self._trigger = Trigger()
            return
        self._trigger = evaluate(supply, self._rules.trigger, self._trigger)
        if self._trigger.reason:
            unfinished, self._unfinished = self._unfinished, None
            self._conductor.start(self._trigger.reason, owed=unfinished.began if unfinished else ())

    def _settle_unfinished(self, unfinished: Unfinished, now: float) -> None:
        """Act on what the journal left open, but never without a live reading that confirms it."""
        on_mains = self.view.on_mains
        this_boot = unfinished.boot_id == self._boot_id
        blind = now - self._started_at > _RESUME_BLIND_S
        if this_boot and (self.view.confirmed or (unfinished.committed and (on_mains or blind))):
            self._conductor.resume(unfinished)
        elif this_boot and on_mains:
            self._conductor.undo(unfinished.outage, unfinished.began)
        elif on_mains:
            self._conductor.recover(unfinished.outage)
        else:
            return
        self._unfinished = None

    def _supply(self, now: float) -> Supply | None:
        if self.view.lost_at is None or not self.view.confirmed:
            return None
        heard = None if self.view.silent else self.view.reading
        return Supply(
            on_battery_s=now - self.view.lost_at,
            low_s=self.runtime(now).low_s,
            need_s=critical_path_s(self._conductor.plan),
            silent_s=now - self.view.heard_at if self.view.silent else 0.0,
            charge_percent=None if heard is None else heard.charge_percent,
            battery_low=self.view.low,
            shutdown_imminent=heard is not None and heard.shutdown_imminent,
        )

    def _ended(self) -> frozenset[str]:
        return self._conductor.ended if self._conductor.phase is Phase.SHUTTING_DOWN else frozenset()

    def _watts(self) -> float:
        off = self._conductor.confirmed_off
        return self._told_watts() or sum(watts for machine, watts in self._rules.watts.items() if machine not in off)

    def _told_watts(self) -> float:
        reading, identity = self.view.reading, self.identity
        if not reading or not reading.load_percent or not identity or not identity.real_power_w:
            return 0.0
        return reading.load_percent / 100 * identity.real_power_w
