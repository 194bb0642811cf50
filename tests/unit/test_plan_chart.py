"""What `upsctl plan` draws: in the width of the terminal, and with what its encoding has."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_budget import REFERENCE, plans
from tests.unit.test_plan_document import told
from upsd.ctl.plan_chart import chart, signs
from upsd.ctl.time_axis import TimeAxis, clock
from upsd.ctl.words import painter
from upsd.shutdown.durations import learned, observe

if TYPE_CHECKING:
    from upsd.domain.plan import Plan

BOXES, PLAIN = signs("utf-8"), signs("ascii")
WIDTHS = pytest.mark.parametrize("width", [80, 120])
BARS = "█▒#="


def drawn(low_s: float | None = 1440.0, *, width: int = 80, with_: str = BOXES, plan: Plan = REFERENCE) -> list[str]:
    """The chart without colours."""
    return chart(told(low_s, plan), width=width, drawn_with=with_, paint=painter(coloured=False))


def row(lines: list[str], step: str) -> str:
    """The row of a step."""
    (found,) = (line for line in lines if line[2:].startswith(f"{step} "))
    return found


def bar(line: str) -> tuple[int, int]:
    """Where a row's bar begins and ends."""
    found = re.search(f"[{BARS}]+", line)
    assert found
    return found.span()


@WIDTHS
@pytest.mark.parametrize("low_s", [None, 30.0, 70.0, 150.0, 300.0, 1440.0, 40_000.0])
@pytest.mark.parametrize("with_", [BOXES, PLAIN])
def test_the_chart_keeps_to_the_terminal_and_names_every_step(width: int, low_s: float | None, with_: str) -> None:
    """Whatever the battery holds; and a terminal without box characters gets none."""
    lines = drawn(low_s, width=width, with_=with_)
    assert max(map(len, lines)) <= width
    assert all(row(lines, step.id) for step in REFERENCE.steps)
    assert "".join(lines).isascii() == (with_ is PLAIN)


@WIDTHS
def test_a_step_is_drawn_after_what_it_needs(width: int) -> None:
    """A person sees the order at a glance."""
    lines = drawn(width=width)
    for before, after in (("cordon", "drain pi3"), ("drain pi3", "poweroff pi3"), ("flush nas", "poweroff nas")):
        assert bar(row(lines, before))[0] <= bar(row(lines, after))[0]
        assert lines.index(row(lines, before)) < lines.index(row(lines, after))
    assert bar(row(lines, "drain pi3"))[1] <= bar(row(lines, "poweroff pi3"))[0] + 1


@WIDTHS
def test_each_step_has_its_latest_finish_between_its_bar_and_the_reserve(width: int) -> None:
    """All slack that it may use is a dotted line up to there, and the last step ends where the reserve begins."""
    lines = drawn(width=width)
    marks = [row(lines, step.id).index("◆") for step in REFERENCE.steps]
    reserve = row(lines, "announce").index("┊")
    assert [row(lines, "announce").index("│")] == [width - 1]
    assert marks[-1] == reserve == max(marks)
    assert all(bar(row(lines, step.id))[1] <= mark for step, mark in zip(REFERENCE.steps, marks, strict=True))
    assert "··" in row(lines, "drain pi3")


def test_a_step_that_would_be_cut_short_ends_beyond_its_mark() -> None:
    """A battery that carries the plan only by force shows where it is short."""
    line = row(drawn(150.0), "drain pi3")
    assert re.search("▒◆▒", line)
    assert "fits only by force" in " ".join(drawn(150.0))


def test_the_point_of_no_return_is_a_line_above_the_first_step_that_passes_it() -> None:
    """Everything above it can be undone."""
    lines = drawn()
    (line,) = (number for number, line in enumerate(lines) if "point of no return" in line)
    assert lines[line + 1][2:].startswith("poweroff ")
    assert not any(line[2:].startswith("poweroff ") for line in lines[:line])


