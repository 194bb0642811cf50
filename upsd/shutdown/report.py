"""What was that outage, or that drill? The journal's records, once it is over, as one report; pure.

It is made from what was written down and from nothing else, so it says of a lost record that it is lost. Dates are
those of the records (ISO 8601, UTC); durations are seconds.
"""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from upsd.domain.plan import StepKind, StepState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from upsd.domain.power import Scalar
    from upsd.shutdown.records import Record

SCHEMA = 1
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", re.ASCII)
_LONGEST_LOSS_S = 30 * 24 * 3600.0
_NO_FIGURE = 1e12
_SHUTDOWN, _RECOVERY, _ABORT, _DRILL = "shutdown", "recovery", "abort", "drill"
_WELL = frozenset({StepState.DONE.value, StepState.FORCED.value})
_POWEROFFS = frozenset({StepKind.POWEROFF.value, StepKind.HOST_POWEROFF.value})
_SIGNS_OF_LIFE = ("wait-host", StepKind.WAIT_STORAGE.value, StepKind.WAIT_READY.value)


class Ending(enum.StrEnum):
    """How an outage ended for the rack."""

    OUTLASTED = "outlasted"
    """The mains was back before a shutdown began."""
    ABORTED = "aborted"
    RECOVERED = "recovered"
    DRILLED = "drilled"
    """It was none: a person had one worker powered off and brought back, with the mains there all the time."""


@dataclass(frozen=True, slots=True)
class StepAccount:
    """One step of one plan: its last try, and how many there were; `state` is `running` if no end was written."""

    plan: str
    step: str
    state: str
    began_at: str | None = None
    ended_at: str | None = None
    seconds: float | None = None
    expected_s: float | None = None
    detail: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class MachineAccount:
    """One machine that was told to power off.

    `off_at` is when it was seen off, and `off_by` by what, `None` if nobody saw it.
    """

    machine: str
    told_at: str
    off_at: str | None
    back_at: str | None
    down_s: float | None
    off_by: str | None = None


@dataclass(frozen=True, slots=True)
class BatteryAccount:
    """What was known of the battery at one moment; `None` is not known."""

    moment: str
    at: str
    runtime_s: float | None
    runtime_low_s: float | None
    voltage_v: float | None
    charge_percent: float | None


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline."""

    at: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """An outage from its beginning to its end, or a drill; `drilled` is the worker that a drill was of."""

    outage: str
    ups: str
    ending: Ending
    began_at: str
    ended_at: str
    mains_back_at: str | None
    mains_away_s: float | None
    reason: str | None
    shutdown_at: str | None
    shutdown_s: float | None
    shutdown_expected_s: float | None
    recovery_s: float | None
    machines: tuple[MachineAccount, ...]
    battery: tuple[BatteryAccount, ...]
    troubles: tuple[str, ...]
    steps: tuple[StepAccount, ...]
    timeline: tuple[Happening, ...]
    drilled: str | None = None

    def document(self) -> dict[str, object]:
        """As JSON values."""
        return {"schema": SCHEMA, **asdict(self)}


def is_name(text: str) -> bool:
    """Whether this can be the name of an outage; no other ever becomes the name of a file."""
    return _NAME.fullmatch(text) is not None


def name_of(records: Sequence[Record]) -> str:
    """The outage's own name, or the date of its first record."""
    begun = next((record for record in records if record["record"] == "outage"), None) or _drill(records)
    name = str(begun.get("outage")) if begun else ""
    return name if is_name(name) else re.sub(r"[^0-9TZ]", "", _date(records[0]).partition(".")[0]) + "Z"


def is_worth_a_report(records: Sequence[Record]) -> bool:
    """Whether the mains was away, or a plan ran."""
    return any(
        record["record"] in {"outage", "undoing", "step"} or (record["record"] == "supply" and _is_loss(record))
        for record in records
    )


def make_report(records: Sequence[Record], ups: str) -> Report:
    """The report of records that are worth one."""
    records = [record for record in records if _is_date(record.get("at"))]
    steps = _steps(records)
    drill = _drill(records)
    began_at, back_at = _began_at(records), None if drill else _mains_back_at(records)
    shutdown = next((record for record in records if record["record"] == "outage"), None)
    moments = [at for step in steps if step.plan == _SHUTDOWN for at in (step.began_at, step.ended_at) if at]
    shutdown_at = _date(shutdown) if shutdown else min(moments, default=None)
    recovered_at = [_date(record) for record in records if record["record"] == "undoing"]
    return Report(
        outage=name_of(records),
        ups=ups,
        ending=Ending.DRILLED if drill else _ending(records),
        began_at=began_at,
        ended_at=_date(records[-1]),
        mains_back_at=back_at,
        mains_away_s=0.0 if drill else _between(began_at, back_at),
        reason=str(shutdown["reason"]) if shutdown and shutdown.get("reason") else None,
        shutdown_at=shutdown_at,
        shutdown_s=_between(shutdown_at, max(moments, default=None)),
        shutdown_expected_s=_number(shutdown, "expected_s") if shutdown else None,
        recovery_s=_between(recovered_at[-1] if recovered_at else None, _date(records[-1])),
        machines=tuple(_machines(records, steps)),
        battery=tuple(_battery(records)),
        troubles=tuple(_troubles(records, steps)),
        steps=tuple(steps),
        timeline=tuple(_timeline(records)),
        drilled=str(drill.get("workers")) if drill else None,
    )


