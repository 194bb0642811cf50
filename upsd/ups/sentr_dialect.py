"""SENTR as a dialect: a record is everything at once, and little can be commanded.

These machines test their batteries by themselves, and once switched off only a person switches them on again; so upsd
never cycles their outlets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.domain.power import PhaseReading, Reading, UpsIdentity
from upsd.ups import sentr, sentr_alarms
from upsd.ups.errors import Fault, UpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from upsd.domain.power import Scalar
    from upsd.ups.exchange import Ask

_BETWEEN_KEYS_S = 1.0


class SentrDialect:
    """SENTR, spoken to the machine with this IDENT (0 to 7)."""

    name = "sentr"
    cycles = False

    def __init__(self, ident: int = 0) -> None:
        self._ident = ident
        self._summed = sentr.SUMMED

    async def identify(self, ask: Ask) -> UpsIdentity:
        """A record, and with it how this machine sums its records."""
        record = await ask(sentr.record_exchange(ident=self._ident))
        self._summed = sentr.summed_in(record)
        return identity_from(sentr.decode_record(record))

    async def read(self, ask: Ask, clock: Callable[[], float]) -> Reading:
        """A record."""
        return reading_from(await self._record(ask), clock())

    async def details(self, ask: Ask) -> Mapping[str, Scalar]:
        """What else a record says, and what the machine's display shows."""
        record = await self._record(ask)
        rows = sentr.decode_display(await ask(sentr.key_exchange(sentr.DISPLAY_KEY)))
        return {**_described(record), "display": " / ".join(rows)}

    async def test_battery(self, ask: Ask) -> None:  # noqa: ARG002
        """Not to be had."""
        _refuse("it can't be told to test its battery: it does that by itself every 24 hours")

    async def test_panel(self, ask: Ask) -> None:  # noqa: ARG002
        """Not to be had."""
        _refuse("it has no lamp test")

    async def switch_off(self, ask: Ask, off_after_s: int) -> None:
        """Type the shutdown sequence, and see that it was understood."""
        if off_after_s != sentr.SHUTDOWN_DELAY_S:
            _refuse(f"it switches off {sentr.SHUTDOWN_DELAY_S} s after the command, and after no other time")
        await self._record(ask)  # opens the communication in which keys are understood
        for key in sentr.SHUTDOWN_KEYS:
            await asyncio.sleep(_BETWEEN_KEYS_S)
            await ask(sentr.key_exchange(bytes((key,))))
        record = await self._record(ask)
        if not sentr_alarms.is_set(record.alarm_bytes, sentr_alarms.REMOTE_OFF_PENDING):
            _refuse("it did not take the switch-off command")

    async def cycle(self, ask: Ask, off_after_s: int, restore_after_min: int) -> None:  # noqa: ARG002
        """Not to be had."""
        _refuse("once off, only a person can switch it on again, so its outlets are not cycled")

    async def cancel(self, ask: Ask) -> None:  # noqa: ARG002
        """Not to be had."""
        _refuse("how to call its switch-off off is not documented; use its panel")

    async def _record(self, ask: Ask) -> sentr.SentrRecord:
        return sentr.decode_record(await ask(sentr.record_exchange(ident=self._ident, summed=self._summed)))


def identity_from(record: sentr.SentrRecord) -> UpsIdentity:
    """Who the machine is, in everybody's words. It has no serial number, and does not say how many watts it gives."""
    return UpsIdentity(
        model=f"Sentry {record.apparent_power_va / 1000:g} kVA",
        serial=None,
        firmware=record.firmware,
        apparent_power_va=record.apparent_power_va,
        real_power_w=None,
        battery_voltage_v=None,
        battery_capacity_ah=record.battery_capacity_ah or None,
        output_voltage_v=record.nominal_output_voltage_v,
        output_frequency_hz=float(record.nominal_frequency_hz),
        phases=(3, record.output_phases),
        kind="on-line",
    )


