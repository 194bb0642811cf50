"""Commands to the UPS: done, confirmed by what the UPS shows, or refused with the reason."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.ups.battery import BatterySpec
from hardware_sim.ups.device import Conditions
from hardware_sim.ups.profiles import FULL_REPORT, IPLUG_800
from tests.sim.cables import Cabled, living, loop, plugged
from upsd.domain.rack import RackError
from upsd.ups.battery_test import BatteryTestOutcome
from upsd.ups.errors import UpsError
from upsd.ups.operations import UpsOperations
from upsd.ups.outlets import UpsOutlets
from upsd.ups.profile import DeviceProfile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hardware_sim.ups.profiles import Profile
    from upsd.domain.power import Event

MEASURED = DeviceProfile(model="USV5", firmware="SWM036-01-02", measured_on="2026-11-25")


@dataclass
class Operated:
    """A UPS that is being read, and what operates it."""

    ups: Cabled
    why_not: str | None = None
    events: list[Event] = field(default_factory=list)
    operations: UpsOperations = field(init=False)

    def __post_init__(self) -> None:
        """Wire them as the daemon does."""
        self.operations = UpsOperations(
            self.ups.driver,
            emit=self.events.append,
            why_not=lambda: self.why_not,
            expect_test=self._expect_test,
        )

    def _expect_test(self, until: float) -> None:
        self.ups.view = replace(self.ups.view, test_until=until)

    @property
    def names(self) -> list[str]:
        """The names of the operations' events."""
        return [event.name for event in self.events]


@contextlib.asynccontextmanager
async def operated(profile: Profile = IPLUG_800, **options: Any) -> AsyncIterator[Operated]:
    """A UPS that is read and may be operated."""
    async with living(plugged(profile, **options)) as ups:
        await ups.good()
        await asyncio.sleep(5)
        yield Operated(ups)


async def refused(work: Any) -> str:
    """Why a command is refused."""
    with pytest.raises(UpsError) as caught:
        await work
    return str(caught.value)


# Battery test --------------------------------------------------------------------------------------------------


async def test_a_good_battery_passes_its_test() -> None:
    """And for nobody is it an outage."""
    async with operated() as ups:
        result = await ups.operations.test_battery()
        assert result.outcome is BatteryTestOutcome.PASSED
        assert result.lowest_voltage_v is not None
        assert 11.5 < result.lowest_voltage_v < 13.0
        assert result.seconds == pytest.approx(10.0, abs=1.1)
        assert ups.ups.names == ["battery_test_started", "battery_test_ended"]
        assert ups.names == ["battery_test_judged"]
        assert ups.operations.last_test is result


async def test_a_worn_out_battery_fails_its_test() -> None:
    """Before the night on which it matters."""
    worn = BatterySpec(capacity_ah=7.0, health=0.08)
    async with operated() as ups:
        ups.ups.device.battery = type(ups.ups.device.battery)(worn, 1.0)
        result = await ups.operations.test_battery()
        assert result.outcome is BatteryTestOutcome.FAILED


async def test_a_unit_that_does_not_show_its_test_is_followed_by_its_voltages() -> None:
    """And that test is no outage either: nothing is confirmed, however long it takes."""
    async with operated() as ups:
        ups.ups.faults.override({"test_in_progress": False}, replies=-1)
        result = await ups.operations.test_battery()
        assert result.outcome is BatteryTestOutcome.PASSED
        assert ups.ups.names == []


async def test_mains_that_goes_during_the_test_is_an_outage_and_aborts_it() -> None:
    """The test must not hide it."""
    async with operated() as ups:
        testing = asyncio.create_task(ups.operations.test_battery())
        await ups.ups.until(lambda reading: reading.test_in_progress)
        ups.ups.device.cut_mains()
        result = await testing
        assert result.outcome is BatteryTestOutcome.ABORTED
        await asyncio.sleep(5)
        assert "outage_confirmed" in ups.ups.names


async def test_a_cable_that_is_pulled_out_during_the_test_leaves_it_without_a_result() -> None:
    """It ends all the same."""
    async with operated() as ups:
        testing = asyncio.create_task(ups.operations.test_battery())
        await ups.ups.until(lambda reading: reading.test_in_progress)
        ups.ups.faults.unplugged = True
        result = await testing
        assert result.outcome is BatteryTestOutcome.UNKNOWN
        assert ups.ups.view.test_until <= loop().time()


