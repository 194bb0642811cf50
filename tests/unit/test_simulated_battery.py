from __future__ import annotations

import pytest

from hardware_sim.ups.battery import Battery, BatterySpec, Inverter

LOW_V = 10.8
CUT_OFF_V = 10.0


def seconds_to(voltage_v: float, load_w: float, spec: BatterySpec | None = None, step_s: float = 1.0) -> float:
    """How long a full battery carries the load at the outlets until this voltage."""
    battery = Battery(spec or BatterySpec())
    return battery.seconds_until(voltage_v, Inverter().drain_w(load_w), step_s=step_s)


@pytest.mark.parametrize(
    ("current_a", "minutes"),
    [(48.0, 1.5), (25.0, 5), (17.2, 10), (13.6, 15), (8.1, 30), (4.7, 60), (1.2, 300), (0.36, 1200)],
)
def test_a_battery_lasts_as_long_as_its_data_sheet_says(current_a: float, minutes: float) -> None:
    """The discharge table of a 12 V 7.2 Ah battery is met within a tenth, from minutes to a day."""
    battery = Battery(BatterySpec(capacity_ah=7.2))
    passed_s = 0.0
    while battery.voltage_v > CUT_OFF_V:
        battery.step(2.0, battery.voltage_v * current_a)
        passed_s += 2.0
    assert passed_s / 60 == pytest.approx(minutes, rel=0.10)


def test_the_rack_gets_half_an_hour_from_a_new_battery() -> None:
    """70 W from 7 Ah: about 26 minutes to the low-battery flag, and some three more to the cut-off."""
    assert 1400 < seconds_to(LOW_V, 70) < 1750
    assert 100 < seconds_to(CUT_OFF_V, 70) - seconds_to(LOW_V, 70) < 300


def test_twice_the_load_lasts_less_than_half_as_long() -> None:
    """A lead-acid battery gives less charge at a higher rate."""
    assert seconds_to(CUT_OFF_V, 140) < 0.5 * seconds_to(CUT_OFF_V, 70)


def test_an_old_or_cold_battery_lasts_shorter() -> None:
    """Age and cold cost more runtime than capacity, because the resistance rises too."""
    new_s = seconds_to(LOW_V, 70)
    assert seconds_to(LOW_V, 70, BatterySpec(health=0.5)) < 0.5 * new_s
    assert seconds_to(LOW_V, 70, BatterySpec(temperature_c=0.0)) < 0.8 * new_s


def test_the_voltage_falls_steadily_under_a_steady_load() -> None:
    """Voltage under load is a usable measure of what is left: it never rises while the load stays."""
    battery = Battery(BatterySpec())
    seen = []
    while battery.voltage_v > CUT_OFF_V:
        battery.step(10.0, Inverter().drain_w(70))
        seen.append(battery.voltage_v)
    assert seen == sorted(seen, reverse=True)


def test_the_voltage_recovers_when_the_load_goes() -> None:
    """A rest brings voltage and some of the charge at hand back, but no charge from nowhere."""
    battery = Battery(BatterySpec())
    for _ in range(1500):
        battery.step(1.0, Inverter().drain_w(70))
    under_load_v, held, at_hand = battery.voltage_v, battery.charge, battery.at_hand
    battery.step(1800.0)
    assert battery.voltage_v > under_load_v + 0.5
    assert battery.at_hand > at_hand + 0.1
    assert battery.charge == pytest.approx(held)


def test_the_charger_fills_an_empty_battery_overnight_and_floats_at_13_5_volts() -> None:
    """Full within twelve hours, never above the float voltage, half full in no less than three."""
    battery = Battery(BatterySpec(), charge=0.0)
    history = []
    for _ in range(12 * 60):
        battery.step(60.0, charging=True)
        history.append(battery.charge)
        assert battery.voltage_v <= 13.5 + 1e-9
    assert history[3 * 60] < 0.5
    assert battery.charged
    assert battery.voltage_v == pytest.approx(13.5, abs=0.05)


def test_the_result_does_not_depend_on_the_step() -> None:
    """Seconds or half minutes: the same discharge ends in the same state."""
    fine, coarse = Battery(BatterySpec()), Battery(BatterySpec())
    for _ in range(1200):
        fine.step(1.0, 88.0)
    for _ in range(40):
        coarse.step(30.0, 88.0)
    assert coarse.charge == pytest.approx(fine.charge, abs=0.005)
    assert coarse.voltage_v == pytest.approx(fine.voltage_v, abs=0.05)


def test_a_load_beyond_the_battery_collapses_its_voltage() -> None:
    """Ten kilowatts out of a small block is no arithmetic error but a dead supply."""
    battery = Battery(BatterySpec())
    battery.step(1.0, 10_000.0)
    assert battery.voltage_v < CUT_OFF_V


def test_two_blocks_in_series_have_twice_the_voltage_and_last_twice_as_long() -> None:
    """A 24 V string is two 12 V blocks that share the load."""
    one, two = Battery(BatterySpec()), Battery(BatterySpec(voltage_v=24.0))
    one.step(600.0, 80.0)
    two.step(600.0, 160.0)
    assert two.voltage_v == pytest.approx(2 * one.voltage_v)
    assert two.charge == pytest.approx(one.charge)


def test_a_weak_cell_breaks_down_early_and_takes_two_volts_with_it() -> None:
    """The flag comes when the weak cell is empty, while the others still hold half of their charge."""
    weak = BatterySpec(weakest_cell=0.6)
    assert 0.4 < seconds_to(LOW_V, 70, weak) / seconds_to(LOW_V, 70) < 0.65

    battery, seen = Battery(weak), list[float]()
    while not seen or seen[-1] > CUT_OFF_V:
        battery.step(1.0, Inverter().drain_w(70))
        seen.append(battery.voltage_v)
    before = round(0.85 * len(seen))
    assert seen[0] - seen[before] < 1.3
    assert seen[before] - seen[-1] > 1.4
    assert battery.charge > 0.4


def test_a_weak_cell_hardly_shows_before_it_breaks_down() -> None:
    """Its battery looks like a sound one for a third of the time that it lasts."""
    sound, weak = Battery(BatterySpec()), Battery(BatterySpec(weakest_cell=0.6))
    for _ in range(300):
        sound.step(1.0, Inverter().drain_w(70))
        weak.step(1.0, Inverter().drain_w(70))
    assert weak.voltage_v == pytest.approx(sound.voltage_v, abs=0.15)