def reading_from(record: sentr.SentrRecord, at: float) -> Reading:
    """A record of the present, in everybody's words, taken at loop time `at`."""
    alarms = record.alarm_bytes
    on_battery = sentr_alarms.is_set(alarms, sentr_alarms.MAINS_FAILED)
    off = sentr_alarms.any_set(alarms, sentr_alarms.IS_OFF)
    loads = record.output_current_percent[: record.output_phases]
    return Reading(
        at=at,
        output_powered=not off,
        on_battery=on_battery,
        battery_low=sentr_alarms.is_set(alarms, sentr_alarms.BATTERY_LOW),
        locked=sentr_alarms.any_set(alarms, (sentr_alarms.INVERTER_LOCKED, sentr_alarms.RECTIFIER_LOCKED)),
        on_bypass=sentr_alarms.any_set(alarms, sentr_alarms.ON_BYPASS) and not off,
        bypass_bad=sentr_alarms.any_set(alarms, (sentr_alarms.BYPASS_LINE_DISTURBED, sentr_alarms.BYPASS_LINE_FAILED)),
        charging=not record.discharging and record.battery_current_a > 0,
        charged=not on_battery and record.charge_percent == 100,
        shutdown_active=sentr_alarms.is_set(alarms, sentr_alarms.REMOTE_OFF_PENDING),
        failure=sentr_alarms.any_set(alarms, sentr_alarms.FAULTS),
        overload=sentr_alarms.is_set(alarms, sentr_alarms.OUTPUT_OVERLOAD),
        over_temperature=sentr_alarms.is_set(alarms, sentr_alarms.OVER_TEMPERATURE),
        input_frequency_hz=record.input_frequency_hz,
        input_voltage_v=record.input_voltage_v[0],
        output_frequency_hz=record.output_frequency_hz,
        output_voltage_v=record.output_voltage_v[0],
        load_percent=sum(loads) // len(loads),
        bypass_frequency_hz=record.bypass_frequency_hz,
        bypass_voltage_v=record.bypass_voltage_v[0],
        battery_voltage_v=float(record.battery_voltage_v),
        charge_percent=record.charge_percent,
        runtime_s=record.runtime_min * 60 if on_battery else None,
        temperature_c=record.temperature_c,
        phases=tuple(_phase(record, index) for index in range(3)),
    )


def _phase(record: sentr.SentrRecord, index: int) -> PhaseReading:
    has_output = index < record.output_phases
    return PhaseReading(
        input_voltage_v=record.input_voltage_v[index],
        bypass_voltage_v=record.bypass_voltage_v[index] if has_output else None,
        output_voltage_v=record.output_voltage_v[index] if has_output else None,
        load_percent=record.output_current_percent[index] if has_output else None,
    )


def _described(record: sentr.SentrRecord) -> dict[str, Scalar]:
    counters, event = record.counters, record.event
    return {
        "alarms": "; ".join(sentr_alarms.alarms(record.alarm_bytes)) or "none",
        "codes": "; ".join(sentr_alarms.codes(record.alarm_bytes)) or "none",
        "event.number": event.number,
        "event.date": event.at,
        "event.alarm_code": event.alarm_code,
        "battery.current": record.battery_current_a,
        "battery.circuit_voltage": record.battery_circuit_voltage_v,
        "battery.type": record.battery_type,
        "battery.prealarm_min": record.prealarm_min,
        "rectifier.temperature": record.rectifier_temperature_c,
        "inverter.temperature": record.inverter_temperature_c,
        "inverter.voltage": record.inverter_voltage_v,
        "output.auto_off_percent": record.auto_off_percent,
        "bypass.voltage_range_percent": record.bypass_voltage_range_percent,
        "bypass.frequency_range_percent": record.bypass_frequency_range_percent,
        "inverter.hours": counters.inverter_h,
        "battery.hours": counters.battery_h,
        "battery.blackouts": counters.blackouts,
        "battery.full_discharges": counters.full_discharges,
        "first_activation": counters.first_activation,
        **{f"input.L{index + 1}.current_percent": record.input_current_percent[index] for index in range(3)},
        **{f"output.L{index + 1}.current.peak_percent": record.output_peak_percent[index] for index in range(3)},
    }


def _refuse(why: str) -> NoReturn:
    raise UpsError(Fault.NOT_POSSIBLE, f"this UPS speaks SENTR: {why}")
