"""GPSER as a dialect: what is asked when, and replies in everybody's words.

Slow facts are asked once, and what the UPS refused is not asked again: a one-phase unit never hears RE.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from upsd.domain.power import PhaseReading, Reading, UpsIdentity
from upsd.ups import gpser
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.domain.power import Scalar
    from upsd.ups.exchange import Ask

# A three-phase unit's currents and watts are worth a second line now and then, and no delay of the flags.
_EXTENDED_EVERY_S = 30.0
_EXTENDED_IS_OLD_S = 2 * _EXTENDED_EVERY_S


class GpserDialect:
    """GPSER, spoken to one UPS.

    Small units report a load of 0 whatever hangs on them, so 0 says nothing, unless `reports_load` says that it does.
    """

    name = "gpser"
    cycles = True

    def __init__(self, reports_load: Callable[[], bool] = lambda: False) -> None:
        self._reports_load = reports_load
        self._identification: gpser.Identification | None = None
        self._nominals: gpser.Nominals | None = None
        self._check = Check.SUM
        self._refused: set[str] = set()
        self._extended: gpser.ExtendedReport | None = None
        self._extended_at = 0.0
        self._extended_due_at = 0.0

    async def identify(self, ask: Ask) -> UpsIdentity:
        """GI, and GN unless the same unit has been asked before."""
        # GI is always summed, also by a unit that uses the CRC for everything else.
        identification = gpser.decode_identification(await ask(gpser.IDENTIFY.exchange(self._check)))
        if identification != self._identification:
            self._check, self._nominals, self._extended = identification.check, None, None
            self._refused.clear()
            data = await self._ask_if_known(ask, gpser.NOMINAL)
            self._nominals = gpser.decode_nominals(data) if data else None
            self._identification = identification
        return identity_from(identification, self._nominals)

    async def read(self, ask: Ask, clock: Callable[[], float]) -> Reading:
        """RS; and for a unit with three phases out now and then RE before it, so that no flag waits for a current."""
        if self._three_phases_out and clock() >= self._extended_due_at:
            await self._read_extended(ask, clock)
        report = gpser.decode_status(await self.send(ask, gpser.STATUS))
        now = clock()
        fresh = now - self._extended_at < _EXTENDED_IS_OLD_S
        reading = reading_from(report, now, self._extended if fresh else None)
        return reading if reading.load_percent or self._reports_load() else replace(reading, load_percent=None)

    async def details(self, ask: Ask) -> Mapping[str, Scalar]:
        """GI in full, and a three-phase unit's peaks and temperatures (RK)."""
        identification = gpser.decode_identification(await ask(gpser.IDENTIFY.exchange(self._check)))
        found = _described(identification)
        data = await self._ask_if_known(ask, gpser.PEAKS) if self._three_phases_out else None
        return {**found, **_peaks(gpser.decode_peaks(data))} if data else found

    async def test_battery(self, ask: Ask) -> None:
        """TB."""
        await self.send(ask, gpser.BATTERY_TEST)

    async def test_panel(self, ask: Ask) -> None:
        """TP."""
        await self.send(ask, gpser.PANEL_TEST)

    async def switch_off(self, ask: Ask, off_after_s: int) -> None:
        """CS."""
        await self.send(ask, gpser.shutdown(off_after_s))

    async def cycle(self, ask: Ask, off_after_s: int, restore_after_min: int) -> None:
        """CR."""
        await self.send(ask, gpser.shutdown_and_restore(off_after_s, restore_after_min))

    async def cancel(self, ask: Ask) -> None:
        """CD."""
        await self.send(ask, gpser.CANCEL)

    async def send(self, ask: Ask, command: gpser.Command) -> bytes:
        """Any command; the data of its reply."""
        return await ask(command.exchange(self._check))

    @property
    def _three_phases_out(self) -> bool:
        return self._identification is not None and self._identification.phases[1] == 3

    async def _read_extended(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._extended_due_at = clock() + _EXTENDED_EVERY_S
        data = await self._ask_if_known(ask, gpser.EXTENDED)
        self._extended = gpser.decode_extended(data) if data else None
        self._extended_at = clock()

    async def _ask_if_known(self, ask: Ask, command: gpser.Command) -> bytes | None:
        """The reply's data; `None` from a unit that has refused this command once."""
        if command.code in self._refused:
            return None
        try:
            return await self.send(ask, command)
        except UpsError as error:
            if error.fault is not Fault.REFUSED:
                raise
            self._refused.add(command.code)
            return None


def identity_from(identification: gpser.Identification, nominals: gpser.Nominals | None) -> UpsIdentity:
    """Who the UPS is, in everybody's words."""
    return UpsIdentity(
        model=identification.model,
        serial=identification.serial or None,
        firmware=identification.firmware or None,
        apparent_power_va=nominals.apparent_power_va if nominals else None,
        real_power_w=nominals.real_power_w if nominals else None,
        battery_voltage_v=nominals.battery_voltage_v if nominals else None,
        battery_capacity_ah=nominals.battery_capacity_ah if nominals else None,
        output_voltage_v=nominals.output_voltage_v if nominals else None,
        output_frequency_hz=_tenths(nominals.output_frequency_dhz) if nominals else None,
        phases=identification.phases,
        kind=identification.kind,
    )


def reading_from(report: gpser.StatusReport, at: float, extended: gpser.ExtendedReport | None = None) -> Reading:
    """A status report, in everybody's words, taken at loop time `at`."""
    power, function, battery, control, alarm = report.flags
    first = report.phases[0]
    loads = [phase.load_percent for phase in report.phases if phase.load_percent is not None]
    return Reading(
        at=at,
        output_powered=bool(power & 8),
        locked=bool(power & 4),
        on_battery=bool(power & 2),
        battery_low=bool(power & 1),
        on_bypass=bool(function & 8),
        line_interactive=bool(function & 4),
        boost=bool(function & 2),
        buck=bool(function & 1),
        bypass_bad=bool(battery & 8),
        charging=bool(battery & 4),
        charged=bool(battery & 2),
        replace_battery=bool(battery & 1),
        shutdown_active=bool(control & 8),
        shutdown_imminent=bool(control & 4),
        test_in_progress=bool(control & 2),
        beeper_on=bool(control & 1),
        failure=bool(alarm & 8),
        overload=bool(alarm & 4),
        over_temperature=bool(alarm & 2),
        input_frequency_hz=_tenths(report.input_frequency_dhz),
        input_voltage_v=first.input_voltage_v,
        output_frequency_hz=_tenths(report.output_frequency_dhz),
        output_voltage_v=first.output_voltage_v,
        load_percent=sum(loads) // len(loads) if loads else None,
        bypass_frequency_hz=_tenths(report.bypass_frequency_dhz),
        bypass_voltage_v=first.bypass_voltage_v,
        battery_voltage_v=_tenths(report.battery_voltage_dv),
        charge_percent=report.charge_percent,
        runtime_s=None if report.runtime_min is None else report.runtime_min * 60,
        temperature_c=report.temperature_c,
        phases=tuple(_phase(report.phases[index], extended, index) for index in range(3))
        if len(report.phases) == 3
        else (),
    )


def _phase(status: gpser.PhaseStatus, extended: gpser.ExtendedReport | None, index: int) -> PhaseReading:
    return PhaseReading(
        input_voltage_v=status.input_voltage_v,
        bypass_voltage_v=status.bypass_voltage_v,
        output_voltage_v=status.output_voltage_v,
        load_percent=status.load_percent,
        current_a=_tenths(extended.current_da[index]) if extended else None,
        real_power_w=extended.real_power_w[index] if extended else None,
        apparent_power_va=extended.apparent_power_va[index] if extended else None,
    )


def _described(identification: gpser.Identification) -> dict[str, Scalar]:
    return {
        "device.model": identification.model,
        "device.serial": identification.serial or None,
        "ups.firmware": identification.firmware or None,
        "ups.type": identification.kind,
        "input.phases": identification.phases[0],
        "output.phases": identification.phases[1],
        "boost.stages": identification.boost_stages,
        "buck.stages": identification.buck_stages,
        "integrity": identification.check.name.lower(),
        "outlet.power_share": identification.power_share_sockets,
        "battery.benches": identification.benches,
        "battery.packs": identification.batteries_per_bench,
        "parallel": identification.parallel,
    }


def _peaks(report: gpser.PeakReport) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {
        "charger.temperature": report.charger_temperature_c,
        "battery.temperature": report.battery_temperature_c,
    }
    for index in range(3):
        phase = f"L{index + 1}"
        found[f"input.{phase}-N.voltage.peak"] = report.input_voltage_v[index]
        found[f"output.{phase}-N.voltage.peak"] = report.output_voltage_v[index]
        found[f"output.{phase}.current.peak"] = _tenths(report.output_current_da[index])
        found[f"inverter.{phase}.temperature"] = report.power_temperature_c[index]
    return found


def _tenths(value: int | None) -> float | None:
    return None if value is None else value / 10
