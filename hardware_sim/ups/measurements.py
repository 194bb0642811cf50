"""What does a UPS measure, on each of its phases? All of it, whether or not this model reports it.

The load is shared evenly by the output phases and has the power factor of the name plate. No two phases are quite
equal, and neither are mains and bypass line, so that a reader who mixes them up is noticed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.reports import Extended, Peaks, Status, Three

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice

_INPUT: Final = (1.0, 0.991, 1.009)
_BYPASS: Final = (0.996, 1.004, 0.987)
_OUTPUT: Final = (1.0, 0.996, 0.991)
_LOAD: Final = (1.0, 0.94, 1.06)

_FILTER: Final = 0.99
_BOOST: Final = 1.15
_BUCK: Final = 0.87
_CREST: Final = 1.6
"""Peak by effective current of a computer's power supply."""
_OVER_TEMPERATURE_K: Final = 40.0
_POWER_STAGE_K: Final = (4.0, 6.0, 8.0)
_LOADED_K: Final = 15.0
"""By how much the power stages are warmer at full load."""
_CHARGER_K: Final = 3.0
_CHARGING_K: Final = 6.0


def status_of(device: UpsDevice) -> Status:
    """What it would report if it reported everything; the remaining time apart, which is dear to know."""
    profile, conditions, mains = device.profile, device.conditions, device.mains_usable
    passing_mains = mains and not device.testing
    inputs, outputs, bypasses, loads = (
        input_voltages_v(device),
        output_voltages_v(device),
        bypass_voltages_v(device),
        loads_percent(device),
    )
    return Status(
        output_powered=device.outlets.on,
        locked=conditions.locked,
        battery_working=device.on_battery,
        battery_low=device.battery_low,
        on_bypass=device.on_bypass,
        line_interactive_function=conditions.line_interactive_function,
        boost=device.boosting,
        buck=device.bucking,
        bypass_bad=conditions.bypass_bad or (profile.kind.converts and not mains),
        charging=passing_mains and not device.battery.charged,
        charged=passing_mains and device.battery.charged,
        replace_battery=device.replace_battery,
        shutdown_active=device.shutdown_in_s is not None,
        shutdown_imminent=device.shutdown_in_s is not None and device.shutdown_in_s <= profile.imminent_s,
        test_in_progress=device.testing,
        beeper_on=device.on_battery and not device.testing,
        failure=conditions.failure,
        overload=device.load_w > profile.real_power_w,
        over_temperature=conditions.over_temperature,
        input_frequency_hz=device.input_frequency_hz,
        input_voltage_v=inputs[0],
        input_voltage_2_v=inputs[1],
        input_voltage_3_v=inputs[2],
        output_frequency_hz=device.input_frequency_hz if passing_mains else profile.output_frequency_hz,
        output_voltage_v=outputs[0],
        output_voltage_2_v=outputs[1],
        output_voltage_3_v=outputs[2],
        load_percent=loads[0],
        load_2_percent=loads[1],
        load_3_percent=loads[2],
        bypass_frequency_hz=device.input_frequency_hz,
        bypass_voltage_v=bypasses[0],
        bypass_voltage_2_v=bypasses[1],
        bypass_voltage_3_v=bypasses[2],
        battery_voltage_v=device.battery.voltage_v,
        charge_percent=100.0 * device.battery.at_hand,
        temperature_c=system_temperature_c(device),
    )


def extended_of(device: UpsDevice) -> Extended:
    """Currents and powers of the output phases."""
    profile = device.profile
    watts = _shared(device.load_w, profile.phases.outputs)
    apparent = _scaled(watts, profile.apparent_power_va / profile.real_power_w)
    return Extended(
        current_a=_divided(apparent, output_voltages_v(device)), real_power_w=watts, apparent_power_va=apparent
    )


