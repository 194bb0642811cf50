"""How long does each step usually take, by what was observed of it? Pure.

Of each step the last twenty runs are kept. What is expected is an upper quantile of them: the run that 85 % are no
longer than, so that one wild run in seven or more counts for nothing. Few runs prove little, so the figure is
lengthened by half of it divided by their number, and fewer than three can't shorten what the settings say.

A run that was cut off (by force, or by its deadline) would have taken longer than was seen, nobody knows how much: it
counts as longer than every whole one. Where the quantile falls on such a run, the step is expected to take as long as
the longest that was seen, and no less than the settings say.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final, TypeAlias

from upsd.domain.plan import Measured, StepKind, StepState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.plan import Plan, Step, StepProgress

KEPT_RUNS: Final = 20
_SHARE = 0.85
_ENOUGH_RUNS = 3
_ASKED_TIMES = 2
_SCHEMA = 1
_WHOLE = frozenset({StepState.DONE})
_CUT_OFF = frozenset({StepState.FORCED, StepState.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Run:
    """How long (s) a step took once; `censored` if it was cut off, and would have taken longer."""

    seconds: float
    censored: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """The last runs of a step, the latest at the end, and the date (ISO 8601) of that one."""

    runs: tuple[Run, ...]
    last_on: str


Durations: TypeAlias = "Mapping[str, History]"
"""What was observed, by step id (`drain pi4-a`)."""


def observe(durations: Durations, step_id: str, seconds: float, *, on: str, censored: bool = False) -> Durations:
    """The durations with one more run of a step, on that date (ISO 8601)."""
    before = durations[step_id].runs if step_id in durations else ()
    runs = (*before, Run(round(seconds, 2), censored))[-KEPT_RUNS:]
    return {**durations, step_id: History(runs, on)}


def observe_step(durations: Durations, progress: StepProgress, *, on: str) -> Durations:
    """The durations with what the end of a step teaches.

    A step that failed, was left out or called off teaches nothing, nor does the master's own power-off: it ends us
    before it ends. How long it took is found out after the next boot, see `own_end`.
    """
    step, began_at, ended_at = progress.step, progress.started_at, progress.ended_at
    if began_at is None or ended_at is None or step.kind is StepKind.HOST_POWEROFF:
        return durations
    if progress.state not in _WHOLE | _CUT_OFF:
        return durations
    return observe(durations, step.id, ended_at - began_at, on=on, censored=progress.state in _CUT_OFF)


def learned(plan: Plan, durations: Durations) -> Plan:
    """The plan with what each step usually takes by what was observed; minimum and limit stay as the settings say.

    But for the master's own power-off, which can't be forced: its usual time is its minimum too.
    """
    return replace(plan, steps=tuple(_learned_step(step, durations.get(step.id)) for step in plan.steps))


def expected_s(history: History, configured_s: float) -> float:
    """What a step usually takes (s), by its runs and what the settings say."""
    runs = sorted(history.runs, key=lambda run: (run.censored, run.seconds))
    number = len(runs)
    chosen = runs[math.ceil(_SHARE * number) - 1]
    longest_s = max(run.seconds for run in runs)
    usual_s = (longest_s if chosen.censored else chosen.seconds) * (1 + 1 / (2 * number))
    return max(usual_s, configured_s) if chosen.censored or number < _ENOUGH_RUNS else usual_s


def _learned_step(step: Step, history: History | None) -> Step:
    if history is None:
        return step
    usual_s, minimum_s, limit_s = expected_s(history, step.configured_s), step.minimum_s, step.limit_s
    if step.kind is StepKind.HOST_POWEROFF:
        minimum_s, limit_s = usual_s, max(limit_s, _ASKED_TIMES * usual_s)
    return replace(
        step,
        expected_s=min(max(usual_s, minimum_s), limit_s),
        minimum_s=minimum_s,
        limit_s=limit_s,
        measured=Measured(len(history.runs), history.last_on, step.configured_s),
    )


def to_text(durations: Durations) -> str:
    """The durations as they are kept: JSON, each run as its seconds and whether it was cut off."""
    steps = {
        step_id: {"last_on": history.last_on, "runs": [[run.seconds, run.censored] for run in history.runs]}
        for step_id, history in durations.items()
    }
    return json.dumps({"schema": _SCHEMA, "steps": steps}, indent=1) + "\n"


def from_text(text: str) -> Durations:
    """The durations that were kept.

    Raises:
        ValueError: that is nothing that `to_text` wrote.
    """
    found = json.loads(text)
    try:
        if found["schema"] != _SCHEMA:
            raise ValueError(f"schema {found['schema']!r} is not {_SCHEMA}")
        return {str(step_id): _history(kept) for step_id, kept in found["steps"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no durations: {error!r}") from error


def _history(kept: dict[str, list[tuple[float, bool]] | str]) -> History:
    last_on, runs = str(kept["last_on"]), tuple(_run(*run) for run in kept["runs"])
    date.fromisoformat(last_on)
    if not runs:
        raise ValueError("a step without a run")
    return History(runs[-KEPT_RUNS:], last_on)


def _run(seconds: object, censored: object) -> Run:
    if not isinstance(censored, bool) or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{seconds!r}, {censored!r}")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} s")
    return Run(float(seconds), censored)
