"""What a step is expected to take, by what was observed of it: never too short from too little, nor ruined by one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from upsd.domain.plan import Evidence, Measured, Plan, PlanPurpose, Step, StepKind, StepProgress, StepState
from upsd.shutdown.budget import describe
from upsd.shutdown.durations import (
    KEPT_RUNS,
    History,
    Run,
    expected_s,
    from_text,
    learned,
    observe,
    observe_step,
    to_text,
)
from upsd.shutdown.learner import DamagedError, Learner, load

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.shutdown.durations import Durations

TODAY = "2026-11-26"
DRAIN = Step(id="drain pi4-a", kind=StepKind.DRAIN, target="pi4-a", needs=(), expected_s=60, minimum_s=8, limit_s=300)
MASTER_OFF = Step(
    id="host-poweroff m",
    kind=StepKind.HOST_POWEROFF,
    target="m",
    needs=(DRAIN.id,),
    expected_s=40,
    minimum_s=40,
    limit_s=120,
)
PLAN = Plan(PlanPurpose.SHUTDOWN, (DRAIN, MASTER_OFF))

seconds = st.floats(0, 1000)
runs = st.builds(Run, seconds, st.booleans())
histories = st.builds(History, st.lists(runs, min_size=1, max_size=KEPT_RUNS).map(tuple), st.just(TODAY))


def after(*took_s: float, cut_off_s: tuple[float, ...] = (), configured_s: float = 60.0) -> float:
    """What a step is expected to take after whole runs and runs that were cut off."""
    history = [*(Run(value) for value in took_s), *(Run(value, censored=True) for value in cut_off_s)]
    return expected_s(History(tuple(history), TODAY), configured_s)


def drain_s(durations: Durations) -> float:
    """What the plan then says of the drain."""
    return learned(PLAN, durations).steps[0].expected_s


def ended(state: StepState, took_s: float = 12.0, step: Step = DRAIN) -> StepProgress:
    """A step that is over."""
    return StepProgress(step, state, started_at=100.0, ended_at=100.0 + took_s)


def test_one_quick_run_does_not_shorten_the_plan() -> None:
    """A start that waits longer because of a single lucky drain would be a gamble with the battery."""
    assert after(5.0) == 60.0
    assert after(5.0, 5.0) == 60.0
    assert after(5.0, 5.0, 5.0) == pytest.approx(5.0 * 7 / 6)


def test_one_slow_run_lengthens_the_plan_at_once() -> None:
    """And by half more, for want of a second one."""
    assert after(100.0) == 150.0


def test_a_wild_run_among_many_changes_nothing() -> None:
    """One day on which the API was away must not make each later outage shut down minutes earlier."""
    usual = [10.0 + number / 10 for number in range(9)]
    assert after(*usual, 290.0) == pytest.approx(after(*usual, 10.9))


def test_what_happens_often_is_expected() -> None:
    """A node that is slow in every fourth outage is a slow node."""
    assert after(10, 10, 10, 50, 10, 10, 10, 50) >= 50


def test_runs_that_were_cut_off_are_not_taken_for_quick_ones() -> None:
    """A drain that is forced after 20 s each time would need longer, nobody knows how much."""
    assert after(cut_off_s=(20.0,) * 8) == 60.0
    assert after(cut_off_s=(90.0,) * 8) >= 90.0
    assert after(50.0, 50.0, 50.0, 50.0, cut_off_s=(20.0,) * 4, configured_s=10.0) >= 50.0


def test_a_rare_run_that_was_cut_off_changes_nothing() -> None:
    """It is as wild as any other."""
    assert after(*[10.0] * 9, cut_off_s=(200.0,)) == pytest.approx(10.5)


@given(histories, st.floats(0, 1000))
def test_the_expectation_is_never_below_what_most_whole_runs_took(history: History, configured_s: float) -> None:
    """However runs that were cut off are mixed in."""
    whole = sorted(run.seconds for run in history.runs if not run.censored)
    assume(whole)
    assert expected_s(history, configured_s) >= whole[math.ceil(0.85 * len(whole)) - 1]


@given(histories, st.floats(0, 1000), st.floats(0, 100))
def test_a_run_that_takes_longer_never_shortens_the_expectation(
    history: History, configured_s: float, more_s: float
) -> None:
    """Nor does one that was cut off where it had been whole."""
    last = history.runs[-1]
    longer = History((*history.runs[:-1], Run(last.seconds + more_s, last.censored)), TODAY)
    cut_off = History((*history.runs[:-1], Run(last.seconds, censored=True)), TODAY)
    assert expected_s(longer, configured_s) >= expected_s(history, configured_s)
    assert expected_s(cut_off, configured_s) >= expected_s(history, configured_s)


@given(histories)
@example(History((Run(0.0),) * 3, TODAY))
@example(History((Run(1000.0),) * 3, TODAY))
def test_the_settings_minimum_and_limit_hold_whatever_was_measured(history: History) -> None:
    """The plan stays one that its own deadlines can keep."""
    step = learned(PLAN, {DRAIN.id: history}).steps[0]
    assert step.minimum_s <= step.expected_s <= step.limit_s
    assert (step.minimum_s, step.limit_s, step.configured_s) == (DRAIN.minimum_s, DRAIN.limit_s, DRAIN.expected_s)
    assert step.measured == Measured(len(history.runs), TODAY, DRAIN.expected_s)
    assert learned(learned(PLAN, {DRAIN.id: history}), {DRAIN.id: history}).steps[0] == step


def test_only_the_last_runs_count() -> None:
    """A rack that was rebuilt is known by its new times after a while."""
    durations: Durations = {}
    for number in range(2 * KEPT_RUNS):
        durations = observe(durations, DRAIN.id, 100.0 if number < KEPT_RUNS else 20.0, on=TODAY)
    assert len(durations[DRAIN.id].runs) == KEPT_RUNS
    assert drain_s(durations) == pytest.approx(20.5)


@pytest.mark.parametrize(
    ("state", "run"),
    [
        (StepState.DONE, Run(12.0)),
        (StepState.FORCED, Run(12.0, censored=True)),
        (StepState.TIMED_OUT, Run(12.0, censored=True)),
        (StepState.FAILED, None),
        (StepState.CANCELLED, None),
        (StepState.LEFT_OUT, None),
    ],
)
def test_what_the_end_of_a_step_teaches(state: StepState, run: Run | None) -> None:
    """A refused login is over in a moment, and says nothing of how long a drain takes."""
    durations = observe_step({}, ended(state), on=TODAY)
    assert durations == ({} if run is None else {DRAIN.id: History((run,), TODAY)})


def test_a_step_that_an_earlier_run_of_the_daemon_did_teaches_nothing() -> None:
    """Nobody saw how long it took."""
    assert observe_step({}, StepProgress(DRAIN, StepState.DONE, "done before"), on=TODAY) == {}


def test_nobody_sees_the_master_s_own_power_off_end() -> None:
    """It ends the daemon before it ends: what could be seen of it is too short."""
    assert observe_step({}, ended(StepState.DONE, 0.5, MASTER_OFF), on=TODAY) == {}


@pytest.mark.parametrize(
    ("took_s", "expected_s", "limit_s"),
    [((12.0,), 40.0, 120.0), ((12.0, 13.0, 12.0), 13 * 7 / 6, 120.0), ((100.0,), 150.0, 300.0)],
)
def test_the_master_s_measured_power_off_is_its_minimum_too(
    took_s: tuple[float, ...], expected_s: float, limit_s: float
) -> None:
    """Nothing can force it: what it usually takes is what the battery must have left for it."""
    durations: Durations = {}
    for value in took_s:
        durations = observe(durations, MASTER_OFF.id, value, on=TODAY)
    step = learned(PLAN, durations).steps[1]
    assert (step.expected_s, step.minimum_s, step.limit_s) == pytest.approx((expected_s, expected_s, limit_s))
    assert step.configured_s == 40.0


def test_the_plan_says_how_much_of_it_is_measured() -> None:
    """A person can tell a measured figure from a setting, and how old it is."""
    assert PLAN.evidence == Evidence(0, 2, None, None)
    plan = learned(PLAN, observe(observe({}, DRAIN.id, 9.0, on="2026-01-02"), DRAIN.id, 9.0, on="2026-03-04"))
    assert plan.evidence == Evidence(1, 2, 2, "2026-03-04")
    assert "None of its steps was measured" in describe(PLAN)[-1]
    assert (
        "1 of its 2 steps are measured, each in 2 or more runs, the last no earlier than 2026-03-04"
        in (describe(plan)[-1])
    )


@given(st.dictionaries(st.text(), histories))
def test_what_was_kept_is_read_as_it_was(durations: dict[str, History]) -> None:
    """A restart loses nothing."""
    assert from_text(to_text(durations)) == durations


@given(st.data())
def test_a_torn_file_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    """Half of the truth might be a shorter plan."""
    text = to_text(observe(observe({}, DRAIN.id, 12.0, on=TODAY), "flush nas", 3.0, on=TODAY, censored=True)).strip()
    with pytest.raises(ValueError, match=r"\w"):
        from_text(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"schema": 2, "steps": {}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": []}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "yesterday", "runs": [[1.0, false]]}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": [[-1.0, false]]}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": [[NaN, false]]}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": [[true, false]]}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": [["1", 0]]}}}',
        '{"schema": 1, "steps": {"x": {"last_on": "2026-11-26", "runs": [1.0]}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_put_aside_and_the_settings_hold(tmp_path: Path, text: str) -> None:
    """The daemon starts, says what it has lost, and keeps the file for somebody who wants to look."""
    (tmp_path / "durations.json").write_text(text, encoding="utf-8")
    learner = Learner(tmp_path, lambda: TODAY)
    learner.load()
    assert learner.apply(PLAN) == PLAN
    assert learner.trouble
    assert "the settings' times" in learner.trouble
    assert "durations.json.bad" in learner.trouble
    assert (tmp_path / "durations.json.bad").read_text(encoding="utf-8") == text
    assert load(tmp_path) == {}


def test_who_only_looks_moves_no_file(tmp_path: Path) -> None:
    """A check of the settings is no daemon."""
    (tmp_path / "durations.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedError, match="makes no sense"):
        load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["durations.json"]


def test_a_file_that_may_not_be_read_is_left_where_it_is(tmp_path: Path) -> None:
    """It may be whole."""
    (tmp_path / "durations.json").mkdir()
    learner = Learner(tmp_path, lambda: TODAY)
    learner.load()
    assert learner.trouble
    assert "can't be read" in learner.trouble
    assert (tmp_path / "durations.json").is_dir()