def _drill(records: Iterable[Record]) -> Record | None:
    """How the drill began, if they tell of one that no outage has ended."""
    found: Record | None = None
    for record in records:
        if record["record"] == "outage" or (record["record"] == "supply" and _is_loss(record)):
            return None
        if found is None and _begins_drill(record):
            found = record
    return found


def _begins_drill(record: Record) -> bool:
    return record["record"] == "shedding" and record.get("plan") == _DRILL


def _ending(records: Sequence[Record]) -> Ending:
    ends = [record for record in records if record["record"] == "closed"]
    if ends:
        return Ending.RECOVERED if any(end.get("how") == "recovered" for end in ends) else Ending.ABORTED
    return Ending.OUTLASTED


def _began_at(records: Sequence[Record]) -> str:
    """When the mains went: that was noted when it was confirmed, with how long ago it had been."""
    loss = next((record for record in records if record["record"] == "supply" and _is_loss(record)), None)
    return _date(records[0]) if loss is None else _lost_at(loss)


def _lost_at(loss: Record) -> str:
    ago = timedelta(seconds=min(_number(loss, "for_s") or 0.0, _LONGEST_LOSS_S))
    return (datetime.fromisoformat(_date(loss)) - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _mains_back_at(records: Sequence[Record]) -> str | None:
    """When it was seen back for good, or by when it must have been."""
    back: str | None = None
    for record in records:
        if record["record"] == "supply":
            back = None if _is_loss(record) else _date(record)
        elif record["record"] == "undoing" and back is None:
            back = _date(record)
    return back


def _steps(records: Iterable[Record]) -> list[StepAccount]:
    """The steps in the order in which they first began."""
    found: dict[tuple[str, str], StepAccount] = {}
    for record in records:
        if record["record"] != "step" or not record.get("step"):
            continue
        plan, step, at = str(record.get("plan") or _SHUTDOWN), str(record["step"]), _date(record)
        before = found.get((plan, step)) or StepAccount(plan, step, "")
        state = str(record.get("state"))
        if state == StepState.RUNNING.value:
            expected_s = _number(record, "expected_s")
            now = StepAccount(plan, step, state, began_at=at, expected_s=expected_s, tries=before.tries + 1)
        else:
            seconds = _number(record, "seconds")
            seconds = _between(before.began_at, at) if seconds is None else seconds
            detail = str(record.get("detail") or "")
            now = replace(before, state=state, ended_at=at, seconds=seconds, detail=detail)
        found[plan, step] = now
    return list(found.values())


def _machines(records: Sequence[Record], steps: Sequence[StepAccount]) -> Iterable[MachineAccount]:
    nodes = {_target(step.step) for step in steps if _kind(step.step) == StepKind.DRAIN.value}
    booted_at = next((_date(record) for record in _starts(records, anew=True)), None)
    for step in steps:
        kind, machine = _kind(step.step), _target(step.step)
        if kind not in _POWEROFFS or step.began_at is None:
            continue
        seen = next((s for s in steps if s.step == f"{StepKind.CONFIRM_OFF} {machine}" and s.state in _WELL), None)
        off_at, off_by = (seen.ended_at, seen.detail or None) if seen else (None, None)
        back_at = booted_at if kind == StepKind.HOST_POWEROFF.value else _back_at(machine, steps, nodes)
        down_s = _between(off_at or step.began_at, back_at)
        yield MachineAccount(machine, step.began_at, off_at, back_at, down_s, off_by)


def _back_at(machine: str, steps: Sequence[StepAccount], nodes: set[str]) -> str | None:
    """The first step of the way back that has seen the machine: itself, or as one of all nodes."""
    seen = (
        step.ended_at
        for kind in _SIGNS_OF_LIFE
        for step in steps
        if step.plan in {_RECOVERY, _ABORT} and _kind(step.step) == kind and step.state in _WELL
        if _target(step.step) == machine or (step.step == StepKind.WAIT_READY.value and machine in nodes)
    )
    return next(seen, None)


def _battery(records: Sequence[Record]) -> Iterable[BatteryAccount]:
    moments: dict[str, Record] = {}
    for record in records:
        kind = record["record"]
        if kind == "supply" and _is_loss(record):
            moments.setdefault("the mains was lost", record)
        elif kind == "supply" and moments:
            moments["the mains was back"] = record
        elif kind == "outage":
            moments.setdefault("the shutdown began", record)
        elif kind == "step" and record.get("plan", _SHUTDOWN) == _SHUTDOWN:
            moments["the shutdown's last step"] = record
        elif kind == "undoing":
            moments.setdefault("the way back began", record)
    for moment, record in moments.items():
        runtime_s, low_s = _number(record, "runtime_s"), _number(record, "runtime_low_s")
        voltage_v, charge = _number(record, "battery_voltage"), _number(record, "battery_charge")
        if (runtime_s, voltage_v, charge) != (None, None, None):
            yield BatteryAccount(moment, _date(record), runtime_s, low_s, voltage_v, charge)


def _troubles(records: Sequence[Record], steps: Sequence[StepAccount]) -> Iterable[str]:
    for step in steps:
        why = f": {step.detail}" if step.detail else ""
        name = step.step if step.plan == _SHUTDOWN else f"{step.step} ({step.plan})"
        if step.state == StepState.RUNNING.value and _kind(step.step) != StepKind.HOST_POWEROFF.value:
            yield f"{name} was begun, and how it ended was not written down"
        elif step.state not in {StepState.DONE.value, StepState.RUNNING.value}:
            yield f"{name} {_OUTCOMES.get(step.state, step.state)}{why}"
    restarts = len(list(_starts(records, anew=False)))
    if restarts:
        yield f"upsd was started again {restarts if restarts > 1 else 'once'}{' times' if restarts > 1 else ''}"
    damaged = sum(int(_number(record, "lines") or 0) for record in records if record["record"] == "damaged")
    if damaged:
        yield f"the journal was damaged: {damaged} lines of it could not be read"
    numbers = sorted({int(record["n"] or 0) for record in records if isinstance(record.get("n"), int)})
    missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if missing:
        yield f"the journal is not complete: {missing} records are missing"


_OUTCOMES: Mapping[str, str] = {
    StepState.FORCED.value: "was done by force",
    StepState.FAILED.value: "failed",
    StepState.TIMED_OUT.value: "ran out of time",
    StepState.LEFT_OUT.value: "was left out",
    StepState.CANCELLED.value: "was called off",
}


def _timeline(records: Sequence[Record]) -> Iterable[Happening]:
    committed, away, anew = False, False, [id(record) for record in _starts(records, anew=True)]
    drilled = _drill(records) is not None
    for record in records:
        at, kind = _date(record), record["record"]
        if kind == "supply" and away is not _is_loss(record):  # each run of the daemon notes the loss for itself
            away = _is_loss(record)
            yield Happening(_lost_at(record), "the mains went") if away else Happening(at, "the mains was back")
        elif kind == "outage":
            yield Happening(at, f"the shutdown began: {record.get('reason')}")
        elif _begins_drill(record):
            yield Happening(at, f"the drill of {record.get('workers')} began")
        elif kind == "started":
            yield Happening(at, "the master had booted" if id(record) in anew else "upsd was started again")
        elif kind == "undoing":
            yield Happening(at, "the recovery began" if record.get("plan") == _RECOVERY else "the undoing began")
        elif kind == "closed":
            yield Happening(at, "the drill was over" if drilled else f"the outage was over: {record.get('how')}")
        elif kind == "step" and record.get("state") == StepState.RUNNING.value:
            if record.get("commits") and not committed:
                committed = True
                yield Happening(at, f"point of no return: {record.get('step')} began")
            elif _kind(str(record.get("step"))) == StepKind.HOST_POWEROFF.value:
                yield Happening(at, f"{record.get('step')} began")
        elif kind == "step":
            yield Happening(at, _ended(record))


def _ended(record: Record) -> str:
    state, detail = str(record.get("state")), record.get("detail")
    outcome = "" if state == StepState.DONE.value else f" {_OUTCOMES.get(state, state)}"
    return f"{record.get('step')}{outcome}: {detail}" if detail else f"{record.get('step')}{outcome or ' done'}"


def _starts(records: Sequence[Record], *, anew: bool) -> Iterable[Record]:
    """The starts of the daemon, after a boot of the machine or in the same one."""
    boot: Scalar = None
    for record in records:
        boots = boot is not None and record.get("boot_id", boot) != boot
        if record["record"] == "started" and boots is anew:
            yield record
        boot = record.get("boot_id", boot)


def _kind(step: str) -> str:
    return step.partition(" ")[0]


def _target(step: str) -> str:
    return step.partition(" ")[2]


def _is_loss(record: Record) -> bool:
    return record.get("lost_at") is not None


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _NO_FIGURE else None


def _date(record: Record) -> str:
    return str(record.get("at"))


def _is_date(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


def _between(began: str | None, ended: str | None) -> float | None:
    if began is None or ended is None:
        return None
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return max(0.0, round(seconds, 1))
