"""A plan runs to its end, in time, whatever its steps do."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.engine_bench import Bench, breaks_inside, clings, hangs, raises, step, takes
from upsd.domain.plan import Step, StepKind, StepProgress, StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome, StepContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Act = Callable[[StepContext], Awaitable[Outcome | None]]

ABANDON_S = 2.0


def states(results: Mapping[str, StepProgress]) -> dict[str, str]:
    """How each step ended."""
    return {name: progress.state.value for name, progress in results.items()}


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def test_steps_run_as_soon_as_what_they_need_is_over() -> None:
    """Branches run side by side; what needs both waits for the slower."""
    bench = Bench({"a": takes(3), "b": takes(8)})
    start = now()
    results = await bench.run(step("a"), step("b"), step("after a", "a"), step("last", "after a", "b"))
    assert set(states(results).values()) == {"done"}
    assert {name: round(at - start, 1) for name, at in bench.began_at.items()} == {
        "a": 0,
        "b": 0,
        "after a": 3,
        "last": 8,
    }


async def test_that_a_step_begins_is_written_before_it_acts() -> None:
    """And its end before the next action depends on it."""
    bench = Bench({}, journal_s=0.5)
    await bench.run(step("a"), step("b", "a"))
    assert bench.log == [
        "record a running",
        "act a",
        "record a done",
        "record b running",
        "act b",
        "record b done",
    ]


async def test_records_say_what_a_restart_must_know() -> None:
    """The state, the reason, and whether the step passes the point of no return."""
    commit = Step(
        id="off", kind=StepKind.FLUSH, target="off", needs=(), expected_s=1, minimum_s=1, limit_s=9, inverse=None
    )
    bench = Bench({"off": raises(RackError("no route to host"))})
    await bench.run(commit)
    assert bench.records == [
        {"record": "step", "step": "off", "state": "running", "commits": True, "expected_s": 1},
        {
            "record": "step",
            "step": "off",
            "state": "failed",
            "detail": "no route to host",
            "seconds": 1.0,
            "commits": True,
        },
    ]
    assert bench.engine.committed


async def test_a_plan_of_harmless_steps_is_never_committed() -> None:
    """An abort stays possible."""
    bench = Bench({})
    await bench.run(step("a"), step("b"))
    assert not bench.engine.committed


@pytest.mark.parametrize(
    ("act", "state", "detail"),
    [
        (hangs, "timed-out", ""),
        (clings, "timed-out", "hangs and was left behind"),
        (raises(RackError("permission denied")), "failed", "permission denied"),
        (raises(ZeroDivisionError("division by zero")), "failed", "defect in upsd: ZeroDivisionError"),
        (raises(TimeoutError()), "timed-out", ""),
        (breaks_inside, "failed", "what it waited for was cancelled"),
    ],
    ids=["hangs", "ignores cancellation", "RackError", "defect", "foreign timeout", "cancelled inside"],
)
@pytest.mark.parametrize("minds_battery", [True, False], ids=["shutdown", "recovery"])
async def test_a_bad_step_is_recorded_and_does_not_stop_the_rest(
    act: Act, state: str, detail: str, *, minds_battery: bool
) -> None:
    """What follows it runs, in time, and people can read what went wrong."""
    bench = Bench({"bad": act}, minds_battery=minds_battery)
    start = now()
    results = await bench.run(step("good"), step("bad", limit_s=30), step("next", "bad", "good"))
    assert states(results) == {"good": "done", "bad": state, "next": "done"}
    assert detail in results["bad"].detail
    assert {"bad", "next"} <= {str(record["step"]) for record in bench.records if record["state"] != "running"}
    assert now() - start <= 30 + ABANDON_S + 1 + 1.1


async def test_a_step_without_a_performer_is_a_failed_step() -> None:
    """A plan that asks for what this rack lacks goes on."""
    other = Step(
        id="x", kind=StepKind.UNMOUNT, target="", needs=(), expected_s=1, minimum_s=1, limit_s=5, harmless=True
    )
    results = await Bench({}).run(other, step("next", "x"))
    assert states(results) == {"x": "failed", "next": "done"}


async def test_a_step_gets_the_slack_but_not_the_time_of_others() -> None:
    """With 50 s of battery and 30 s that must follow, a hanging step is over after 20 s."""
    bench = Bench({"drain": hangs})
    start = now()
    bench.battery_end_at = start + 50
    results = await bench.run(step("drain"), step("later", "drain", expected_s=30, minimum_s=30))
    assert results["drain"].ended_at == pytest.approx(start + 20, abs=0.1)
    assert results["later"].deadline_at == pytest.approx(start + 50, abs=0.1)


async def test_on_mains_a_step_is_held_to_its_limit() -> None:
    """An endless battery is no endless step."""
    bench = Bench({"drain": hangs})
    start = now()
    results = await bench.run(step("drain", limit_s=60))
    assert results["drain"].ended_at == pytest.approx(start + 60, abs=0.1)


async def test_deadlines_follow_a_falling_battery() -> None:
    """A battery that turns out weaker shortens the step that runs, and that is told."""
    bench = Bench({"drain": hangs})
    start = now()
    bench.battery_end_at = start + 60
    asyncio.get_running_loop().call_later(5, setattr, bench, "battery_end_at", start + 32)
    results = await bench.run(step("drain"), step("later", "drain", minimum_s=10))
    assert results["drain"].ended_at == pytest.approx(start + 22, abs=0.1)
    told = [report.deadline_at for report in bench.reports if report.step.id == "drain" and report.deadline_at]
    assert (round(told[0] - start), round(told[-1] - start)) == (50, 22)


async def test_deadlines_follow_a_battery_that_gains() -> None:
    """Machines that went off lengthen what is left, and a step may use it."""
    bench = Bench({"drain": hangs})
    start = now()
    bench.battery_end_at = start + 20
    asyncio.get_running_loop().call_later(5, setattr, bench, "battery_end_at", start + 40)
    results = await bench.run(step("drain"))
    assert results["drain"].ended_at == pytest.approx(start + 40, abs=0.1)


async def test_a_battery_that_is_suddenly_empty_ends_what_runs_and_goes_on() -> None:
    """No step that follows is left out: each gets its minimum."""
    bench = Bench({"drain": hangs, "off": hangs})
    start = now()
    bench.battery_end_at = start + 500
    asyncio.get_running_loop().call_later(10, setattr, bench, "battery_end_at", start)
    results = await bench.run(step("drain", limit_s=300), step("off", "drain", minimum_s=4), step("last", "off"))
    assert states(results) == {"drain": "timed-out", "off": "timed-out", "last": "done"}
    assert now() - start <= 10 + 1.1 + 4 + 1.1


async def test_what_only_makes_it_orderly_is_left_out_when_the_battery_falls() -> None:
    """And leaves its time to what saves data; what follows it does not wait."""
    bench = Bench({"look": takes(1)})
    start = now()
    bench.battery_end_at = start + 500
    asyncio.get_running_loop().call_later(0.5, setattr, bench, "battery_end_at", start + 5)
    pods = replace(step("pods", "look", minimum_s=8), kind=StepKind.DRAIN)
    results = await bench.run(step("look"), pods, step("off", "pods", minimum_s=4))
    assert states(results) == {"look": "done", "pods": "left-out", "off": "done"}
    assert "act pods" not in bench.log
    assert now() - start <= 5
    ends = {record["step"]: record["state"] for record in bench.records}
    assert ends == {"look": "done", "pods": "left-out", "off": "done"}


async def test_the_reserve_is_spent_before_anything_is_left_out() -> None:
    """It is there for that."""
    bench = Bench({}, reserve_s=60.0)
    bench.battery_end_at = now() - 30
    pods = replace(step("pods", minimum_s=8), kind=StepKind.DRAIN)
    results = await bench.run(pods, step("off", "pods", minimum_s=4))
    assert states(results) == {"pods": "done", "off": "done"}


async def test_force_begins_the_minimum_before_the_deadline_and_moves_with_it() -> None:
    """What a drain looks at is the present estimate, not the one that it began with."""
    seen: list[float] = []

    async def act(context: StepContext) -> None:
        seen.append(context.force_at)
        await asyncio.sleep(10)
        seen.append(context.force_at)

    bench = Bench({"drain": act})
    start = now()
    bench.battery_end_at = start + 60
    asyncio.get_running_loop().call_later(5, setattr, bench, "battery_end_at", start + 30)
    await bench.run(step("drain", minimum_s=8))
    assert [at - start for at in seen] == pytest.approx([52, 22])


async def test_steps_that_end_while_another_is_recorded_do_not_upset_the_plan() -> None:
    """A slow journal and a falling battery at the same time: the plan of every real outage."""
    bench = Bench({"a": takes(3.2), "b": takes(3.1), "c": takes(3)}, journal_s=0.5)
    start = now()
    bench.battery_end_at = start + 50

    async def fall() -> None:
        while True:
            await asyncio.sleep(0.1)
            bench.battery_end_at -= 0.05

    falling = asyncio.create_task(fall())
    results = await bench.run(step("a"), step("b"), step("c"), step("last", "a", "b", "c"))
    falling.cancel()
    assert set(states(results).values()) == {"done"}


async def test_what_a_step_says_is_told() -> None:
    """People see how far it is; the same words twice are told once."""

    async def act(context: StepContext) -> Outcome:
        for word in ("3 pods left", "3 pods left", "1 pod left"):
            context.say(word)
            await asyncio.sleep(1)
        return Outcome(StepState.FORCED, "by force")

    bench = Bench({"drain": act})
    results = await bench.run(step("drain"))
    assert [(report.state.value, report.detail) for report in bench.reports] == [
        ("pending", ""),
        ("running", ""),
        ("running", "3 pods left"),
        ("running", "1 pod left"),
        ("forced", "by force"),
    ]
    assert results["drain"].state is StepState.FORCED


async def test_a_step_that_was_left_behind_is_heard_no_more() -> None:
    """Its late words don't bring an ended step back to life."""

    async def act(context: StepContext) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        await asyncio.sleep(20)
        context.say("late")

    bench = Bench({"bad": act})
    results = await bench.run(step("bad", limit_s=5), step("next", "bad"))
    await asyncio.sleep(60)
    assert results["bad"].detail != "late"
    assert [report for report in bench.reports if report.detail == "late"] == []