@pytest.mark.parametrize("trouble", ["unplugged", "frozen"])
async def test_a_test_whose_end_nobody_saw_is_not_passed(trouble: str) -> None:
    """Whoever waits for it is told soon, and the UPS may be commanded again."""
    async with operated() as ups:
        testing = asyncio.create_task(ups.operations.test_battery())
        await ups.ups.until(lambda reading: reading.test_in_progress)
        began_at = loop().time()
        setattr(ups.ups.faults, trouble, True)
        result = await testing
        assert result.outcome is BatteryTestOutcome.UNKNOWN
        assert "the end of the test was not seen" in result.reason
        assert loop().time() - began_at < 10.0
        setattr(ups.ups.faults, trouble, False)
        await asyncio.sleep(20)
        await ups.operations.test_panel()


@pytest.mark.parametrize("into_poll_s", [0.0, 0.15, 0.3, 0.45])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda device: device.cut_mains(), "the rack lives on its battery"),
        (lambda device: device.shutdown(600), "a switch-off of its outlets is scheduled"),
        (lambda device: setattr(device, "conditions", Conditions(locked=True)), "it reports a failure"),
        (lambda device: device.test_battery(), "a test is in progress already"),
    ],
)
async def test_an_unsafe_test_is_refused_before_the_ups_is_asked(
    change: Callable[[Any], None], reason: str, into_poll_s: float
) -> None:
    """What counts is what the UPS says from now on, and not a reply that is on its way."""
    async with operated() as ups:
        await asyncio.sleep(into_poll_s)
        change(ups.ups.device)
        sent = len(ups.ups.bus.written)
        assert await refused(ups.operations.test_battery()) == f"refused: {reason}"
        assert not any(b"TB" in report for report in ups.ups.bus.written[sent:])


async def test_a_half_charged_battery_is_not_tested() -> None:
    """The result would say nothing."""
    async with living(plugged(FULL_REPORT)) as cabled:
        cabled.device.battery = type(cabled.device.battery)(cabled.device.battery.spec, 0.4)
        await cabled.good()
        assert "is charged to" in await refused(Operated(cabled).operations.test_battery())


async def test_nothing_is_commanded_while_the_daemon_has_a_plan() -> None:
    """A person and a plan must not switch the same outlets."""
    async with operated() as ups:
        ups.why_not = "the daemon's own plan is under way (shutting-down)"
        for work in (
            ups.operations.test_battery(),
            ups.operations.test_panel(),
            ups.operations.cycle_outlets(60, 1),
            ups.operations.cancel_cycle(),
        ):
            assert "the daemon's own plan is under way" in await refused(work)


async def test_one_command_at_a_time() -> None:
    """The second one is told to wait."""
    async with operated() as ups:
        testing = asyncio.create_task(ups.operations.test_battery())
        await asyncio.sleep(2)
        assert "another command to the UPS is under way" in await refused(ups.operations.test_panel())
        await testing
        await ups.operations.test_panel()


async def test_a_ups_that_is_gone_is_why_nothing_is_done() -> None:
    """With the reason that a person can mend."""
    async with operated() as ups:
        ups.ups.faults.unplugged = True
        await asyncio.sleep(3)
        assert "UPS" in await refused(ups.operations.test_battery())


async def test_the_lamps_are_tested_and_the_beeper_is_looked_at() -> None:
    """Both on the UPS as it is now."""
    async with operated() as ups:
        await ups.operations.test_panel()
        assert ups.ups.device.panel_tests == 1
        assert not (await ups.operations.look()).beeper_on
        ups.ups.device.cut_mains()
        await ups.ups.until(lambda reading: reading.on_battery)
        assert (await ups.operations.look()).beeper_on


async def test_what_the_ups_says_of_itself_is_asked_no_more_than_now_and_then() -> None:
    """Who asks all the time does not slow the polls down."""
    async with operated() as ups:
        asked_before = sum(b"GI" in report for report in ups.ups.bus.written)
        shown = [await ups.operations.details() for _ in range(50)]
        assert shown[0]["device.model"] == "USV5"
        assert shown[0]["protocol"] == "gpser"
        assert sum(b"GI" in report for report in ups.ups.bus.written) - asked_before == 1


