"""What a user should have been told, and was not, of where data is kept; and what a snapshot cost the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from upsd.shutdown.leftovers import OVERDUE
from upsd.shutdown.records import records_in
from upsd.shutdown.report import make_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware_sim.outages.run import Run

_SNAPSHOT, _WORKLOADS = "snapshot k3s", "workloads"
_LEAVES_S = 3.0
"""For a step to be cut off, and for that to be written down."""


def kept_violations(run: Run) -> Iterator[str]:
    """What went wrong, in words."""
    yield from _held_up(run)
    yield from _unreported(run)
    yield from _unnamed(run)


def _held_up(run: Run) -> Iterator[str]:
    """A snapshot costs what comes after it no more than its limit."""
    if run.scenario.kept.datastore is None:
        return
    began: float | None = None
    for act in run.world.acts:
        if act.what == "daemon starts":
            began = None
        elif act.what.startswith(_event("step_started", _SNAPSHOT)):
            began = act.at
        elif act.what.startswith(_event("step_ended", _SNAPSHOT)) and began is not None:
            took_s = act.at - began
            if took_s > run.scenario.kept.datastore.limit_s + _LEAVES_S:
                yield f"the snapshot at {began:.0f} s held the rest up for {took_s:.0f} s"


def _unreported(run: Run) -> Iterator[str]:
    """A snapshot that there is none of is in the report."""
    ended = [act.what for act in run.world.acts if act.what.startswith(_event("step_ended", _SNAPSHOT))]
    if not ended or not _is_state(ended[-1], "failed", "timed-out"):
        return
    records = records_in(run.disk.durable_text("journal.jsonl").splitlines())
    if not any(trouble.startswith(_SNAPSHOT) for trouble in make_report(records, "ups").troubles):
        yield f"the report does not say that the snapshot failed: {ended[-1]}"


def _unnamed(run: Run) -> Iterator[str]:
    """What an unclean stop has left over is named once everything else is back."""
    ended = [act for act in run.world.acts if act.what.startswith(_event("step_ended", _WORKLOADS))]
    if not ended or not _is_state(ended[-1].what, "done", "failed") or "left over is not known" in ended[-1].what:
        return
    told = ended[-1].what
    for attachment in run.world.cluster.attached:
        if f"volume {attachment.volume} is attached to {attachment.node}" not in told:
            yield f"nobody was told of the volume {attachment.volume}: {told}"
    if run.scenario.clock_steps:
        return  # by such a clock nobody can tell what is overdue
    for pod in run.ending:
        overdue = pod.ends_by is not None and run.date_at(ended[-1].at) - pod.ends_by > OVERDUE + timedelta(minutes=1)
        if overdue and f"{pod.full_name} on {pod.node} has not ended" not in told:
            yield f"nobody was told of the pod {pod.full_name}: {told}"


def _event(name: str, step: str) -> str:
    return f"event {name} {{'step': '{step}'"


def _is_state(event: str, *states: str) -> bool:
    return any(f"'state': '{state}'" in event for state in states)
