"""What can be known of this machine's own power-off only after the next boot."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.rack import RackError
from upsd.rack.system_journal import JOURNAL_STOPPED, BootEnd, boot_end, end_in
from upsd.shutdown.durations import History, Run
from upsd.shutdown.own_end import OwnEnd, off_delay_s, own_end, took_s

if TYPE_CHECKING:
    from collections.abc import Sequence

BEFORE, NOW = "b1", "b2"
BOOT = "0123456789abcdef0123456789abcdef"
OUTAGE = {"record": "outage", "outage": "o1", "reason": "battery-low", "boot_id": BEFORE}
OFF = {"record": "step", "step": "host-poweroff m", "state": "running", "plan": "shutdown", "outage": "o1"}
ASKED = {**OFF, "boot_id": BEFORE, "clock_s": 1000.25}


def cycle(state: str, **fields: Any) -> dict[str, Any]:
    """The record of the outlets' step."""
    return {**OFF, "step": "outlet-cycle", "state": state, "boot_id": BEFORE, **fields}


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """As the journal has them."""
    return [json.dumps(record) for record in records]


def entry(**fields: Any) -> str:
    """A line of journalctl."""
    usual = {"__MONOTONIC_TIMESTAMP": "1012500000", "_BOOT_ID": BOOT, "__REALTIME_TIMESTAMP": "1764185456000000"}
    return json.dumps({**usual, **fields}) + "\n"


def test_a_boot_that_a_shutdown_ended_is_known_by_its_last_step() -> None:
    """By the clock of that boot, which nobody sets."""
    found = own_end(lines([OUTAGE, cycle("running"), cycle("done"), ASKED]), NOW)
    assert found == OwnEnd("o1", "host-poweroff m", BEFORE, 1000.25, None)
    assert took_s(found, 1012.5) == 12.25


@pytest.mark.parametrize(
    ("records", "boot_id"),
    [
        ([], NOW),
        ([OUTAGE, cycle("failed")], NOW),
        ([OUTAGE, cycle("failed"), ASKED], BEFORE),
        ([OUTAGE, cycle("failed"), ASKED, {"record": "closed", "outage": "o1"}], NOW),
        ([OUTAGE, {**ASKED, "plan": "rehearsal"}], NOW),
        ([OUTAGE, ASKED, {**OUTAGE, "outage": "o2"}], NOW),
    ],
)
def test_where_nothing_of_ours_ended_the_last_boot_nothing_is_known(
    records: list[dict[str, Any]], boot_id: str
) -> None:
    """No power-off, the same boot, or an outage that is over."""
    assert own_end(lines(records), boot_id) is None


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([cycle("done")], None),
        ([cycle("forced")], None),
        ([], None),
        ([cycle("running")], None),
        ([cycle("failed", detail="the UPS is unplugged")], "the UPS is unplugged"),
        ([cycle("timed-out")], "timed-out"),
        ([cycle("left-out", detail="no time")], "no time"),
        ([cycle("failed", detail="at first"), cycle("running"), cycle("done")], None),
    ],
)
def test_only_what_is_known_to_have_failed_is_told(records: list[dict[str, Any]], why: str | None) -> None:
    """A line that is lost is no failure."""
    found = own_end(lines([OUTAGE, *records, ASKED]), NOW)
    assert found
    assert found.not_cycled == why


def test_what_was_looked_at_is_not_looked_at_again() -> None:
    """A daemon that is started again in the recovery neither counts a power-off twice nor tells of it twice."""
    found = own_end(lines([OUTAGE, ASKED, {"record": "own-end", "outage": "o1", "seconds": None}]), NOW)
    assert found
    assert found.seen


@pytest.mark.parametrize("clock_s", [None, "soon", True, math.nan, math.inf])
def test_without_a_time_nothing_is_measured(clock_s: object) -> None:
    """As from a daemon of an older version."""
    found = own_end(lines([OUTAGE, {**ASKED, "clock_s": clock_s}]), NOW)
    assert found
    assert took_s(found, 1012.5) is None


anything = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=3)
fields = st.fixed_dictionaries(
    {"record": st.sampled_from(["step", "outage", "own-end", "closed"])},
    optional={
        "step": st.sampled_from(["outlet-cycle", "host-poweroff m"]) | anything,
        "state": st.sampled_from(["running", "failed"]) | anything,
        **dict.fromkeys(("plan", "outage", "boot_id", "clock_s", "detail"), anything),
    },
)


