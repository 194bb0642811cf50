"""What follows from a reading, and from the lack of one? The rooms' decisions, put one after the other.

reading -> power view -> events -> battery -> trigger -> conductor. Nothing here waits for anything: `hear` and `tick`
are plain calls with the time in them, so that a whole outage can be followed in a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from upsd.domain.power import Event, OutputLoad, RuntimeEstimate, Severity
from upsd.power import PowerView, mains_lost, observe, tick
from upsd.shutdown import shedding
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.floor import BatteryLevel, floor_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.shedding import Shedding
from upsd.shutdown.trigger import (
    REQUESTED,
    Supply,
    Trigger,
    evaluate,
    holding,
    last_lines,
    latest_start_in_s,
    starts_in_s,
)
from upsd.status import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.plan import Plan
    from upsd.domain.power import Reading, Scalar, UpsIdentity
    from upsd.domain.readiness import Readiness
    from upsd.power import PowerRules
    from upsd.shutdown.conductor import Conductor
    from upsd.shutdown.records import Unfinished
    from upsd.shutdown.shedding import ShedGroup
    from upsd.shutdown.trigger import TriggerRules
    from upsd.ups.battery.facts import BatteryFacts
    from upsd.ups.battery.watch import BatteryWatch

# A shutdown that passed its point of no return before we were restarted goes on after this, with or without a reading.
_RESUME_BLIND_S = 10.0
# One that had not passed it waits longer for a reading: it would only be undone if the mains is there.
_RESUME_IN_THE_DARK_S = 30.0
_WITHHELD_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class SupervisorRules:
    """What the settings say of decisions; `watts` by machine, of everything on the outlets."""

    ups: str
    power: PowerRules
    trigger: TriggerRules
    watts: Mapping[str, float]
    shedding: tuple[ShedGroup, ...] = ()


class _Needs(NamedTuple):
    """How long (s) the shutdown that is planned takes, and what the battery must carry before a boot."""

    plan: Plan
    shutdown_s: float
    floor_s: float


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
        armed: whether a trigger may start a shutdown.
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
        armed: Callable[[], bool] = lambda: True,
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
        self._armed = armed
        self._withheld_at = -math.inf
        self._trigger, self._shedding = Trigger(), Shedding()
        self._ends = (-math.inf, -math.inf)
        self._low_end = math.inf
        self._held_back = False
        self.view = PowerView(heard_at=now)
        self.identity: UpsIdentity | None = None
        self._known: tuple[UpsIdentity | None, BatteryFacts] | None = None
        self._needed: _Needs | None = None
        self.warnings: tuple[str, ...] = ()
        self.readiness: Readiness | None = None
        self.test_result: str | None = None

    def hear(self, reading: Reading) -> None:
        """Follow one reading."""
        if self.view.reading is None:
            self._take_up(reading)
        view, events = observe(self.view, reading, self._rules.power)
        self._see(view)
        on_mains = self.view.lost_at is None
        self._held_back = self._held_back and not on_mains
        discharging = reading.on_battery or not on_mains
        self._watch.follow(reading.at, self._watts(), self._battery, reading, discharging=discharging)
        if not self.view.low:
            self._low_end = math.inf
        elif math.isinf(self._low_end):
            self._low_end = reading.at + self._watch.after_low_s(self._watts(), self._battery)
        self._ends = (self._ends[1], -math.inf if on_mains else reading.at + self._estimate(reading.at).low_s)
        self._follow(reading.at, events)
        if self.view.on_mains:
            self._conductor.mains_back()
        elif self.view.lost_at is not None:
            self._conductor.mains_away()

    def _see(self, view: PowerView) -> None:
        """Take the view for ours; that an outage has begun or ended is in the journal from then on."""
        if view.confirmed != self.view.confirmed:
            self._conductor.recorder.note_supply(view.lost_at)
        self.view = view

    def _take_up(self, reading: Reading) -> None:
        """Go on with an outage that an earlier run of the daemon saw begin, if there still is one."""
        if self._lost_before is None or self.view.lost_at is not None:
            return
        if mains_lost(reading):
            self.view = replace(self.view, lost_at=self._lost_before)
            self._watch.take_up(self._lost_before)
        else:
            self._conductor.recorder.note_supply(None)

    @property
    def armed(self) -> bool:
        """Whether a trigger may start a shutdown."""
        return self._armed()

    def expect_test(self, until: float) -> None:
        """Until then (loop time) the UPS may live on its battery because we have it tested."""
        self.view = replace(self.view, test_until=until)

    def request_shutdown(self) -> None:
        """Start the shutdown because a person wants it, with mains or without."""
        self._start(REQUESTED)

    def held(self, now: float, *, last_lines_only: bool = False) -> tuple[str, ...]:
        """What holds now, and would start a shutdown, or a shedding that is called off, again.

        Or of that only the triggers that nobody may hold back.
        """
        supply, rules = self._supply(now), self._triggers
        if supply is None:
            return ()
        if last_lines_only:
            return holding(supply, last_lines(rules))
        sheds = self._conductor.phase is Phase.SHEDDING
        groups = (f"group {group.name}" for group in self._rules.shedding if sheds and group.holds(supply))
        return (*holding(supply, rules), *groups)

    def hold_back(self) -> None:
        """Let only the last lines of defence start anything until the mains is back, or we are started again."""
        self._held_back = True

    def tick(self, now: float, *, trouble: str | None = None) -> None:
        """Let time pass; to be called about once a second. `trouble` is why there are no readings, if that is known."""
        view, events = tick(self.view, now, self._rules.power, trouble)
        self._see(view)
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
        high_s = max(estimate.high_s, expected_s)
        return RuntimeEstimate(expected_s, low_s, high_s, estimate.source, estimate.model_s, estimate.ups_s)

    def battery_level(self, now: float) -> BatteryLevel:
        """Whether the battery carries a boot and a shutdown of the whole rack, if the mains goes now."""
        reading = self.view.reading
        full = self.view.on_mains and reading is not None and reading.charged
        return BatteryLevel(low_s=self.runtime(now).low_s, floor_s=self._needs.floor_s, full=full)

    @property
    def _needs(self) -> _Needs:
        """What the plans need, worked out anew only when they are others: it is asked for at every reading."""
        plan, rules = self._conductor.plan, self._rules.trigger
        if self._needed is None or self._needed.plan is not plan:
            boot_s = floor_s(self._conductor.recovery, plan, margin_s=rules.margin_s, reserve_s=rules.reserve_s)
            self._needed = _Needs(plan, critical_path_s(plan), boot_s)
        return self._needed

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
        supply = Supply(on_battery_s=0.0, low_s=self.runtime(now).low_s, need_s=self._needs.shutdown_s)
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
            plan_evidence=plan.evidence,
            starts_in_s=starts_in_s(supply, self._triggers) if supply and self._may_start else None,
            outage=self._conductor.outage,
            phase=self._conductor.phase.value,
            warnings=self.warnings,
            readiness=self.readiness,
            test_result=self.test_result,
            battery=self._watch.health(),
        )

    def figures(self, now: float) -> dict[str, Scalar]:
        """What is known of the battery now, for the records that an outage's report is made from."""
        figures: dict[str, Scalar] = {}
        if self.view.reading:
            runtime = self.runtime(now)
            figures |= {"runtime_s": round(runtime.expected_s), "runtime_low_s": round(runtime.low_s)}
        if self.view.reading and not self.view.silent:
            figures["battery_voltage"] = self.view.reading.battery_voltage_v
            figures["battery_charge"] = self.view.reading.charge_percent
        return {name: figure for name, figure in figures.items() if figure is not None}

    def spare_s(self, now: float) -> float | None:
        """How much longer the battery surely lasts than the shutdown needs, with its reserve and margin.

        As if the mains went now; `None` if it is not known to be there.
        """
        if not self.view.on_mains:
            return None
        supply = Supply(on_battery_s=0.0, low_s=self.runtime(now).low_s, need_s=self._needs.shutdown_s)
        return latest_start_in_s(supply, self._rules.trigger)

    def _follow(self, now: float, events: tuple[Event, ...]) -> None:
        for event in events:
            self._emit(event)
        if self._unfinished:
            self._settle_unfinished(self._unfinished, now)
        self._pull_trigger(now)

    def _pull_trigger(self, now: float) -> None:
        supply = self._supply(now)
        if supply is None or not self._conductor.may_start:
            self._trigger, self._shedding, self._withheld_at = Trigger(), Shedding(), -math.inf
            return
        self._trigger = evaluate(supply, self._triggers, self._trigger)
        if self.view.perhaps_back:
            return  # the next reading tells
        if self._trigger.reason and not self._armed():
            self._withhold(self._trigger.reason, now)
        elif self._trigger.reason:
            self._start(self._trigger.reason)
        elif self._armed() and not self._held_back:
            self._shed_what_is_due(supply)

    def _shed_what_is_due(self, supply: Supply) -> None:
        gone, groups = self._conductor.shedding, self._rules.shedding
        wanted = {worker for group in groups for worker in group.workers}
        kept = self._conductor.shape.kept_for_quorum(wanted, gone | self._conductor.missing)
        self._shedding = shedding.evaluate(groups, supply, self._shedding, gone | kept)
        if due := self._shedding.due:
            workers = {worker for group in due for worker in group.workers}
            self._conductor.shed(workers - kept, ", ".join(group.name for group in due))

    def _start(self, reason: str) -> None:
        unfinished, self._unfinished = self._unfinished, None
        self._conductor.start(reason, owed=unfinished.began if unfinished else ())

    @property
    def _triggers(self) -> TriggerRules:
        return last_lines(self._rules.trigger) if self._held_back else self._rules.trigger

    @property
    def _may_start(self) -> bool:
        return self._conductor.may_start and self._armed()

    def _withhold(self, reason: str, now: float) -> None:
        if now - self._withheld_at >= _WITHHELD_AGAIN_S:
            self._withheld_at = now
            self._emit(Event("shutdown_withheld", Severity.CRITICAL, {"reason": reason}))

    def _settle_unfinished(self, unfinished: Unfinished, now: float) -> None:
        """Act on what the journal left open.

        What can still be undone waits for a live reading. But if the UPS stays silent, and the journal says that the
        mains was away, the shutdown goes on after a while, as it would have if we had not been killed: nobody takes
        back what was last heard. What a person asked for needs no outage to go on, and what a person called off does
        not go on in one.
        """
        on_mains, confirmed = self.view.on_mains, self.view.confirmed
        this_boot = unfinished.boot_id == self._boot_id
        blind = now - self._started_at > _RESUME_BLIND_S
        requested = unfinished.reason == REQUESTED
        taken_back = requested and unfinished.called_off
        goes_on = (unfinished.committed or requested) and (on_mains or blind)
        goes_on |= self._outage_in_the_dark(now) and not (unfinished.called_off or unfinished.only_shed)
        if this_boot and not taken_back and (confirmed or goes_on):
            self._discharge_in_the_dark(now)
            self._conductor.resume(unfinished)
        elif this_boot and (on_mains or (taken_back and confirmed)):
            self._conductor.undo(unfinished.outage, unfinished.began, unfinished.shed)
        elif on_mains:
            self._conductor.recover(unfinished.outage)
        else:
            return
        self._unfinished = None

    def _discharge_in_the_dark(self, now: float) -> None:
        """Where nothing was heard yet, go on with the outage that an earlier run saw: the battery is not endless."""
        if self._lost_before is None or self.view.reading is not None:
            return
        self.view = replace(self.view, lost_at=self._lost_before, confirmed=True)
        self._watch.take_up(self._lost_before)
        self._watch.follow(now, self._watts(), self._battery, None, discharging=True)
        self._ends = (-math.inf, now + self._estimate(now).low_s)

    def _outage_in_the_dark(self, now: float) -> bool:
        """Whether an earlier run saw the mains go, and we have not heard of the UPS for long."""
        waited = now - self._started_at > _RESUME_IN_THE_DARK_S
        return waited and self.view.reading is None and self._lost_before is not None

    def _supply(self, now: float) -> Supply | None:
        if self.view.lost_at is None or not self.view.confirmed:
            return None
        heard = None if self.view.silent else self.view.reading
        return Supply(
            on_battery_s=now - self.view.lost_at,
            low_s=self.runtime(now).low_s,
            need_s=self._needs.shutdown_s,
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

    def output_load(self) -> OutputLoad | None:
        """What the UPS says that it delivers, if it says so and is heard."""
        return None if self.view.silent else self._last_load()

    def _told_watts(self) -> float:
        load = self._last_load()
        return load.watts if load else 0.0

    def _last_load(self) -> OutputLoad | None:
        reading, identity = self.view.reading, self.identity
        if not reading or reading.load_percent is None or not identity or not identity.real_power_w:
            return None
        step_w = identity.real_power_w / 100
        return OutputLoad(reading.at, reading.load_percent * step_w, step_w)
