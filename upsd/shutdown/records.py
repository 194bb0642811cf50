"""What do the journal's records say? Lines in, what is unfinished out; pure, and never in error.

A line is one JSON object with `record` (its kind) and `n` (its number, so that records that could only be kept
elsewhere find their place again). Kinds and fields that this version does not know are left alone. Each record of a
step says by itself to which outage it belongs: one lost line costs no more than itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from upsd.shutdown import workloads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from upsd.domain.power import Scalar

    Record = Mapping[str, Scalar]

UNKNOWN = "unknown"
_UNDOING = frozenset({"abort", "recovery"})
_SHEDDING = frozenset({"shed", "drill"})


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An outage that the journal does not show closed.

    All are step ids: `began` is what has begun and is not undone yet, `tried` what has begun since the shutdown began
    the last time, and `ended` what of that has ended with success; `called_off` is whether its undoing has
    begun, `workloads` what ran before the first cordon, and `shed` the workers that were to go off early. With
    `only_shed` no shutdown has begun yet. `mounts` are the places besides where the NAS was mounted, and `on_nas` the
    pods (`namespace/name`, several with commas) that still used it when the drain of their node ended, by the node.
    """

    outage: str
    reason: str
    boot_id: str
    committed: bool = False
    called_off: bool = False
    began: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()
    workloads: Mapping[str, int] | None = None
    shed: frozenset[str] = frozenset()
    only_shed: bool = False
    mounts: frozenset[str] = frozenset()
    on_nas: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal held: its intact lines in order, how many were not, and whether its last one was only torn."""

    lines: tuple[str, ...] = ()
    damaged: int = 0
    torn: bool = False


def gather(main: Iterable[bytes], spare: Iterable[bytes] = ()) -> Contents:
    """The intact lines of a journal and of its spare, each record once and in its place.

    A last line without its end is what a kill leaves; anything else that is no record is damage.
    """
    lines, damaged, torn = _intact(main)
    known = set(lines)
    for line in _intact(spare)[0]:
        if line not in known:
            number = _number(line)
            place = next((index for index, other in enumerate(lines) if _number(other) > number), len(lines))
            lines.insert(place, line)
    return Contents(tuple(dict.fromkeys(lines)), damaged, torn)


def next_number(lines: Iterable[str]) -> int:
    """The number of the record after these."""
    return 1 + max(map(_number, lines), default=-1)


def records_in(lines: Iterable[str]) -> list[Record]:
    """The records themselves."""
    return [record for line in lines if (record := _record(line)) is not None]


def replay(lines: Iterable[str]) -> Unfinished | None:
    """The outage that the records leave unfinished, if there is one."""
    outage: Unfinished | None = None
    for record in records_in(lines):
        try:
            outage = _replay_one(outage, record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # what it should say is not there
    return outage


def replay_lost_at(lines: Iterable[str], boot_id: str) -> float | None:
    """Since when the mains is away, as far as this boot has written down (its loop time); `None` while it is there."""
    lost_at: Scalar = None
    for record in records_in(lines):
        if record["record"] == "supply" and "lost_at" in record:
            lost_at = record["lost_at"] if record.get("boot_id") == boot_id else None
    return lost_at if isinstance(lost_at, float | int) and not isinstance(lost_at, bool) else None


def is_over(lines: Sequence[str], boot_id: str) -> bool:
    """Whether nothing that the records tell of goes on: no outage is unfinished, and the mains is there."""
    return replay(lines) is None and replay_lost_at(lines, boot_id) is None


def _replay_one(outage: Unfinished | None, record: Mapping[str, Scalar]) -> Unfinished | None:
    match record["record"]:
        case "outage":
            return _following(outage, _opened(record))
        case "shedding":
            opened = _following(outage, replace(_opened(record), only_shed=True))
            return replace(opened, shed=opened.shed.union(str(record["workers"]).split(", ")))
        case "closed":
            return None
        case "undoing" if outage:
            return _undoing(outage)
        case "workloads" if outage:
            return replace(outage, workloads=workloads.from_text(str(record["pods"])))
        case "mounts" if outage:
            return replace(outage, mounts=frozenset(map(str, json.loads(str(record["others"])))))
        case "step":
            return _replay_step(outage, record)
    return outage


def _opened(record: Mapping[str, Scalar]) -> Unfinished:
    return Unfinished(str(record["outage"]), str(record["reason"]), str(record["boot_id"]))


def _following(before: Unfinished | None, opened: Unfinished) -> Unfinished:
    """The outage with what the one before it began and nobody has undone yet.

    What shedding has done in this boot is done for the shutdown that takes over, too.
    """
    if before is None:
        return opened
    done = before.only_shed and before.boot_id == opened.boot_id
    return replace(
        opened,
        began=before.began,
        ended=before.ended if done else frozenset(),
        tried=before.tried if done else frozenset(),
        workloads=before.workloads,
        shed=before.shed,
        mounts=before.mounts,
        on_nas=before.on_nas if done else {},
    )


def _replay_step(outage: Unfinished | None, record: Mapping[str, Scalar]) -> Unfinished | None:
    step, state = str(record["step"]), record["state"]
    undoes, sheds = record.get("plan") in _UNDOING, record.get("plan") in _SHEDDING
    name = record.get("outage")
    if undoes:
        outage = _undoing(outage) if outage else None
    elif outage is None or (name is not None and name != outage.outage):
        # The line that began it is lost.
        lost = Unfinished(str(name or UNKNOWN), UNKNOWN, str(record.get("boot_id", UNKNOWN)), only_shed=sheds)
        outage = _following(outage, lost)
    if outage is None or state == "left-out":
        return outage  # nothing was begun that would have to be undone
    return replace(
        outage,
        committed=outage.committed or (bool(record.get("commits")) and not outage.only_shed),
        began=outage.began | {step},
        tried=outage.tried if undoes else outage.tried | {step},
        ended=outage.ended | {step} if state in {"done", "forced"} and not undoes else outage.ended,
        on_nas=_on_nas(outage, step, record.get("on_nas")),
    )


def _on_nas(outage: Unfinished, step: str, pods: Scalar) -> Mapping[str, str]:
    kind, _, node = step.partition(" ")
    if kind != "drain":
        return outage.on_nas
    others = {other: names for other, names in outage.on_nas.items() if other != node}
    return {**others, node: str(pods)} if pods else others


def _undoing(outage: Unfinished) -> Unfinished:
    # A shutdown that is taken up again after this must do everything again.
    return replace(outage, ended=frozenset(), tried=frozenset(), committed=False, called_off=True, on_nas={})


def _intact(raw: Iterable[bytes]) -> tuple[list[str], int, bool]:
    lines: list[str] = []
    damaged, torn = 0, False
    for line in raw:
        if not line.strip():
            continue
        damaged += torn
        text = line.decode(errors="surrogateescape").strip()
        intact = _record(text) is not None
        if intact:
            lines.append(text)
        torn = not intact and not line.endswith(b"\n")
        damaged += not intact and not torn
    return lines, damaged, torn


def _record(line: str) -> Record | None:
    try:
        line.encode()  # bytes that are no text were let through until here
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("record"), str) else None


def _number(line: str) -> int:
    number = (_record(line) or {}).get("n")
    return number if isinstance(number, int) else -1