@pytest.mark.parametrize("coloured", [False, True])
def test_the_longest_chain_stands_out_with_and_without_colours(*, coloured: bool) -> None:
    """One of the workers, not all of them, though all take as long."""
    lines = chart(told(), width=80, drawn_with=BOXES, paint=painter(coloured=coloured))
    chosen = [line.partition("▸ ")[2] for line in lines[:-8] if "▸ " in line]
    assert [name.split()[0] for name in chosen[:4]] == ["announce", "cordon", "drain", "poweroff"]
    assert sum(name.startswith("drain") for name in chosen) == 1
    assert any("\x1b[1m" in line for line in lines) is coloured


def test_what_is_measured_is_told_from_what_is_set() -> None:
    """A tilde for a setting; and the text says how much is measured, and since when."""
    measured = learned(REFERENCE, observe({}, "drain pi3", 90.0, on="2026-11-20"))
    lines = drawn(plan=measured)
    assert "~" not in row(lines, "drain pi3")
    assert "2:15" in row(lines, "drain pi3")
    assert "~1:00" in row(lines, "drain pi4-a")
    text = " ".join(lines)
    assert "1 of its 22 steps are measured, in 1 or more runs each, the last no earlier than 2026-11-20." in text
    assert "None of its steps was measured yet" in " ".join(drawn())


def test_the_text_says_whether_it_fits() -> None:
    """In words, for whoever is read the screen over the telephone."""

    def said(low_s: float | None) -> str:
        return " ".join(drawn(low_s))

    assert "It fits, with 19 min to spare; the latest safe start is in 18 min." in said(1440.0)
    assert "it would start at once" in said(300.0)
    assert "Left out would be: announce (nobody is told beforehand); drain" in said(72.0)
    assert "not known before the first reading" in said(None)


def test_a_wide_terminal_gets_the_figures_too() -> None:
    """Forced and latest in minutes and seconds."""
    assert drawn(width=120)[0].split()[:4] == ["step", "usual", "forced", "latest"]
    assert row(drawn(width=120), "host-poweroff k3s-master").split()[3:6] == ["~0:40", "0:40", "23:00"]


def test_a_long_name_leaves_the_chart_its_room() -> None:
    """A host called by its whole domain name is cut, and the bar is not."""
    steps = tuple(replace(step, id=f"{step.id}.rack.example.internal.example.org") for step in REFERENCE.steps[:1])
    document = told(plan=replace(REFERENCE, steps=steps))
    lines = chart(document, width=80, drawn_with=PLAIN, paint=painter(coloured=False))
    assert max(map(len, lines)) <= 80
    assert ".. " in lines[2]
    assert "#" in lines[2]


def test_a_name_can_not_drive_the_terminal() -> None:
    """Whatever the daemon says."""
    document: dict[str, Any] = told()
    document["steps"][3]["id"] = "drain \x1b]0;owned\x07"
    assert not any(
        "\x1b" in line for line in chart(document, width=80, drawn_with=BOXES, paint=painter(coloured=False))
    )


@given(plans(), st.none() | st.floats(0, 1e6), st.integers(20, 400))
def test_every_plan_can_be_drawn(plan: Plan, low_s: float | None, width: int) -> None:
    """Nothing that a daemon may say makes the drawing fail or run over."""
    lines = drawn(low_s, width=width, with_=PLAIN, plan=plan)
    assert max(map(len, lines)) <= max(60, width)


@given(st.integers(20, 160), st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_later_is_never_further_left(columns: int, usual_s: float, first_s: float, more_s: float) -> None:
    """With a break in the axis or without."""
    spans = [(0.0, usual_s), (usual_s + first_s, usual_s + first_s + more_s)]
    axis = TimeAxis(columns, spans)
    total_s = spans[1][1]
    found = [axis.column(total_s * part / 50) for part in range(51)]
    assert all(before <= after for before, after in pairwise(found))
    assert all(0 <= column < columns for column in found)
    assert all(0 <= column < columns for column, _ in axis.ticks())


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3600, "60:00"), (-3, "0:00")])
def test_a_clock_shows_minutes_and_seconds(seconds: float, text: str) -> None:
    """Also beyond an hour, as on a stopwatch."""
    assert clock(seconds) == text