# Outlets -------------------------------------------------------------------------------------------------------


async def test_an_outlet_cycle_is_scheduled_confirmed_and_called_off() -> None:
    """The UPS shows both."""
    async with operated() as ups:
        assert await ups.operations.cycle_outlets(120, 1)
        assert ups.ups.device.outlets.shutdown_at == pytest.approx(loop().time() + 120, abs=3)
        assert await ups.operations.cancel_cycle()
        assert ups.ups.device.outlets.shutdown_at is None
        assert ups.names == ["outlet_cycle_scheduled", "outlet_cycle_cancelled"]
        assert all(event.fields["confirmed"] for event in ups.events)


async def test_to_call_off_what_is_not_scheduled_is_no_event() -> None:
    """The record of what happened says nothing that did not; the UPS is told all the same."""
    async with operated() as ups:
        sent = len(ups.ups.bus.written)
        assert await ups.operations.cancel_cycle()
        assert any(b"CD" in report for report in ups.ups.bus.written[sent:])
        assert ups.names == []


async def test_an_outlet_cycle_that_the_ups_does_not_show_is_not_confirmed() -> None:
    """It is done, for all that we know, and nobody is told more than that."""
    async with operated() as ups:
        ups.ups.faults.override({"shutdown_active": False, "shutdown_imminent": False}, replies=-1)
        assert not await ups.operations.cycle_outlets(120, 1)
        assert ups.ups.device.outlets.shutdown_at is not None


async def test_a_second_cycle_of_an_operator_is_refused() -> None:
    """The first one must be called off, knowingly."""
    async with operated() as ups:
        await ups.operations.cycle_outlets(120, 1)
        assert "cancel it first" in await refused(ups.operations.cycle_outlets(60, 1))


async def test_a_cycle_is_not_called_off_once_the_outlets_are_off() -> None:
    """They would stay off for good."""
    async with operated() as ups:
        await ups.operations.cycle_outlets(5, 2)
        await ups.ups.until(lambda reading: not reading.output_powered)
        assert "would stay off for good" in await refused(ups.operations.cancel_cycle())
        await ups.ups.until(lambda reading: reading.output_powered, within_s=200)


async def test_the_plans_cycle_replaces_one_that_waits() -> None:
    """A daemon that was killed after it had scheduled the cycle schedules it again."""
    async with operated() as ups:
        outlets = UpsOutlets(ups.operations, lambda: None)
        assert await outlets.cycle(120, 1)
        await asyncio.sleep(30)
        assert await outlets.cycle(120, 1)
        assert ups.ups.device.outlets.shutdown_at == pytest.approx(loop().time() + 120, abs=3)


@pytest.mark.parametrize(
    ("measured", "off_s", "comes_back"),
    [
        (MEASURED, 120, True),
        (replace(MEASURED, longest_delay_s=60), 60, True),
        (replace(MEASURED, cycles_outlets=False), 120, False),
        (replace(MEASURED, restore_unit_s=30.0), 120, True),
    ],
    ids=["measured nothing", "longest delay", "can't cycle", "half minutes"],
)
async def test_the_plans_cycle_follows_what_was_measured(
    measured: DeviceProfile, off_s: int, *, comes_back: bool
) -> None:
    """A unit that does otherwise than its document is commanded as it can be."""
    async with operated() as ups:
        await UpsOutlets(ups.operations, lambda: measured).cycle(120, 1)
        assert ups.ups.device.outlets.shutdown_at == pytest.approx(loop().time() + off_s, abs=3)
        assert (ups.ups.device.outlets._restore_after_s is not None) == comes_back
        if measured.restore_unit_s == 30.0:
            assert ups.ups.device.outlets._restore_after_s == 120.0


async def test_a_plan_is_told_why_the_cycle_was_not_scheduled() -> None:
    """In words for a person."""
    async with operated() as ups:
        ups.ups.faults.unplugged = True
        await asyncio.sleep(3)
        with pytest.raises(RackError, match="the outlet cycle was not scheduled"):
            await UpsOutlets(ups.operations, lambda: None).cycle(120, 1)
