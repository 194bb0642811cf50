"""The UPS as a state machine: mains, battery, outlets and what it would report of them.

No clock inside: `advance(now)` lets time pass. `speed` makes the battery empty and fill that many times
faster, `timer_speed` the delays of CS, CR and the battery test; both are for demonstrations. `step_s` is the longest
step of its physics on battery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hardware_sim.ups import measurements
from hardware_sim.ups.battery import Battery, BatterySpec, Inverter
from hardware_sim.ups.outlets import SHORTEST_RESTORE_S, Outlets
from hardware_sim.ups.profiles import IPLUG_800

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.ups.profiles import Profile
    from hardware_sim.ups.reports import Status

_STEP_ON_LINE_S: Final = 60.0
_STANDBY_W: Final = 2.0
"""What the electronics take from the battery while they wait to switch the outlets on again."""
_OWN_W_BY_REAL_POWER: Final = 0.0125
"""What the inverter needs for itself: 6 W in an iPlug 800."""


class NotPossibleError(Exception):
    """The UPS can't do that in its present state (NAK 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is the matter with the unit itself.

    On bypass the machines are fed past the inverter while the mains is usable; without it the inverter takes over
    again. The others only show.
    """

    locked: bool = False
    on_bypass: bool = False
    bypass_bad: bool = False
    failure: bool = False
    over_temperature: bool = False
    line_interactive_function: bool = False
    """A unit with both functions passes filtered mains on, as a line-interactive one does."""


@dataclass(slots=True)
class Counters:
    """What it has been through."""

    inverter_s: float = 0.0
    battery_s: float = 0.0
    blackouts: int = 0
    full_discharges: int = 0


class UpsDevice:
    """A UPS; `load_w` tells what the machines in its outlets draw, in watts."""

    def __init__(
        self,
        profile: Profile = IPLUG_800,
        *,
        load_w: Callable[[], float] = lambda: 0.0,
        battery: BatterySpec | None = None,
        charge: float = 1.0,
        speed: float = 1.0,
        timer_speed: float = 1.0,
        step_s: float = 1.0,
    ) -> None:
        self.profile = profile
        spec = battery or BatterySpec(voltage_v=profile.battery_voltage_v, capacity_ah=profile.battery_capacity_ah)
        self.battery = Battery(spec, charge)
        self.inverter = Inverter(
            efficiency=profile.inverter_efficiency, own_w=_OWN_W_BY_REAL_POWER * profile.real_power_w
        )
        self.outlets = Outlets(
            restore_needs_mains=profile.restore_needs_mains,
            starts_after_run_out=profile.starts_after_run_out,
        )
        self.input_voltage_v = float(profile.output_voltage_v)
        self.input_frequency_hz = profile.output_frequency_hz
        self.battery_low = False
        self.replace_battery = False
        self.panel_tests = 0
        self.counters = Counters()
        self._conditions = Conditions()
        self._load_w = load_w
        self._speed = speed
        self._step_s = step_s
        self.timer_speed = timer_speed
        self._now = 0.0
        self._began_at: float | None = None
        self._test_until: float | None = None
        self._self_test_at: float | None = None
        self._listeners: list[Callable[[bool], None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._told_on = self.outlets.on
        self._had_mains = True
        self._draw_from_battery(0.0)

    @property
    def mains_usable(self) -> bool:
        """Whether the input is good enough to be passed to the outlets."""
        return self.profile.input_low_v <= self.input_voltage_v <= self.profile.input_high_v

    @property
    def testing(self) -> bool:
        """Whether a battery test is in progress."""
        return self._test_until is not None

    @property
    def on_battery(self) -> bool:
        """Whether the battery feeds the outlets."""
        return self.outlets.on and (self.testing or not self.mains_usable)

    @property
    def on_bypass(self) -> bool:
        """Whether the machines are fed past the inverter."""
        return self.conditions.on_bypass and self.outlets.on and self.mains_usable and not self.testing

    @property
    def converting(self) -> bool:
        """Whether the inverter makes the output from the mains."""
        passes_mains_on = self.on_bypass or self.conditions.line_interactive_function
        return self.profile.kind.converts and not passes_mains_on and self._passing_mains

    @property
    def boosting(self) -> bool:
        """Whether it raises a low mains voltage."""
        low = self.input_voltage_v < self.profile.boost_below_v
        return low and self.profile.boost_stages > 0 and self._regulating

    @property
    def bucking(self) -> bool:
        """Whether it lowers a high mains voltage."""
        high = self.input_voltage_v > self.profile.buck_above_v
        return high and self.profile.buck_stages > 0 and self._regulating

    @property
    def shutdown_in_s(self) -> float | None:
        """How long until the outlets go off as they were told; `None` if they were not."""
        return None if self.outlets.shutdown_at is None else self.outlets.shutdown_at - self._now

    @property
    def running_s(self) -> float:
        """How long it has lived."""
        return 0.0 if self._began_at is None else self._now - self._began_at

    @property
    def conditions(self) -> Conditions:
        """What is the matter with it; may be set at any time."""
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._pass_until(self._now)

    @property
    def awake(self) -> bool:
        """Whether the electronics run and answer; without mains and output they wait only for a restore."""
        return self.mains_usable or self.outlets.on or self.outlets.restore_pending

    @property
    def load_w(self) -> float:
        """What the outlets deliver, in watts."""
        return self._load_w() if self.outlets.on else 0.0

    def listen(self, on_outlets: Callable[[bool], None]) -> None:
        """Call back with the new state whenever the outlets go off or on."""
        self._listeners.append(on_outlets)

    def watch(self, on_step: Callable[[], None]) -> None:
        """Call back after each step of its time, and after whatever else may have changed its state."""
        self._watchers.append(on_step)

    def cut_mains(self) -> None:
        """Pull the plug."""
        self.set_input(0.0, 0.0)

    def restore_mains(self) -> None:
        """Nominal mains again."""
        self.set_input(self.profile.output_voltage_v, self.profile.output_frequency_hz)

    def brown_out(self, volts: float) -> None:
        """Mains of this voltage at the nominal frequency."""
        self.set_input(volts, self.profile.output_frequency_hz)

    def set_input(self, volts: float, hertz: float) -> None:
        """Mains as given, from the time of the last `advance` on."""
        self.input_voltage_v, self.input_frequency_hz = float(volts), hertz
        self._pass_until(self._now)

    def press_button(self) -> None:
        """A person switches the outlets on."""
        self.outlets.switch_on()
        self._pass_until(self._now)

    def advance(self, now: float) -> None:
        """Let time pass until `now`; the first call only sets the clock."""
        if self._began_at is None:
            self._now = self._began_at = now
            self._plan_self_test()
        while self._now < now:
            self._pass_until(self._next_stop(now))

    def shutdown(self, delay_s: float) -> None:
        """CS: outlets off after the delay, on again with the mains once that has been away."""
        if not self.outlets.on:
            raise NotPossibleError
        self._schedule(delay_s, None)

    def shutdown_and_restore(self, delay_s: float, restore_min: float) -> None:
        """CR: outlets off after the delay and on again the minutes after that (0 means 10 s)."""
        self._schedule(delay_s, (restore_min * 60.0 or SHORTEST_RESTORE_S) / self.timer_speed)

    def trip(self, delay_s: float) -> None:
        """SENTR: outlets off after the delay, until a person switches them on."""
        if not self.outlets.on:
            raise NotPossibleError
        self._refuse_second_shutdown()
        self.outlets.schedule_trip(self._now, delay_s / self.timer_speed)
        self._pass_until(self._now)

    def cancel_shutdown(self) -> None:
        """CD: forget a waiting shutdown, or, when off already, the waiting restore."""
        self.outlets.cancel()
        self._pass_until(self._now)

    def test_battery(self) -> None:
        """TB: run on battery for some seconds."""
        if not self._ready_for_test:
            raise NotPossibleError
        self._test_until = self._now + self.profile.test_s / self.timer_speed
        self._pass_until(self._now)

    def test_panel(self) -> None:
        """TP: light every lamp, and beep."""
        self.panel_tests += 1

    def status(self) -> Status:
        """What it would report if it reported everything; the remaining time apart, which is dear."""
        return measurements.status_of(self)

    def runtime_min(self) -> float:
        """Minutes that the battery would carry the present load until it is low."""
        low_v = self.profile.battery_low_v * self.battery.spec.blocks
        return self.battery.seconds_until(low_v, self.inverter.drain_w(self.load_w)) / 60.0

    @property
    def _passing_mains(self) -> bool:
        return self.outlets.on and self.mains_usable and not self.testing

    @property
    def _regulating(self) -> bool:
        return self._passing_mains and not self.on_bypass and not self.converting

    @property
    def _ready_for_test(self) -> bool:
        return self._passing_mains and not self.on_bypass and self.outlets.shutdown_at is None

    def _schedule(self, delay_s: float, restore_after_s: float | None) -> None:
        self._refuse_second_shutdown()
        self.outlets.schedule(self._now, delay_s / self.timer_speed, restore_after_s)
        self._pass_until(self._now)

    def _refuse_second_shutdown(self) -> None:
        if self.outlets.shutdown_at is not None and not self.profile.replaces_pending_shutdown:
            raise NotPossibleError

    def _plan_self_test(self) -> None:
        every_s = self.profile.self_test_every_s
        self._self_test_at = None if every_s is None else self._now + every_s / self.timer_speed

    def _next_stop(self, now: float) -> float:
        """The end of the next step of physics: short enough to be exact, and no timer is jumped over."""
        step_s = self._step_s if self.on_battery else _STEP_ON_LINE_S
        timers = (self.outlets.next_deadline(self._now), self._test_until, self._self_test_at)
        stops = (now, self._now + step_s / self._speed, *timers)
        return min(stop for stop in stops if stop is not None and stop > self._now)

    def _pass_until(self, until: float) -> None:
        """One step of physics, and then whatever it has made due."""
        self._count((until - self._now) * self._speed)
        self._draw_from_battery((until - self._now) * self._speed)
        self._now = until
        self._settle()
        if self.outlets.on != self._told_on:
            self._told_on = self.outlets.on
            for on_outlets in self._listeners:
                on_outlets(self.outlets.on)
        for on_step in self._watchers:
            on_step()

    def _count(self, duration_s: float) -> None:
        self.counters.battery_s += duration_s if self.on_battery else 0.0
        self.counters.inverter_s += duration_s if self.on_battery or self.converting else 0.0

    def _draw_from_battery(self, duration_s: float) -> None:
        if self.mains_usable and not self.testing:
            self.battery.step(duration_s, charging=True)
        else:
            self.battery.step(duration_s, self._drain_w())

    def _drain_w(self) -> float:
        if self.on_battery:
            return self.inverter.drain_w(self.load_w)
        return _STANDBY_W if self.outlets.restore_pending else 0.0

    def _settle(self) -> None:
        mains, block_v = self.mains_usable, self.battery.voltage_v / self.battery.spec.blocks
        if self._test_until is not None and (self._now >= self._test_until or not mains):
            self._test_until = None
        if self.testing:
            self._judge_test(block_v)
        elif mains:
            self.battery_low = False
        elif self._drain_w() > 0.0:
            self.battery_low |= block_v <= self.profile.battery_low_v
            if block_v <= self.profile.cut_off_v:
                self.counters.full_discharges += 1
                self.outlets.run_out()
        self.outlets.settle(self._now, mains=mains)
        self._test_if_due()
        self.counters.blackouts += self._had_mains and self.on_battery and not mains
        self._had_mains = mains

    def _test_if_due(self) -> None:
        if self._self_test_at is None or self._now < self._self_test_at:
            return
        self._plan_self_test()
        if self._ready_for_test:
            self._test_until = self._now + self.profile.test_s / self.timer_speed

    def _judge_test(self, block_v: float) -> None:
        """A battery that is low within a test is worn out; the mains is there, so nothing is lost."""
        if block_v <= self.profile.battery_low_v:
            self.replace_battery, self._test_until = True, None
