"""How is the report of an outage, or of a drill, read? As Markdown, the short answer first; pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from upsd.domain.duration import spoken
from upsd.shutdown.report import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from upsd.shutdown.report import Report, StepAccount

_ENDINGS = {
    Ending.OUTLASTED: "The rack worked on: no shutdown was needed.",
    Ending.ABORTED: "A shutdown had begun; the mains came back in time, and what was done was undone.",
    Ending.RECOVERED: "The rack was shut down, and brought back.",
    Ending.DRILLED: "One worker was powered off for real, to be brought back at once.",
}
_REASONS = {
    "latest-safe-start": "it was the latest safe moment",
    "on-battery": "it had been on battery for as long as the settings allow",
    "charge": "the charge was as low as the settings allow",
    "runtime": "the runtime was as low as the settings allow",
    "communication-lost": "the UPS did not answer any more",
    "shutdown-imminent": "the UPS was about to switch off",
    "battery-low": "the UPS said that its battery was low",
}
_WAY_BACK = {Ending.RECOVERED: "Recovery took", Ending.DRILLED: "Bringing it back took"}
_NOT_KNOWN = "-"
_NOT_SEEN = "not seen"


def markdown(report: Report) -> str:
    """The whole report."""
    began = _moment(report.began_at)
    parts = [
        f"# {'Drill' if report.drilled else 'Outage'} of {began.day} {began:%B %Y}, {began:%H:%M}",
        f"**{_ENDINGS[report.ending]}** {_mains(report)} {_verdict(report)}",
        _table(("", ""), _summary(report)),
        "## What went wrong",
        "\n".join(f"- {_cell(trouble)}" for trouble in report.troubles) or "Nothing.",
    ]
    if report.machines:
        parts += [
            "## Who was down",
            _table(("machine", "told to go off", "seen off", "by", "back", "down"), _down(report)),
        ]
    if report.battery:
        header = ("moment", "at", "runtime", "at least", "voltage", "charge")
        parts += ["## Battery", "Runtimes are for the load of the moment.", _table(header, _battery(report))]
    happenings = ((_clock(happening.at, report), _cell(happening.what)) for happening in report.timeline)
    parts += ["## What happened", _table(("at (UTC)", "what"), happenings)]
    if report.steps:
        parts += ["## How long it took", _table(("step", "took", "expected", "how"), _steps(report.steps))]
    return "\n\n".join(parts) + "\n"


def _mains(report: Report) -> str:
    if report.drilled:
        return f"It was {_cell(report.drilled)}, as somebody had asked for; {report.ups} had mains all the time."
    if report.mains_away_s is None:
        return f"{report.ups} was without mains from {_clock(report.began_at, report)}."
    return f"{report.ups} was without mains for {spoken(report.mains_away_s)}."


def _verdict(report: Report) -> str:
    count = len(report.troubles)
    if count == 0:
        return "Nothing went wrong."
    return "One thing went wrong." if count == 1 else f"{count} things went wrong."


def _summary(report: Report) -> Iterable[tuple[str, ...]]:
    back = _NOT_SEEN if report.mains_back_at is None else _clock(report.mains_back_at, report)
    if report.drilled:
        yield "Drill", f"{_clock(report.began_at, report)} to {_clock(report.ended_at, report)} UTC"
    else:
        yield "Mains away", f"{_clock(report.began_at, report)} to {back} UTC"
    if report.reason:
        after = _seconds_between(report.began_at, report.shutdown_at)
        waited = f", {spoken(after)} after the mains went" if after is not None else ""
        yield "Shutdown began", f"because {_REASONS.get(report.reason, _cell(report.reason))}{waited}"
    if report.shutdown_s is not None:
        expected = report.shutdown_expected_s
        yield "Shutdown took", spoken(report.shutdown_s) + (f" of {spoken(expected)} expected" if expected else "")
    if report.recovery_s is not None:
        yield _WAY_BACK.get(report.ending, "Undoing took"), spoken(report.recovery_s)
    yield "Name", f"`{report.outage}`"


def _down(report: Report) -> Iterable[tuple[str, ...]]:
    for machine in report.machines:
        off = _NOT_SEEN if machine.off_at is None else _clock(machine.off_at, report)
        back = _NOT_SEEN if machine.back_at is None else _clock(machine.back_at, report)
        down = _NOT_KNOWN if machine.down_s is None else spoken(machine.down_s)
        by = _NOT_KNOWN if machine.off_by is None else _cell(machine.off_by)
        yield machine.machine, _clock(machine.told_at, report), off, by, back, down


def _battery(report: Report) -> Iterable[tuple[str, ...]]:
    for point in report.battery:
        yield (
            point.moment,
            _clock(point.at, report),
            _NOT_KNOWN if point.runtime_s is None else spoken(point.runtime_s),
            _NOT_KNOWN if point.runtime_low_s is None else spoken(point.runtime_low_s),
            _NOT_KNOWN if point.voltage_v is None else f"{point.voltage_v:g} V",
            _NOT_KNOWN if point.charge_percent is None else f"{point.charge_percent:g} %",
        )


def _steps(steps: Sequence[StepAccount]) -> Iterable[tuple[str, ...]]:
    several = len({step.plan for step in steps}) > 1
    for step in steps:
        name = f"{step.step} ({step.plan})" if several and step.plan != "shutdown" else step.step
        took = _NOT_KNOWN if step.seconds is None else spoken(step.seconds)
        expected = _NOT_KNOWN if step.expected_s is None else spoken(step.expected_s)
        tries = f", {step.tries} tries" if step.tries > 1 else ""
        how = "begun" if step.state == "running" else step.state.replace("-", " ")
        yield name, took, expected, how + tries


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that can be read as it stands, too: each column as wide as its widest cell."""
    cells = [list(header), *map(list, rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """What a machine said, on one line and without a sign that Markdown would take for its own."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _clock(at: str, report: Report) -> str:
    """The time of day, and the day too if it is not the first one."""
    moment, began = _moment(at), _moment(report.began_at)
    return f"{moment:%H:%M:%S}" if moment.date() == began.date() else f"{moment:%d %b %H:%M:%S}"


def _seconds_between(began: str, ended: str | None) -> float | None:
    return None if ended is None else max(0.0, (_moment(ended) - _moment(began)).total_seconds())


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
