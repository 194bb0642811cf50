"""The guided test of a UPS, with a person who does what he is told and says what he sees."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.ups.battery import BatterySpec
from hardware_sim.ups.profiles import CRC_MODE, FULL_REPORT, IPLUG_800, SENTRY_60K
from tests.sim.cables import Cabled, plugged
from upsd.ups.bench import Bench
from upsd.ups.bench_steps import STEPS
from upsd.ups.profile import DeviceProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardware_sim.ups.profiles import Profile

TODAY = "2026-11-25"
LOW_TO_OFF_S = 58.0
"""What a simulated battery of 2 Ah gives 76 W after its voltage has fallen to 10.8 V."""
TITLES = [step.title for step in STEPS]


class AtTheBench:
    """A person with a lamp, who agrees to some of the steps."""

    def __init__(self, ups: Cabled, steps: list[str]) -> None:
        self.ups = ups
        self.steps = steps
        self.said: list[str] = []
        self.did: list[str] = []
        self._step = ""

    def tell(self, text: str) -> None:
        """Read what is said."""
        self.said.append(text)
        if text.startswith("\nStep"):
            self._step = text.splitlines()[1].split(": ", 1)[1]

    async def agrees(self, question: str) -> bool:
        """Look at the lamp, or decide whether to do the step."""
        device = self.ups.device
        if "Is the lamp on?" in question:
            return device.outlets.on
        if "Is the lamp off?" in question:
            return not device.outlets.on
        return self._step in self.steps

    async def does(self, instruction: str) -> None:
        """Do it, in five seconds."""
        await asyncio.sleep(5)
        self.did.append(instruction)
        if "pull the UPS's mains plug" in instruction or "Pull the UPS's mains plug" in instruction:
            self.ups.device.cut_mains()
        elif "mains plug back" in instruction:
            self.ups.device.restore_mains()
        elif "button" in instruction:
            self.ups.device.press_button()


async def at_the_bench(
    profile: Profile = IPLUG_800,
    steps: list[str] | None = None,
    *,
    before: DeviceProfile | None = None,
    battery: BatterySpec | None = None,
    **options: Any,
) -> tuple[DeviceProfile, AtTheBench, list[Mapping[str, Any]]]:
    """The profile that the test makes, who made it, and what was recorded."""
    ups = plugged(profile, **options)
    if battery:
        ups.device.battery = type(ups.device.battery)(battery, 1.0)
    person = AtTheBench(ups, TITLES if steps is None else steps)
    records: list[Mapping[str, Any]] = []
    bench = Bench(ups.driver, person, record=records.append, send_with_pause=ups.transport.send_with_pause)
    try:
        return await bench.run(STEPS, TODAY, before), person, records
    finally:
        await ups.driver.close()
        ups.transport.shutdown()


async def test_every_open_question_is_answered_for_an_iplug() -> None:
    """Each of them as this (simulated) one does it."""
    profile, person, _ = await at_the_bench(battery=BatterySpec(capacity_ah=2.0))
    assert asdict(profile) == {
        "model": "USV5",
        "firmware": "SWM036-01-02",
        "measured_on": TODAY,
        "packet_pause_s": 0.02,
        "shows_test": True,
        "test_s": pytest.approx(10.0, abs=1.1),
        "shows_shutdown": True,
        "shows_beeper": False,
        "cycles_outlets": True,
        "restore_unit_s": 60.0,
        "restore_waits_for_mains": True,
        "replaces_pending": False,
        "longest_delay_s": 65535,
        "off_returns_on_mains": False,
        "off_returns_with_mains": True,
        "reports_load": False,
        "low_battery_v": pytest.approx(10.75, abs=0.06),
        "low_to_off_s": pytest.approx(LOW_TO_OFF_S, abs=2),
        "starts_after_run_out": True,
    }
    assert person.ups.device.outlets.on
    assert person.ups.device.outlets.shutdown_at is None


@pytest.mark.parametrize(
    ("changes", "capacity_ah", "step", "found"),
    [
        ({"restore_needs_mains": False}, 7.0, "outlet cycle without mains", {"restore_waits_for_mains": False}),
        ({"replaces_pending_shutdown": True}, 7.0, "delays", {"replaces_pending": True}),
        ({"starts_after_run_out": False}, 0.3, "discharge", {"starts_after_run_out": False}),
    ],
    ids=["restores without mains", "replaces what waits", "stays off after a run-out"],
)
async def test_a_unit_that_does_otherwise_is_found_out(
    changes: dict[str, Any], capacity_ah: float, step: str, found: dict[str, Any]
) -> None:
    """That is what the test is for."""
    battery = BatterySpec(capacity_ah=capacity_ah)
    profile, _, _ = await at_the_bench(replace(IPLUG_800, **changes), [step], battery=battery)
    assert {name: asdict(profile)[name] for name in found} == found


async def test_a_bridge_that_holds_but_one_piece_is_found_out() -> None:
    """Nothing shorter than what the piece takes on the line is proven."""
    profile, _, _ = await at_the_bench(steps=["pace"], out_buffer=7)
    assert profile.packet_pause_s == 0.06


async def test_a_unit_that_reports_its_load_is_found_out() -> None:
    """The figure then means something."""
    profile, _, _ = await at_the_bench(FULL_REPORT, ["load"])
    assert profile.reports_load is True


async def test_a_unit_that_protects_its_frames_by_a_crc_is_tested_likewise() -> None:
    """The steps go by what it said of itself."""
    profile, _, _ = await at_the_bench(CRC_MODE, ["pace", "delays"])
    assert (profile.packet_pause_s, profile.longest_delay_s) == (0.02, 65535)


async def test_a_machine_that_speaks_sentr_has_little_to_find_out() -> None:
    """What it can't do is said, and the test goes on to its end."""
    profile, person, _ = await at_the_bench(replace(SENTRY_60K, baud=1200), ["pace", "battery test", "delays"])
    assert profile.model == "Sentry 60 kVA"
    assert sum("could not be done" in said for said in person.said) == 3


