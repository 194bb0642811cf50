"""What the next start makes of this machine's own end: a measured power-off, and a warning if nobody told the UPS."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from upsd.daemon import Daemon
from upsd.domain.rack import RackError
from upsd.rack.system_journal import BootEnd
from upsd.settings import load_settings
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.learner import load
from upsd.shutdown.own_end import NOT_CYCLED
from upsd.shutdown.phase import Phase
from upsd.ups.cycle_order import FILE
from upsd.ups.profile import DeviceProfile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SETTINGS = '[master]\nname = "m"\nwatts = 20\npoweroff_command = ["true"]\npoweroff_expected = 40\n'
LAST_BOOT = "0123456789abcdef0123456789abcdef"
STEP = {"record": "step", "plan": "shutdown", "outage": "o1", "boot_id": LAST_BOOT, "at": "2026-11-26T10:00:00.000Z"}
OUTAGE = {**STEP, "record": "outage", "reason": "battery-low"}
FAILED = {**STEP, "step": "outlet-cycle", "state": "failed", "detail": "the UPS is unplugged"}
DONE = {**STEP, "step": "outlet-cycle", "state": "done"}
OFF = {**STEP, "step": "host-poweroff m", "state": "running", "commits": True, "clock_s": 5000.0}


def booted(
    directory: Path, *records: dict[str, Any], end: BootEnd | None = None, asked: list[str] | None = None
) -> Daemon:
    """A daemon after a boot, on a machine whose system journal says so of the last one."""
    (directory / "upsd.toml").write_text(f'state_directory = "{directory}"\n{SETTINGS}', encoding="utf-8")
    if records:
        text = "".join(f"{json.dumps({'n': number, **record})}\n" for number, record in enumerate(records))
        (directory / "journal.jsonl").write_text(text, encoding="utf-8")
    daemon = Daemon(load_settings(directory / "upsd.toml", {"UPSD_CONTROL__SOCKET": str(directory / "control.sock")}))
    daemon._late._ask_end = partial(_said_of, [] if asked is None else asked, end)
    return daemon


async def _said_of(asked: list[str], end: BootEnd | None, boot_id: str) -> BootEnd:
    asked.append(boot_id)
    if end is None:
        raise RackError("the system journal of the last boot is not kept")
    return end


async def looked_at(daemon: Daemon) -> list[dict[str, Any]]:
    """Let it look at its last end; the events."""
    with daemon.board.subscribe() as heard:
        take_up: Callable[..., Awaitable[None]] = daemon._late.take_up
        await take_up(daemon._conductor.recorder)
        await daemon._conductor.close()
        told: list[Any] = [document for _, document in iter(lambda: heard.take(0.0) or ("end", {}), ("end", {}))]
    daemon._journal.close()
    if daemon._learner._writing:
        await daemon._learner._writing
    return [document for document in told if document.get("event_type") == "outlets_not_cycled"]


def complains(daemon: Daemon) -> bool:
    """Whether `upsctl status` warns of it."""
    return f"{NOT_CYCLED} (the UPS is unplugged)" in daemon._warnings()


async def test_the_operator_learns_at_the_next_start_that_the_ups_could_not_be_told(tmp_path: Path) -> None:
    """By an event with what it means, and by a warning until everything was brought back."""
    daemon = booted(tmp_path, OUTAGE, FAILED, OFF)
    (event,) = await looked_at(daemon)
    assert event["severity"] == "warning"
    assert event["fields"] == {"outage": "o1", "reason": "the UPS is unplugged", "means": NOT_CYCLED}
    assert complains(daemon)
    again = booted(tmp_path)
    assert await looked_at(again) == []
    assert complains(again)
    for phase in (Phase.RECOVERING, Phase.IDLE):
        assert complains(again)
        again._conductor.phase = phase
        again._show_shutdown()
    assert not complains(again)


async def test_a_ups_that_was_told_is_nothing_to_tell(tmp_path: Path) -> None:
    """The usual outage."""
    daemon = booted(tmp_path, OUTAGE, DONE, OFF, end=BootEnd(5012.0, orderly=True))
    assert await looked_at(daemon) == []
    assert not any(NOT_CYCLED in warning for warning in daemon._warnings())


async def test_how_long_the_power_off_took_is_learned_at_the_next_start(tmp_path: Path) -> None:
    """Once, and the plan and the delay on the UPS go by it from then on."""
    asked: list[str] = []
    daemon = booted(tmp_path, OUTAGE, DONE, OFF, end=BootEnd(5170.0, orderly=True), asked=asked)
    before_s = critical_path_s(daemon._conductor.plan)
    assert daemon._late.off_delay_s() == 180
    await looked_at(daemon)
    assert asked == [LAST_BOOT]
    assert load(tmp_path)["host-poweroff m"].runs[0].seconds == 170.0
    assert daemon._late.off_delay_s() == 243
    assert daemon._late.linger_s() == 303.0

    again = booted(tmp_path, asked=asked)
    await looked_at(again)
    assert asked == [LAST_BOOT]
    assert len(load(tmp_path)["host-poweroff m"].runs) == 1
    (master,) = (step for step in again._conductor.plan.steps if step.id == "host-poweroff m")
    assert master.measured
    assert (master.expected_s, master.configured_s) == (255.0, 40.0)
    assert critical_path_s(again._conductor.plan) - before_s == pytest.approx(215.0)


@pytest.mark.parametrize("end", [None, BootEnd(4000.0, orderly=True), BootEnd(90000.0, orderly=True)])
async def test_what_can_t_be_measured_leaves_the_settings_times(tmp_path: Path, end: BootEnd | None) -> None:
    """No journal of the last boot, or one that does not fit ours."""
    daemon = booted(tmp_path, OUTAGE, DONE, OFF, end=end)
    await looked_at(daemon)
    assert load(tmp_path) == {}
    assert daemon._late.off_delay_s() == 180


async def test_a_journal_that_breaks_off_is_a_power_off_that_was_cut(tmp_path: Path) -> None:
    """It would have taken longer, and gets half as much again."""
    daemon = booted(tmp_path, OUTAGE, DONE, OFF, end=BootEnd(5180.0, orderly=False))
    await looked_at(daemon)
    assert load(tmp_path)["host-poweroff m"].runs[0].censored
    assert daemon._late.off_delay_s() == 368


async def test_a_ups_that_counts_less_than_this_machine_needs_is_told_of(tmp_path: Path) -> None:
    """A person can find out what is slow."""
    daemon = booted(tmp_path, OUTAGE, DONE, OFF, end=BootEnd(5170.0, orderly=True))
    await looked_at(daemon)
    profile = DeviceProfile(model="USV5", firmware=None, measured_on="2026-11-25", longest_delay_s=200)
    (complaint,) = daemon._late.complaints(profile)
    assert complaint.startswith("the outlets should stay on for 243 s")
    assert "cuts them after 200 s at the latest" in complaint


@pytest.mark.parametrize(
    ("records", "phase", "stays"),
    [
        ((OUTAGE, DONE, OFF), None, True),
        ((OUTAGE, DONE, OFF), Phase.SHUTTING_DOWN, True),
        ((OUTAGE, DONE, OFF), Phase.FINISHED, True),
        ((OUTAGE, DONE, OFF), Phase.RECOVERING, False),
        ((OUTAGE, DONE, OFF), Phase.ABORTING, False),
        ((), None, False),
    ],
)
async def test_what_is_left_for_the_last_moment_is_taken_back_with_the_shutdown(
    tmp_path: Path, records: tuple[dict[str, Any], ...], phase: Phase | None, *, stays: bool
) -> None:
    """Or a power-off on another day would cycle the outlets; a daemon that is killed in the shutdown leaves it."""
    (tmp_path / FILE).touch()
    daemon = booted(tmp_path, *records)
    if phase:
        daemon._conductor.phase = phase
        daemon._show_shutdown()
    assert (tmp_path / FILE).exists() is stays
    daemon._journal.close()
