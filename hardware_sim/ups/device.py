"""The UPS as a state machine: mains, battery, outlets and what it would report of them.

No clock inside: `advance(now)` lets time pass. `speed` makes the battery empty and fill that many times
faster, `timer_speed` the delays of CS, CR and the battery test; both are for demonstrations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hardware_sim.ups.battery import Battery, BatterySpec, Inverter
from hardware_sim.ups.outlets import SHORTEST_RESTORE_S, Outlets
from hardware_sim.ups.profiles import IPLUG_800
from hardware_sim.ups.reports import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.ups.profiles import Profile

_STEP_ON_BATTERY_S: Final = 1.0
_STEP_ON_LINE_S: Final = 60.0
_STANDBY_W: Final = 2.0
"""What the electronics take from the battery while they wait to switch the outlets on again."""
_FILTER: Final = 0.99
_BOOST: Final = 1.15
_BUCK: Final = 0.87


class NotPossibleError(Exception):
    """The UPS can't do that in its present state (NAK 5)."""


class UpsDevice:
    """A line-interactive UPS; `load_w` tells what the machines in its outlets draw, in watts."""

    def __init__(
        self,
        profile: Profile = IPLUG_800,
        *,
        load_w: Callable[[], float] = lambda: 0.0,
        battery: BatterySpec | None = None,
        charge: float = 1.0,
        speed: float = 1.0,
        timer_speed: float = 1.0,
    ) -> None:
        self.profile = profile
        spec = battery or BatterySpec(voltage_v=profile.battery_voltage_v, capacity_ah=profile.battery_capacity_ah)
        self.battery = Battery(spec, charge)
        self.inverter = Inverter()
        self.outlets = Outlets(
            restore_needs_mains=profile.restore_needs_mains,
            starts_after_run_out=profile.starts_after_run_out,
        )
        self.input_voltage_v = float(profile.output_voltage_v)
        self.input_frequency_hz = profile.output_frequency_hz
        self.battery_low = False
        self.replace_battery = False
        self._load_w = load_w
        self._speed = speed
        self._timer_speed = timer_speed
        self._now = 0.0
        self._started = False
        self._test_until: float | None = None
        self._listeners: list[Callable[[bool], None]] = []
        self._told_on = self.outlets.on
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
        if not self._started:
            self._now, self._started = now, True
        while self._now < now:
            self._pass_until(self._next_stop(now))

    def shutdown(self, delay_s: float) -> None:
        """CS: outlets off after the delay, on again with the mains once that has been away."""
        if not self.outlets.on:
            raise NotPossibleError
        self._schedule(delay_s, None)

    def shutdown_and_restore(self, delay_s: float, restore_min: float) -> None:
        """CR: outlets off after the delay and on again the minutes after that (0 means 10 s)."""
        self._schedule(delay_s, (restore_min * 60.0 or SHORTEST_RESTORE_S) / self._timer_speed)

    def cancel_shutdown(self) -> None:
        """CD: forget a waiting shutdown, or, when off already, the waiting restore."""
        self.outlets.cancel()

    def test_battery(self) -> None:
        """TB: run on battery for some seconds."""
        shutdown_pending = self.outlets.shutdown_at is not None
        if not self.outlets.on or not self.mains_usable or self.testing or shutdown_pending:
            raise NotPossibleError
        self._test_until = self._now + self.profile.test_s / self._timer_speed
        self._pass_until(self._now)

    def status(self) -> Status:
        """What it would report if it could report everything; the remaining time apart, which is dear."""
        profile, battery, mains = self.profile, self.battery, self.mains_usable
        load_w = self.load_w
        passing_mains = mains and not self.testing
        shutdown_at = self.outlets.shutdown_at
        return Status(
            output_powered=self.outlets.on,
            battery_working=self.on_battery,
            battery_low=self.battery_low,
            boost=self.outlets.on and passing_mains and self.input_voltage_v < profile.boost_below_v,
            buck=self.outlets.on and passing_mains and self.input_voltage_v > profile.buck_above_v,
            charging=passing_mains and not battery.charged,
            charged=passing_mains and battery.charged,
            replace_battery=self.replace_battery,
            shutdown_active=shutdown_at is not None,
            shutdown_imminent=shutdown_at is not None and shutdown_at - self._now <= profile.imminent_s,
            test_in_progress=self.testing,
            beeper_on=self.on_battery and not self.testing,
            overload=load_w > profile.real_power_w,
            input_frequency_hz=self.input_frequency_hz,
            input_voltage_v=self.input_voltage_v,
            output_frequency_hz=self.input_frequency_hz if passing_mains else profile.output_frequency_hz,
            output_voltage_v=self._output_voltage_v(),
            load_percent=100.0 * load_w / profile.real_power_w,
            bypass_frequency_hz=self.input_frequency_hz,
            bypass_voltage_v=self.input_voltage_v,
            battery_voltage_v=battery.voltage_v,
            charge_percent=100.0 * battery.at_hand,
            temperature_c=battery.spec.temperature_c,
        )

    def runtime_min(self) -> float:
        """Minutes that the battery would carry the present load until it is low."""
        low_v = self.profile.battery_low_v * self.battery.spec.blocks
        return self.battery.seconds_until(low_v, self.inverter.drain_w(self.load_w)) / 60.0

    def _output_voltage_v(self) -> float:
        if not self.outlets.on:
            return 0.0
        if self.on_battery:
            return self.profile.output_voltage_v
        if self.input_voltage_v < self.profile.boost_below_v:
            return self.input_voltage_v * _BOOST
        if self.input_voltage_v > self.profile.buck_above_v:
            return self.input_voltage_v * _BUCK
        return self.input_voltage_v * _FILTER

    def _schedule(self, delay_s: float, restore_after_s: float | None) -> None:
        if self.outlets.shutdown_at is not None and not self.profile.replaces_pending_shutdown:
            raise NotPossibleError
        self.outlets.schedule(self._now, delay_s / self._timer_speed, restore_after_s)
        self._pass_until(self._now)

    def _next_stop(self, now: float) -> float:
        """The end of the next step of physics: short enough to be exact, and no timer is jumped over."""
        step_s = _STEP_ON_LINE_S if self.mains_usable and not self.testing else _STEP_ON_BATTERY_S
        stops = (now, self._now + step_s / self._speed, self.outlets.next_deadline(self._now), self._test_until)
        return min(stop for stop in stops if stop is not None and stop > self._now)

    def _pass_until(self, until: float) -> None:
        """One step of physics, and then whatever it has made due."""
        self._draw_from_battery((until - self._now) * self._speed)
        self._now = until
        self._settle()
        if self.outlets.on != self._told_on:
            self._told_on = self.outlets.on
            for on_outlets in self._listeners:
                on_outlets(self.outlets.on)

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
                self.outlets.run_out()
        self.outlets.settle(self._now, mains=mains)

    def _judge_test(self, block_v: float) -> None:
        """A battery that is low within a test is worn out; the mains is there, so nothing is lost."""
        if block_v <= self.profile.battery_low_v:
            self.replace_battery, self._test_until = True, None