async def test_no_step_is_done_without_a_yes() -> None:
    """Whoever says no to everything has switched nothing."""
    profile, person, records = await at_the_bench(steps=[])
    assert profile == DeviceProfile(model="USV5", firmware="SWM036-01-02", measured_on=TODAY)
    assert person.did == []
    assert sum("skipped" in record for record in records) == len(STEPS)
    assert not any(report[3:5] in {b"CS", b"CR", b"TB", b"TP"} for report in person.ups.bus.written)


async def test_what_an_earlier_test_found_stays_unless_it_is_found_anew() -> None:
    """A test may be done in pieces."""
    before = DeviceProfile(
        model="USV5", firmware="SWM036-01-02", measured_on="2025-01-01", cycles_outlets=True, test_s=99.0
    )
    profile, _, _ = await at_the_bench(steps=["battery test"], before=before)
    assert (profile.cycles_outlets, profile.measured_on) == (True, TODAY)
    assert profile.test_s == pytest.approx(10.0, abs=1.1)


async def test_what_was_found_of_another_unit_is_not_taken_over() -> None:
    """It may do otherwise."""
    other = DeviceProfile(model="UNV1", firmware=None, measured_on="2025-01-01", cycles_outlets=True)
    profile, _, _ = await at_the_bench(steps=[], before=other)
    assert profile.cycles_outlets is None


async def test_what_happened_is_recorded() -> None:
    """Each step, each change of a reading, each finding."""
    _, _, records = await at_the_bench(steps=["battery test"])
    assert {"step": "battery test"} in records
    assert any("reading" in record and record["reading"].get("test_in_progress") for record in records)
    assert any(record.get("found", {}).get("shows_test") for record in records)


async def test_outlets_that_go_off_though_that_was_called_off_end_the_step() -> None:
    """The person is told to go no further."""
    ups = plugged()
    ups.device.outlets.cancel = lambda: None  # type: ignore[method-assign]
    person = AtTheBench(ups, ["calling off"])
    bench = Bench(ups.driver, person, record=lambda _: None, send_with_pause=None)
    profile = await bench.run(STEPS, TODAY, None)
    assert any("go no further" in said for said in person.said)
    assert profile.shows_shutdown is None
    await ups.driver.close()
    ups.transport.shutdown()