@given(st.lists(fields))
def test_no_records_are_a_defect(records: list[dict[str, Any]]) -> None:
    """The daemon has to start, whatever its disk has made of its journal."""
    found = own_end(lines(records), NOW)
    seconds = took_s(found, 1012.5) if found else None
    assert seconds is None or 0.1 <= seconds <= 900


@pytest.mark.parametrize("ended_at_s", [0.0, 999.0, 1000.3, 1901.0, 1e12])
def test_a_power_off_that_no_machine_takes_is_not_believed(ended_at_s: float) -> None:
    """Less than a tenth of a second, or more than a quarter of an hour."""
    found = own_end(lines([OUTAGE, ASKED]), NOW)
    assert found
    assert took_s(found, ended_at_s) is None


def test_the_end_of_a_boot_is_its_last_entry() -> None:
    """It is orderly if journald says that it was stopped."""
    assert end_in(entry(MESSAGE_ID=JOURNAL_STOPPED), BOOT) == BootEnd(1012.5, orderly=True)
    assert end_in("\n" + entry(), BOOT) == BootEnd(1012.5, orderly=False)
    assert not end_in(entry(MESSAGE_ID=[JOURNAL_STOPPED, "x"]), BOOT).orderly


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "is not kept, or the daemon's user may not read it"),
        ("\n \n", "is not kept"),
        ("No journal files were found.", "can be used"),
        ("[" * 100_000, "can be used"),
        ("[]", "can be used"),
        (entry(_BOOT_ID="f" * 32), "can be used"),
        (entry(_BOOT_ID=None), "can be used"),
        (entry(__MONOTONIC_TIMESTAMP=1012500000), "can be used"),
        (entry(__MONOTONIC_TIMESTAMP="-5"), "can be used"),
        (entry(__MONOTONIC_TIMESTAMP="٣"), "can be used"),
        (entry(__MONOTONIC_TIMESTAMP="9" * 5000), "can be used"),
        (entry(__MONOTONIC_TIMESTAMP="5\n"), "can be used"),
    ],
)
def test_what_journalctl_does_not_say_is_not_made_up(said: str, why: str) -> None:
    """No entry, that of another boot, or something else altogether."""
    with pytest.raises(RackError, match=why):
        end_in(said, BOOT)


@given(st.text() | st.dictionaries(st.text(), st.text()).map(json.dumps))
def test_no_output_of_journalctl_is_a_defect(said: str) -> None:
    """There is an end of the boot in it, or there is none."""
    with pytest.raises(RackError):
        end_in(said, BOOT)


@pytest.mark.parametrize("boot_id", ["unknown", "", "--boot=all", "0123456789abcdef0123456789abcdef\n", BOOT.upper()])
async def test_what_is_no_boot_is_not_asked_for(boot_id: str) -> None:
    """It comes from a file, and would be an argument of a program."""
    with pytest.raises(RackError, match="is no boot"):
        await boot_end(boot_id)


async def test_a_boot_that_the_system_journal_does_not_know_is_not_measured() -> None:
    """Or there is no journalctl at all."""
    with pytest.raises(RackError):
        await boot_end(BOOT)


@pytest.mark.parametrize(
    ("runs", "delay_s"),
    [
        (None, 180),
        ((Run(12.0), Run(14.0)), 180),
        ((Run(120.0),), 180),
        ((Run(12.0), Run(160.0), Run(13.0)), 230),
        ((Run(180.0, censored=True),), 368),
    ],
)
def test_the_outlets_stay_on_longer_than_the_slowest_power_off(runs: tuple[Run, ...] | None, delay_s: int) -> None:
    """And never shorter than the settings say; what was cut off would have taken longer than was seen."""
    assert off_delay_s(180, History(runs, "2026-11-26") if runs else None) == delay_s


@given(st.integers(1, 65535), st.lists(st.builds(Run, st.floats(0.5, 900), st.booleans()), min_size=1))
def test_no_history_makes_a_delay_that_the_ups_can_t_count_or_that_is_too_short(
    at_least_s: int, runs: list[Run]
) -> None:
    """Whatever was measured."""
    delay_s = off_delay_s(at_least_s, History(tuple(runs), "2026-11-26"))
    assert at_least_s <= delay_s <= 65535
    assert delay_s > max(run.seconds for run in runs) + 29
