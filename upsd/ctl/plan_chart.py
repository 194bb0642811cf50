"""What does `upsctl plan` draw? A row for each step: when it runs, and until when it may, against the battery."""

from __future__ import annotations

import itertools
import textwrap

from upsd.ctl.time_axis import BREAK_WIDTH, TimeAxis, clock
from upsd.ctl.words import duration, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Paint = Callable[[str, str], str]
    Cell = tuple[str, str]  # a character and its colour

NARROWEST, WIDEST = 60, 160
_ROOMY = 100
_SHORTEST_NAME, _LONGEST_NAME = 8, 26
_NUMBER_WIDTH = 7

# must, usual, slack, latest finish, end of what may be used, end of the battery, break, line, tick, critical
_LINES = "█▒·◆┊│≈─┬▸"
_ASCII = "#=.X:|~-+>"


def signs(encoding: str | None) -> str:
    """The characters to draw with: lines and blocks where the terminal's encoding has them."""
    try:
        _LINES.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _LINES


def chart(plan: dict[str, Any], *, width: int, drawn_with: str, paint: Paint) -> list[str]:
    """The plan as lines of at most `width` columns."""
    return [*_Chart(plan, min(WIDEST, max(NARROWEST, width)), drawn_with, paint).lines()]


class _Chart:
    """One drawing; the plan is what the daemon answers."""

    def __init__(self, plan: dict[str, Any], width: int, drawn_with: str, paint: Paint) -> None:
        self._plan, self._battery, self._width, self._paint = plan, plan["battery"], width, paint
        self._steps = sorted(plan["steps"], key=lambda step: float(step["earliest_start_s"]))
        self._numbers = ["usual", "forced", "latest"] if width >= _ROOMY else ["usual"]
        longest = max([len(step["id"]) for step in self._steps] + [_SHORTEST_NAME])
        self._name_width = min(longest, _LONGEST_NAME if width < _ROOMY else width // 3) + 2
        self._left = self._name_width + _NUMBER_WIDTH * len(self._numbers) + 2
        self._axis = TimeAxis(width - self._left, self._spans())
        must, usual, slack, latest, end, empty, gap, line, tick, critical = tuple(drawn_with)
        self._must, self._usual, self._slack, self._latest = must, usual, slack, latest
        self._end, self._empty, self._gap, self._line, self._tick, self._critical = (
            end,
            empty,
            gap,
            line,
            tick,
            critical,
        )

    def lines(self) -> Iterator[str]:
        """Everything, top to bottom."""
        yield from self._header()
        committed = False
        for step in self._steps:
            if step["commits"] and not committed:
                committed = True
                yield self._point_of_no_return()
            yield self._row(step)
        yield ""
        yield from self._legend()
        yield ""
        for sentence in _sentences(self._plan):
            yield from textwrap.wrap(sentence, self._width)
        if self._plan["shedding"]:
            yield from ("", "Before it, so that the battery lasts longer for the rest:")
        for sentence in self._plan["shedding"]:
            yield from textwrap.wrap(plain(sentence), self._width, initial_indent="  ", subsequent_indent="    ")

    def _spans(self) -> list[tuple[float, float]]:
        usual_s = float(self._plan["expected_s"])
        if self._battery is None:
            return [(0.0, usual_s)]
        low_s = float(self._battery["low_s"])
        first_s = min((float(step["latest_finish_s"]) for step in self._steps), default=low_s)
        if first_s <= usual_s:
            return [(0.0, max(usual_s, low_s))]
        return [(0.0, usual_s), (first_s, low_s)]

    def _header(self) -> Iterator[str]:
        labels, rule = " " * self._axis.columns, [self._line] * self._axis.columns
        for column, label in self._axis.ticks():
            rule[column] = self._tick
            start = min(column, self._axis.columns - len(label))
            if not labels[max(0, start - 1) : start + len(label)].strip():
                labels = labels[:start] + label + labels[start + len(label) :]
        if (at := self._axis.break_at) is not None:
            rule[at : at + BREAK_WIDTH] = f" {self._gap} "
        names = f"{'step':<{self._name_width}}" + "".join(f"{name:>{_NUMBER_WIDTH}}" for name in self._numbers)
        yield f"{names}  {labels}".rstrip()
        yield " " * self._left + "".join(rule)

    def _row(self, step: dict[str, Any]) -> str:
        sign = f"{self._critical} " if step["critical"] else "  "
        name = f"{_shortened(sign + plain(step['id']), self._name_width):<{self._name_width}}"
        usual = clock(step["expected_s"])
        texts = [usual if step["measured"] else f"~{usual}", clock(step["minimum_s"])]
        texts.append("" if step["latest_finish_s"] is None else clock(step["latest_finish_s"]))
        numbers = "".join(f"{text:>{_NUMBER_WIDTH}}" for text in texts[: len(self._numbers)])
        bold = self._paint(name, "bold") if step["critical"] else name
        return f"{bold}{numbers}  {self._painted(self._cells(step))}".rstrip()

    def _cells(self, step: dict[str, Any]) -> list[Cell]:
        cells = self._background()
        column = self._axis.column
        start, finish = column(step["earliest_start_s"]), column(step["earliest_finish_s"])
        finish = min(max(finish, start + 1), self._axis.columns)
        must = max(column(step["earliest_start_s"] + step["minimum_s"]), start + 1)
        late = step["latest_finish_s"] is not None and step["earliest_finish_s"] > step["latest_finish_s"]
        colour = "red" if late else "yellow" if step["critical"] else ""
        for at in range(start, finish):
            cells[at] = (self._must if at < must else self._usual, colour)
        if step["latest_finish_s"] is None:
            return cells
        latest = column(step["latest_finish_s"])
        for at in range(finish, latest):
            if cells[at][0] == " ":
                cells[at] = (self._slack, "")
        cells[latest] = (self._latest, "red" if late else "green")
        return cells

    def _background(self) -> list[Cell]:
        cells: list[Cell] = [(" ", "")] * self._axis.columns
        if self._battery is not None:
            cells[self._axis.column(self._battery["end_s"])] = (self._end, "")
            cells[self._axis.column(self._battery["low_s"])] = (self._empty, "red")
        if (at := self._axis.break_at) is not None:
            cells[at + 1] = (self._gap, "")
        return cells

    def _painted(self, cells: list[Cell]) -> str:
        runs = itertools.groupby(cells, key=lambda cell: cell[1])
        texts = (("".join(letter for letter, _ in run), colour) for colour, run in runs)
        return "".join(self._paint(text, colour) if colour else text for text, colour in texts)

    def _point_of_no_return(self) -> str:
        text = f"{self._line * 2} point of no return: before it, everything can be undone "
        return self._paint(text + self._line * (self._width - len(text)), "bold")

    def _legend(self) -> Iterator[str]:
        entries = [f"{self._must} what it needs", f"{self._usual} usual time, given up when forced"]
        entries.append(f"{self._critical} longest chain")
        if self._battery is not None:
            entries += [f"{self._slack} slack", f"{self._latest} latest finish", f"{self._end} the reserve begins"]
            entries.append(f"{self._empty} the battery's end")
        if any(not step["measured"] for step in self._steps):
            entries.append("~ a setting, not measured")
        yield from _wrapped(entries, self._width)


def _wrapped(entries: list[str], width: int) -> Iterator[str]:
    line = ""
    for entry in entries:
        if line and len(line) + 3 + len(entry) > width:
            yield line
            line = ""
        line += ("   " if line else "") + entry
    yield line


def _sentences(plan: dict[str, Any]) -> Iterator[str]:
    usual, forced = duration(plan["expected_s"]), duration(plan["minimum_s"])
    yield f"The plan needs {usual}, and {forced} with every step forced. {_based_on(plan['measured'])}"
    battery = plan["battery"]
    if battery is None:
        yield "How it stands to the battery is not known before the first reading."
        return
    yield (
        f"If the mains went now, the battery would last {duration(battery['low_s'])} at least, of which"
        f" {duration(battery['reserve_s'])} are kept in reserve. {_fit(battery)}"
    )


def _based_on(measured: dict[str, Any]) -> str:
    if not measured["steps"]:
        return "None of its steps was measured yet: these are the settings' times."
    return (
        f"{measured['steps']} of its {measured['of']} steps are measured, in {measured['fewest_runs']} or more runs"
        f" each, the last no earlier than {measured['oldest_on']}."
    )


def _fit(battery: dict[str, Any]) -> str:
    if battery["fits"] == "usual":
        room = f"It fits, with {duration(battery['slack_s'])} to spare"
        if battery["latest_start_s"] <= 0:
            return f"{room}, which is less than the margin of {duration(battery['margin_s'])}: it would start at once."
        return f"{room}; the latest safe start is in {duration(battery['latest_start_s'])}."
    if battery["fits"] == "forced":
        return "It fits only by force: it would start at once, and steps would be cut short."
    lost = "; ".join(f"{plain(kind)} ({plain(what)})" for kind, what in battery["left_out"].items())
    return f"It does not fit, not even by force. Left out would be: {lost}."


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."
