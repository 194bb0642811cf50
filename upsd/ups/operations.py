"""What can be commanded of the UPS, and is it safe now? Each command is confirmed by the readings that follow it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Final

from upsd.domain.power import Event, Severity
from upsd.ups import battery_test, calibration
from upsd.ups.errors import Fault, UpsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from upsd.domain.power import Reading, Scalar
    from upsd.ups.battery_test import BatteryTestResult
    from upsd.ups.calibration import CalibrationLimits
    from upsd.ups.dialect import Dialect
    from upsd.ups.driver import UpsDriver
    from upsd.ups.exchange import Ask

_SHOWN_WITHIN_S: Final = 3.0
_TEST_BEGINS_WITHIN_S: Final = 10.0
_LONGEST_TEST_S: Final = 120.0
_HEARD_WITHIN_S: Final = 5.0
_DETAILS_HOLD_S: Final = 10.0


class UpsOperations:
    """Commands to the UPS behind a driver, one at a time.

    Args:
        driver: reads it, and passes commands on.
        emit: hears every event.
        why_not: what the daemon does that forbids an operator's command now; `None` if nothing does.
        expect_test: is told until when (loop time) the UPS may live on its battery for a test.
    """

    def __init__(
        self,
        driver: UpsDriver,
        *,
        emit: Callable[[Event], None],
        why_not: Callable[[], str | None],
        expect_test: Callable[[float], None],
    ) -> None:
        self._driver = driver
        self._emit = emit
        self._why_not = why_not
        self._expect_test = expect_test
        self._turn = asyncio.Lock()
        self._details: Mapping[str, Scalar] = {}
        self._details_until = -math.inf
        self.last_test: BatteryTestResult | None = None

    async def test_battery(self) -> BatteryTestResult:
        """Have the battery tested and judge it, which takes as long as the UPS tests, a quarter of a minute or so.

        Raises:
            UpsError: it is not safe now, or the UPS refused.
        """
        async with self._alone():
            before = await self._reading()
            _refuse_if(battery_test.why_not_now(before))
            loop = asyncio.get_running_loop()
            self._expect_test(loop.time() + _LONGEST_TEST_S)
            try:
                await self._driver.command(lambda dialect, ask: dialect.test_battery(ask))
                during, after = await self._follow_test(loop.time())
            finally:
                self._expect_test(loop.time())
            result = battery_test.judge(during, after, self._nominal_v())
            self.last_test = result
            good = result.outcome is battery_test.BatteryTestOutcome.PASSED
            fields = {"result": result.outcome.value, "reason": result.reason, "seconds": result.seconds}
            self._emit(
                Event(
                    "battery_test_judged",
                    Severity.INFO if good else Severity.WARNING,
                    {**fields, "lowest_voltage": result.lowest_voltage_v},
                )
            )
            return result

    async def begin_calibration(self, starts_in_s: Callable[[], float | None]) -> CalibrationLimits:
        """Until where an operator may discharge the battery now; `starts_in_s` is for `calibration.why_not_now`.

        Raises:
            UpsError: it is not safe now.
        """
        async with self._alone():
            _refuse_if(calibration.why_not_now(await self._reading(), starts_in_s()))
            self._emit(Event("calibration_began", Severity.WARNING))
            return calibration.limits(self._nominal_v())

    async def test_panel(self) -> Reading:
        """Have the lamps tested; how the UPS is then.

        Raises:
            UpsError: it is not safe now, or the UPS refused.
        """
        async with self._alone():
            await self._driver.command(lambda dialect, ask: dialect.test_panel(ask))
            self._emit(Event("panel_test_started"))
            return await self._reading()

    async def look(self) -> Reading:
        """A reading that is taken now."""
        return await self._reading()

    async def details(self) -> Mapping[str, Scalar]:
        """What the UPS says of itself beside its readings; asked anew after some seconds."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._details_until:
            found = await self._driver.command(lambda dialect, ask: dialect.details(ask))
            self._details = {"protocol": self._driver.protocol, **found}
            self._details_until = loop.time() + _DETAILS_HOLD_S
        return self._details

    async def can_cycle(self) -> bool:
        """Whether the UPS, which is asked now, has a command that cycles its outlets.

        Raises:
            UpsError: it does not answer.
        """
        await self._reading()
        return await self._driver.command(_cycles)

    async def cycle_outlets(self, off_after_s: int, restore_after_min: int) -> bool:
        """Switch the outlets off after the delay (s) and on again that many minutes later, for an operator.

        Returns whether the UPS shows that it will.

        Raises:
            UpsError: it is not safe now, or the UPS refused.
        """
        async with self._alone():
            before = await self._reading()
            pending = before.shutdown_active or before.shutdown_imminent
            _refuse_if("a switch-off is scheduled already; cancel it first" if pending else None)
            return await self.cycle_by_plan(off_after_s, restore_after_min)

    async def cycle_by_plan(self, off_after_s: int, restore_after_min: int) -> bool:
        """The same for the daemon's own plan; what is pending, as of a run of ours that was killed, is replaced."""
        await self._in_place(lambda dialect, ask: dialect.cycle(ask, off_after_s, restore_after_min))
        return await self._scheduled("outlet_cycle_scheduled", off_after_s, restore_after_min)

    async def switch_off_by_plan(self, off_after_s: int) -> bool:
        """Switch the outlets off after the delay (s), for a plan and a UPS that can't cycle them."""
        await self._in_place(lambda dialect, ask: dialect.switch_off(ask, off_after_s))
        return await self._scheduled("switch_off_scheduled", off_after_s, None)

    async def cancel_cycle(self) -> bool:
        """Call a scheduled switch-off off; whether the UPS shows that none is scheduled any more.

        Some units don't show what is scheduled, so they are told in any case.

        Raises:
            UpsError: it is not safe now, or the UPS refused.
        """
        async with self._alone():
            before = await self._reading()
            off = "its outlets are off, and would stay off for good; they come on again by themselves"
            _refuse_if(None if before.output_powered else off)
            await self._driver.command(lambda dialect, ask: dialect.cancel(ask))
            confirmed = await self._shows(lambda reading: not (reading.shutdown_active or reading.shutdown_imminent))
            if before.shutdown_active or before.shutdown_imminent:
                self._emit(Event("outlet_cycle_cancelled", fields={"confirmed": confirmed}))
            return confirmed

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self._turn.locked():
            raise UpsError(Fault.NOT_POSSIBLE, "another command to the UPS is under way; wait until it has ended")
        async with self._turn:
            _refuse_if(self._why_not())
            yield

    def _nominal_v(self) -> float | None:
        identity = self._driver.identity
        return None if identity is None else identity.battery_voltage_v

    async def _reading(self) -> Reading:
        try:
            async with asyncio.timeout(_HEARD_WITHIN_S):
                return await self._driver.next_reading(asked_anew=True)
        except TimeoutError:
            raise UpsError(
                Fault.NOT_PRESENT, self._driver.trouble or "no reading has come from the UPS for some seconds"
            ) from None

    async def _in_place(self, command: Callable[[Dialect, Ask], Awaitable[None]]) -> None:
        """Schedule something, in place of what is scheduled already."""
        try:
            await self._driver.command(command)
        except UpsError as error:
            if error.fault is not Fault.REFUSED:
                raise
            await self._driver.command(lambda dialect, ask: dialect.cancel(ask))
            await self._driver.command(command)

    async def _scheduled(self, name: str, off_after_s: int, restore_after_min: int | None) -> bool:
        confirmed = await self._shows(lambda reading: reading.shutdown_active or reading.shutdown_imminent)
        fields = {"off_after_s": off_after_s, "restore_after_min": restore_after_min, "confirmed": confirmed}
        self._emit(Event(name, Severity.WARNING, fields))
        return confirmed

    async def _shows(self, wanted: Callable[[Reading], bool]) -> bool:
        """Whether a reading within the next seconds says so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SHOWN_WITHIN_S):
                while not wanted(await self._driver.next_reading()):
                    pass
                return True
        return False

    async def _follow_test(self, began_at: float) -> tuple[list[Reading], Reading | None]:
        """The readings that show the test running, and the first one after it, if its end was seen."""
        during: list[Reading] = []
        with contextlib.suppress(TimeoutError):
            while asyncio.get_running_loop().time() < began_at + _LONGEST_TEST_S:
                async with asyncio.timeout(_HEARD_WITHIN_S):
                    reading = await self._driver.next_reading()
                if battery_test.is_running(reading):
                    during.append(reading)
                elif during or reading.at - began_at > _TEST_BEGINS_WITHIN_S:
                    return during, reading
        return during, None


async def _cycles(dialect: Dialect, _: Ask) -> bool:
    return dialect.cycles


def _refuse_if(reason: str | None) -> None:
    if reason:
        raise UpsError(Fault.NOT_POSSIBLE, f"refused: {reason}")