async def test_a_timed_out_step_keeps_its_last_words() -> None:
    """What it was waiting for is the reason that people want to read."""

    async def act(context: StepContext) -> None:
        context.say("waits for web/gitea-0")
        await hangs(context)

    results = await Bench({"drain": act}).run(step("drain", limit_s=5))
    assert results["drain"].detail == "waits for web/gitea-0"


async def test_steps_that_were_done_before_are_not_done_again() -> None:
    """A restarted daemon goes on where the last one was."""
    bench = Bench({})
    results = await bench.run(step("a"), step("b", "a"), step("c", "b"), ended=frozenset({"a", "b"}))
    assert set(bench.began_at) == {"c"}
    assert set(states(results).values()) == {"done"}


async def test_cancelling_the_run_starts_nothing_more() -> None:
    """An abort stops what runs and leaves the rest untouched."""
    bench = Bench({"a": takes(10), "b": hangs})
    running = asyncio.create_task(bench.run(step("a"), step("b"), step("off", "a")))
    await asyncio.sleep(5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(100)
    assert set(bench.began_at) == {"a", "b"}
    final = {report.step.id: report.state.value for report in bench.reports}
    assert final == {"a": "cancelled", "b": "cancelled", "off": "pending"}


async def test_cancelling_does_not_wait_for_a_step_that_clings() -> None:
    """An abort is not held up by it for longer than a moment."""
    bench = Bench({"a": clings})
    running = asyncio.create_task(bench.run(step("a")))
    await asyncio.sleep(5)
    before = now()
    running.cancel()
    await asyncio.wait({running})
    assert now() - before <= ABANDON_S + 0.1


async def test_cancelling_while_a_record_is_written_cancels() -> None:
    """The moment between two steps is no way past an abort."""
    bench = Bench({"a": takes(1)}, journal_s=1.0)
    running = asyncio.create_task(bench.run(step("a"), step("off", "a")))
    await asyncio.sleep(2.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(10)
    assert "off" not in bench.began_at


@settings(max_examples=60)
@given(st.data())
async def test_any_plan_of_any_steps_ends_before_the_battery(data: st.DataObject) -> None:
    """If the forced path fits, no step is held longer than to the end, and none starts before what it needs."""
    steps: list[Step] = []
    script: dict[str, Act] = {}
    for number in range(data.draw(st.integers(1, 8), label="steps")):
        needs = data.draw(st.sets(st.sampled_from([one.id for one in steps]))) if steps else set[str]()
        minimum_s = data.draw(st.integers(1, 10))
        steps.append(
            step(str(number), *sorted(needs), minimum_s=minimum_s, limit_s=minimum_s + data.draw(st.integers(0, 60)))
        )
        script[str(number)] = data.draw(
            st.sampled_from([takes(0), takes(1), takes(30), hangs, raises(RackError("x")), raises(KeyError("x"))])
        )
    bench = Bench(script)
    start = now()
    longest_s = sum(one.minimum_s for one in steps)
    bench.battery_end_at = start + longest_s + data.draw(st.integers(0, 100), label="slack")
    results = await bench.run(*steps)
    assert all(progress.state.ended for progress in results.values())
    assert now() <= bench.battery_end_at + 0.1
    for one in steps:
        assert all(bench.ended_at[need] <= bench.began_at[one.id] for need in one.needs)


async def test_a_slow_disk_takes_no_step_its_minimum() -> None:
    """A power-off whose beginning took longer to write down than the step may take is still sent."""
    bench = Bench({"a": takes(1)}, battery_end_at=now(), journal_s=1.7)
    results = await bench.run(step("a", minimum_s=1.5))
    assert states(results) == {"a": "done"}
