"""What a person reads of an outage is what was written down of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.duration import spoken
from upsd.shutdown.report import Ending, is_worth_a_report, make_report, name_of
from upsd.shutdown.report_text import markdown

if TYPE_CHECKING:
    from upsd.domain.power import Scalar

NAME = "20260114T031502Z-7f3a"
Records = list[dict[str, Any]]


def at(clock: str, record: str, **fields: Scalar) -> dict[str, Any]:
    """A record of that time of day."""
    day = 15 if clock < "03" else 14
    return {"at": f"2026-01-{day}T{clock}.000Z", "record": record, "boot_id": "b1", **fields}


def step(clock: str, name: str, state: str, **fields: Scalar) -> dict[str, Any]:
    """A step's record."""
    return at(clock, "step", **{"step": name, "state": state, "plan": "shutdown", "outage": NAME, **fields})


def numbered(records: Records) -> Records:
    """As the journal numbers them."""
    return [{"n": number, **record} for number, record in enumerate(records)]


LOST = at("03:10:05", "supply", lost_at=1.0, for_s=5.0, runtime_s=2280, runtime_low_s=1440, battery_voltage=13.1)
BACK = at("03:55:00", "supply", lost_at=None)
SHUTDOWN = [
    LOST,
    at("03:35:00", "outage", outage=NAME, reason="latest-safe-start", expected_s=140.0, runtime_s=800),
    step("03:35:01", "drain pi3", "running", expected_s=40.0),
    step("03:35:31", "drain pi3", "forced", seconds=30.0, detail="2 pods ended, deleted by force: web/|sql"),
    step("03:35:31", "poweroff pi3", "running", commits=True),
    step("03:35:32", "poweroff pi3", "done", seconds=1.0),
    step("03:35:32", "confirm-off pi3", "running"),
    step("03:35:52", "confirm-off pi3", "done", seconds=20.0, detail="port silent"),
    step("03:35:52", "flush nas", "running"),
    step("03:36:22", "flush nas", "timed-out", seconds=30.0),
    step("03:36:23", "host-poweroff m", "running", commits=True),
]
RECOVERY = [
    {**record, "boot_id": "b2"}
    for record in (
        at("02:00:00", "started"),
        at("02:00:10", "undoing", outage=NAME, plan="recovery"),
        step("02:00:11", "wait-ready", "running", plan="recovery"),
        step("02:01:11", "wait-ready", "done", plan="recovery"),
        at("02:01:12", "closed", outage=NAME, how="recovered"),
    )
]


def test_the_report_says_who_was_down_from_when_to_when() -> None:
    """From being seen off, or else told, to the first sign of life; across midnight and a boot."""
    report = make_report(numbered([*SHUTDOWN, *RECOVERY]), "iplug")
    down = {machine.machine: (machine.off_at, machine.back_at, machine.down_s) for machine in report.machines}
    assert {machine.machine: machine.off_by for machine in report.machines} == {"pi3": "port silent", "m": None}
    day = 24 * 3600 - 3600 - 35 * 60
    assert down == {
        "pi3": ("2026-01-14T03:35:52.000Z", "2026-01-15T02:01:11.000Z", day + 71.0 - 52.0),
        "m": (None, "2026-01-15T02:00:00.000Z", day - 83.0),
    }


def test_the_report_names_cause_durations_and_battery() -> None:
    """What was expected stands beside what came."""
    report = make_report(numbered([*SHUTDOWN, *RECOVERY]), "iplug")
    assert (report.outage, report.ending, report.reason) == (NAME, Ending.RECOVERED, "latest-safe-start")
    assert (report.began_at, report.shutdown_at) == ("2026-01-14T03:10:00.000Z", "2026-01-14T03:35:00.000Z")
    assert (report.shutdown_s, report.shutdown_expected_s, report.recovery_s) == (83.0, 140.0, 62.0)
    assert [(point.moment, point.runtime_s, point.voltage_v) for point in report.battery] == [
        ("the mains was lost", 2280, 13.1),
        ("the shutdown began", 800, None),
    ]
    (drain,) = (step for step in report.steps if step.step == "drain pi3")
    assert (drain.seconds, drain.expected_s, drain.tries) == (30.0, 40.0, 1)


def test_the_report_says_what_went_wrong_and_nothing_else() -> None:
    """Force, time that ran out, a step whose end nobody saw, restarts, damage and records that are missing."""
    assert make_report(numbered([LOST, BACK]), "iplug").troubles == ()
    records = numbered([*SHUTDOWN, at("03:36:30", "started"), at("03:36:31", "damaged", lines=3), *RECOVERY])
    del records[7]
    assert list(make_report(records, "iplug").troubles) == [
        "drain pi3 was done by force: 2 pods ended, deleted by force: web/|sql",
        "confirm-off pi3 was begun, and how it ended was not written down",
        "flush nas ran out of time",
        "upsd was started again once",
        "the journal was damaged: 3 lines of it could not be read",
        "the journal is not complete: 1 records are missing",
    ]


def test_an_outage_that_needed_no_shutdown_has_a_report_too() -> None:
    """Named by its date; one loss is one line, however often the daemon was started and noted it."""
    report = make_report(numbered([LOST, at("03:20:00", "started"), LOST, BACK]), "iplug")
    assert (report.outage, report.ending, report.mains_away_s) == ("20260114T031005Z", Ending.OUTLASTED, 2700.0)
    assert [happening.what for happening in report.timeline] == [
        "the mains went",
        "upsd was started again",
        "the mains was back",
    ]
    assert "**The rack worked on: no shutdown was needed.** iplug was without mains for 45 min." in markdown(report)


