"""The plan as `upsctl plan` gets it: each step's times against the battery, and whether it fits. Pure.

Times are seconds from now, if the mains went away and the plan started at this moment.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from upsd.shutdown.budget import (
    critical_path_s,
    critical_steps,
    describe,
    earliest_finishes,
    latest_finishes,
)
from upsd.shutdown.plan import point_of_no_return
from upsd.shutdown.shedding import describe as describe_shedding
from upsd.shutdown.triage import LEFT_OUT_FIRST, left_out
from upsd.status import evidence_document

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from upsd.domain.plan import Plan
    from upsd.domain.power import RuntimeEstimate
    from upsd.shutdown.shedding import ShedGroup
    from upsd.status import Document, Json


def plan_document(
    plan: Plan,
    runtime: RuntimeEstimate | None,
    *,
    reserve_s: float,
    margin_s: float,
    recovery: Plan,
    shedding: Collection[ShedGroup] = (),
    wakes: Collection[str] = (),
) -> Document:
    """The plan, and how it stands to the battery, if that is known; with what goes off before it and comes after it.

    `wakes` are the workers that can be woken.
    """
    end_s = None if runtime is None else runtime.low_s - reserve_s
    return {
        "lines": [*describe(plan)],
        "steps": _steps(plan, end_s),
        "expected_s": _round(critical_path_s(plan)),
        "minimum_s": _round(critical_path_s(plan, forced=True)),
        "measured": evidence_document(plan.evidence),
        "point_of_no_return": point_of_no_return(plan),
        "battery": None if runtime is None else _battery(plan, runtime, reserve_s, margin_s),
        "shedding": [*describe_shedding(shedding, wakes, None if runtime is None else runtime.low_s)],
        "recovery": [*describe(recovery)],
    }


def _steps(plan: Plan, end_s: float | None) -> list[Json]:
    usual, forced = earliest_finishes(plan), earliest_finishes(plan, forced=True)
    latest: Mapping[str, float] = {} if end_s is None else latest_finishes(plan, end_s)
    critical = frozenset(critical_steps(plan))
    return [
        {
            **asdict(step),
            "commits": step.commits,
            "critical": step.id in critical,
            "earliest_start_s": _round(usual[step.id] - step.expected_s),
            "earliest_finish_s": _round(usual[step.id]),
            "forced_finish_s": _round(forced[step.id]),
            "latest_finish_s": _round(latest[step.id]) if latest else None,
        }
        for step in plan.steps
    ]


def _battery(plan: Plan, runtime: RuntimeEstimate, reserve_s: float, margin_s: float) -> Document:
    expected_s, minimum_s = critical_path_s(plan), critical_path_s(plan, forced=True)
    end_s = runtime.low_s - reserve_s
    # Before a step is left out, the reserve is spent.
    without = left_out(plan, runtime.low_s, spent_s={}, ended=())
    return {
        "low_s": _round(runtime.low_s),
        "expected_s": _round(runtime.expected_s),
        "reserve_s": _round(reserve_s),
        "end_s": _round(end_s),
        "margin_s": _round(margin_s),
        "slack_s": _round(end_s - expected_s),
        "latest_start_s": _round(end_s - expected_s - margin_s),
        "fits": "usual" if expected_s <= end_s else "forced" if minimum_s <= runtime.low_s else "not",
        "left_out": {kind.value: lost for kind, lost in LEFT_OUT_FIRST.items() if kind in without},
    }


def _round(value: float) -> float:
    return round(value, 1)