def peaks_of(device: UpsDevice) -> Peaks:
    """Peak values, and temperatures inside."""
    warm_k = _LOADED_K * device.load_w / device.profile.real_power_w
    stages = _present(tuple(warm_k + more for more in _POWER_STAGE_K), device.profile.phases.outputs)
    system_c = system_temperature_c(device)
    return Peaks(
        input_voltage_v=_scaled(input_voltages_v(device), math.sqrt(2.0)),
        output_voltage_v=_scaled(output_voltages_v(device), math.sqrt(2.0)),
        output_current_a=_scaled(extended_of(device).current_a, _CREST),
        power_temperature_c=_raised(stages, system_c),
        charger_temperature_c=system_c + (_CHARGER_K if device.battery.charged else _CHARGING_K),
        battery_temperature_c=device.battery.spec.temperature_c,
    )


def input_voltages_v(device: UpsDevice) -> Three:
    """Mains."""
    return _skewed(device.input_voltage_v, _INPUT, device.profile.phases.inputs)


def bypass_voltages_v(device: UpsDevice) -> Three:
    """The bypass line, which is the same mains over other wires, and has as many phases as the output."""
    return _skewed(device.input_voltage_v, _BYPASS, device.profile.phases.outputs)


def output_voltages_v(device: UpsDevice) -> Three:
    """What the machines get: from the bypass line, the inverter, or the mains behind filter and transformer taps."""
    if not device.outlets.on:
        return _skewed(0.0, _OUTPUT, device.profile.phases.outputs)
    if device.on_bypass:
        return bypass_voltages_v(device)
    return _skewed(_regulated_v(device), _OUTPUT, device.profile.phases.outputs)


def loads_percent(device: UpsDevice) -> Three:
    """Load of each output phase, by what that phase may carry."""
    outputs = device.profile.phases.outputs
    return _scaled(_shared(device.load_w, outputs), 100.0 * outputs / device.profile.real_power_w)


def input_currents_percent(device: UpsDevice) -> Three:
    """What each input phase takes, by what it takes at full load."""
    inputs, profile = device.profile.phases.inputs, device.profile
    if not device.mains_usable:
        return _present((0.0, 0.0, 0.0), inputs)
    carried_w = device.inverter.drain_w(0.0 if device.testing or device.on_bypass else device.load_w)
    charging_w = max(0.0, -device.battery.current_a) * device.battery.voltage_v
    full_w = device.inverter.drain_w(profile.real_power_w)
    return _scaled(_shared(carried_w + charging_w, inputs), 100.0 * inputs / full_w)


def peak_loads_percent(device: UpsDevice) -> Three:
    """Peak current of each output phase, by its effective current at full load."""
    return _scaled(loads_percent(device), _CREST)


def system_temperature_c(device: UpsDevice) -> float:
    """Of the cabinet."""
    return device.battery.spec.temperature_c + (_OVER_TEMPERATURE_K if device.conditions.over_temperature else 0.0)


def _regulated_v(device: UpsDevice) -> float:
    if device.on_battery or device.converting:
        return device.profile.output_voltage_v
    if device.boosting:
        return device.input_voltage_v * _BOOST
    if device.bucking:
        return device.input_voltage_v * _BUCK
    return device.input_voltage_v * _FILTER


def _shared(total: float, phases: int) -> Three:
    if phases == 1:
        return (total, None, None)
    return _skewed(total / phases, _LOAD, phases)


def _skewed(value: float, skew: tuple[float, float, float], phases: int) -> Three:
    one, two, three = skew
    return _present((value * one, value * two, value * three), phases)


def _present(values: tuple[float, ...], phases: int) -> Three:
    """Without the phases that a unit does not have."""
    one, two, three = values
    return (one, two, three) if phases == 3 else (one, None, None)


def _scaled(values: Three, factor: float) -> Three:
    one, two, three = (None if value is None else value * factor for value in values)
    return one, two, three


def _raised(values: Three, by: float) -> Three:
    one, two, three = (None if value is None else value + by for value in values)
    return one, two, three


def _divided(values: Three, by: Three) -> Three:
    one, two, three = (
        None if value is None or divisor is None else value / divisor if divisor else 0.0
        for value, divisor in zip(values, by, strict=True)
    )
    return one, two, three