def test_the_text_is_a_document_that_can_be_read_as_it_stands() -> None:
    """The answer first, tables whose columns line up, dates where the day changes, and nothing that breaks a table."""
    text = markdown(make_report(numbered([*SHUTDOWN, *RECOVERY]), "iplug"))
    lines = text.splitlines()
    assert lines[0] == "# Outage of 14 January 2026, 03:10"
    assert lines[2].startswith("**The rack was shut down, and brought back.** iplug was without mains for 22 h 50 min.")
    assert "| Shutdown took  | 1 min 23 s of 2 min 20 s expected" in text
    assert "| pi3     | 03:35:31       | 03:35:52 | port silent | 15 Jan 02:01:11 | 22 h 25 min |" in lines
    assert "web/\\|sql" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    assert all(len({len(row) for row in table}) == 1 for table in tables)


@pytest.mark.parametrize(("records", "worth"), [([BACK], False), ([at("03:00:00", "started")], False), ([LOST], True)])
def test_only_an_outage_gets_a_report(records: Records, worth: bool) -> None:  # noqa: FBT001
    """A supply that was noted to be there is none."""
    assert is_worth_a_report(records) is worth


fields = st.dictionaries(
    st.sampled_from(
        ["at", "n", "outage", "reason", "step", "state", "plan", "lost_at", "for_s", "how", "boot_id", "lines"]
    ),
    st.none() | st.integers() | st.floats() | st.text() | st.sampled_from(["running", "done", "drain x", "recovery"]),
)
kinds = st.sampled_from(["supply", "outage", "step", "undoing", "closed", "started", "damaged", "weather"])
records = st.lists(st.tuples(kinds, fields), max_size=8)


@given(records)
def test_any_records_make_a_report(found: list[tuple[str, dict[str, Any]]]) -> None:
    """A report that can't be made must not keep the journal from beginning anew."""
    story = [{"at": "2026-01-14T03:10:05.000Z", **more, "record": kind} for kind, more in found]
    report = make_report([LOST, *story], "iplug")
    json.dumps(report.document())
    assert markdown(report).startswith("# Outage of ")
    assert name_of([LOST, *story])


def test_durations_are_written_with_the_precision_that_is_of_use() -> None:
    """Tenths below ten seconds, seconds below ten minutes."""
    durations = [0.0, 0.24, 4.0, 9.96, 45.2, 60, 125, 600, 7199, 12000]
    assert [spoken(duration) for duration in durations] == (
        ["0 s", "0.2 s", "4 s", "10 s", "45 s", "1 min", "2 min 5 s", "10 min", "2 h 0 min", "3 h 20 min"]
    )


def test_a_cell_never_ends_its_row() -> None:
    """What a machine said stays where it belongs."""
    report = make_report(numbered([*SHUTDOWN, *RECOVERY]), "iplug")
    evil = replace(report, troubles=("x\n## y | z <img>",))
    assert "- x ## y \\| z &lt;img>" in markdown(evil).splitlines()


DRILL = [
    at("03:10:00", "shedding", outage=f"{NAME}-drill", reason="drill", workers="pi3", plan="drill"),
    step("03:10:01", "poweroff pi3", "running", plan="drill"),
    step("03:10:02", "poweroff pi3", "done", plan="drill", seconds=1.0),
    step("03:10:02", "confirm-off pi3", "running", plan="drill"),
    step("03:10:22", "confirm-off pi3", "done", plan="drill", seconds=20.0),
    at("03:10:22", "undoing", outage=f"{NAME}-drill", plan="abort"),
    step("03:10:23", "wait-host pi3", "running", plan="abort"),
    step("03:11:23", "wait-host pi3", "done", plan="abort", seconds=60.0, detail="answers, woken 1 times"),
    at("03:11:30", "closed", outage=f"{NAME}-drill", how="aborted"),
]


def test_a_drill_is_not_taken_for_an_outage() -> None:
    """Whoever reads of it later must not believe that the mains was away or that the rack was shut down."""
    report = make_report(numbered(DRILL), "iplug")
    assert (report.outage, report.ending, report.drilled) == (f"{NAME}-drill", Ending.DRILLED, "pi3")
    assert (report.mains_away_s, report.mains_back_at, report.troubles) == (0.0, None, ())
    (machine,) = report.machines
    assert (machine.machine, machine.down_s) == ("pi3", 61.0)
    text = markdown(report)
    assert text.startswith("# Drill of 14 January 2026, 03:10\n\n**One worker was powered off for real")
    assert "It was pi3, as somebody had asked for; iplug had mains all the time. Nothing went wrong." in text
    assert "utage" not in text
    assert "the drill of pi3 began" in text


def test_an_outage_that_began_in_a_drill_is_an_outage() -> None:
    """And its report tells of the drill, too."""
    report = make_report(numbered([*DRILL[:5], *SHUTDOWN, *RECOVERY]), "iplug")
    assert (report.outage, report.ending, report.drilled) == (NAME, Ending.RECOVERED, None)
    assert report.mains_away_s is not None
    assert "the drill of pi3 began" in markdown(report)


def test_one_node_that_is_ready_again_is_no_sign_of_another() -> None:
    """Each worker that was powered off by itself is waited for by itself."""
    others = [
        step("03:10:02", "drain pi4", "running", plan="shed"),
        step("03:10:03", "poweroff pi4", "running", plan="shed"),
        step("03:10:40", "wait-ready pi3", "running", plan="abort"),
        step("03:10:50", "wait-ready pi3", "done", plan="abort"),
    ]
    report = make_report(numbered([LOST, *others, BACK]), "iplug")
    assert [(machine.machine, machine.back_at) for machine in report.machines] == [("pi4", None)]
