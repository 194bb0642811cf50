"""Runs any plan: each step as soon as what it needs is over, each with a deadline that follows the battery.

A step that fails, hangs or has a defect is recorded and does not stop the rest: `needs` means "is over", not "went
well". Before a step acts, that it begins is in the journal.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import structlog

from upsd.domain.plan import Plan, PlanPurpose, StepProgress, StepState
from upsd.domain.rack import RackError
from upsd.shutdown.budget import deadline_at, latest_finishes
from upsd.shutdown.frontier import Frontier
from upsd.shutdown.triage import LEFT_OUT_FIRST, left_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from upsd.domain.plan import Step, StepKind
    from upsd.domain.power import Scalar

log = structlog.get_logger()

_REPLAN_S = 1.0
_A_MOMENT_S = 0.1
_FOLLOW_S = 0.2
_ABANDON_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: done, or done by force, or failed, with a detail for a person."""

    state: StepState = StepState.DONE
    detail: str = ""


@dataclass(slots=True)
class StepContext:
    """What a step may know of the run: until when it may go on, and a way to say how it gets on."""

    outage: str
    deadline_at: float
    started_at: float
    minimum_s: float
    say: Callable[[str], None]
    record: Callable[[Mapping[str, Scalar]], Awaitable[None]]
    """Makes a record durable, as far as the disk lets it."""
    fulfilled: bool = False
    """Whether being cut off from now on is how the step ends well."""
    handed_on: dict[str, Scalar] = field(default_factory=dict)
    """What the record of the step's end says besides, for the next run of the daemon."""
    guard: asyncio.Timeout | None = None

    @property
    def force_at(self) -> float:
        """From when on the step must use force to be over by its deadline; moves with it."""
        return self.deadline_at - self.minimum_s

    def move(self, deadline: float) -> None:
        """Follow a new estimate of the battery."""
        self.deadline_at = deadline
        if self.guard and not self.guard.expired() and deadline != self.guard.when():
            self.guard.reschedule(deadline)


class Performer(Protocol):
    """Does one kind of step; raises `RackError` when it can't, and may be cancelled at any await."""

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""


@dataclass(slots=True)
class _Running:
    step: Step
    context: StepContext
    task: asyncio.Task[Outcome] = field(init=False)


class Engine:
    """Runs one plan once.

    Args:
        performers: who does each kind of step.
        record: makes a record durable before it returns, as far as the disk lets it; never raises.
        report: hears every change of a step's progress.
        battery_end_at: until when the battery may be used (loop time), infinite on mains; `None` if it does not matter.
        reserve_s: how much longer (s) it lasts, which is spent before a step is left out.
    """

    def __init__(
        self,
        performers: Mapping[StepKind, Performer],
        *,
        record: Callable[[Mapping[str, Scalar]], Awaitable[None]],
        report: Callable[[StepProgress], None],
        battery_end_at: Callable[[], float] | None,
        reserve_s: float = 0.0,
    ) -> None:
        self._performers = performers
        self._record = record
        self._report = report
        self._battery_end_at = battery_end_at or (lambda: math.inf)
        self._look_s = _REPLAN_S if battery_end_at else math.inf
        self._reserve_s = reserve_s
        self._progress: dict[str, StepProgress] = {}
        self._frontier = Frontier(Plan(PlanPurpose.SHUTDOWN, ()))
        self._follow_at = -math.inf
        self._running: dict[str, _Running] = {}
        self._abandoned: set[asyncio.Task[Outcome]] = set()
        self.committed = False
        """Whether a step has begun that can't be undone."""

    async def run(self, plan: Plan, *, outage: str, ended: Collection[str] = ()) -> dict[str, StepProgress]:
        """Run the plan to its end; steps in `ended` were done before. How each step ended.

        Cancelling this cancels what runs and starts nothing more.
        """
        self._frontier = Frontier(plan)
        for step in plan.steps:
            state = StepState.DONE if step.id in ended else StepState.PENDING
            self._tell(StepProgress(step, state, "done before" if step.id in ended else ""))
        try:
            while True:
                await self._start_ready(plan, outage)
                if not self._running:
                    return self._progress
                self._follow_battery(plan)
                tasks = [running.task for running in self._running.values()]
                await asyncio.wait(tasks, timeout=self._quiet_s(), return_when=asyncio.FIRST_COMPLETED)
                await self._collect()
        finally:
            await self._cancel_all()

    def _quiet_s(self) -> float | None:
        """For how long nothing has to be seen to, unless a step ends; `None` is for ever."""
        now = asyncio.get_running_loop().time()
        overdue_at = min(running.context.deadline_at for running in self._running.values()) + _ABANDON_S
        quiet_s = min(self._look_s, overdue_at - now + _A_MOMENT_S)
        return None if math.isinf(quiet_s) else max(_A_MOMENT_S, quiet_s)

    async def _start_ready(self, plan: Plan, outage: str) -> None:
        await self._leave_out(plan)
        ready = self._frontier.ready
        if not ready:
            return
        now = asyncio.get_running_loop().time()
        latest = self._latest_finishes(plan)
        for step in ready:
            deadline = deadline_at(step, now, latest[step.id])
            say = partial(self._say, step)
            context = StepContext(outage, deadline, now, step.minimum_s, say, self._record)
            running = _Running(step, context)
            self.committed = self.committed or (step.commits and plan.purpose is not PlanPurpose.REHEARSAL)
            self._tell(StepProgress(step, StepState.RUNNING, started_at=now, deadline_at=deadline))
            running.task = asyncio.create_task(self._perform(step, context), name=f"step {step.id}")
            self._running[step.id] = running

    async def _leave_out(self, plan: Plan) -> None:
        """Give the time of what only makes it orderly to what saves data, if there is not enough for both."""
        if not any(step.kind in LEFT_OUT_FIRST for step in self._frontier.ready):
            return
        now = asyncio.get_running_loop().time()
        spent_s = {name: now - running.context.started_at for name, running in self._running.items()}
        left_s = self._battery_end_at() + self._reserve_s - now
        kinds = left_out(plan, left_s, spent_s=spent_s, ended=self._frontier.ended)
        while steps := [step for step in self._frontier.ready if step.kind in kinds]:
            for step in steps:
                detail = f"the battery does not carry it: {LEFT_OUT_FIRST[step.kind]}"
                self._tell(StepProgress(step, StepState.LEFT_OUT, detail))
                await self._record_end(self._progress[step.id])

    def _latest_finishes(self, plan: Plan) -> dict[str, float]:
        return latest_finishes(plan, self._battery_end_at(), ended=self._frontier.ended)

    async def _perform(self, step: Step, context: StepContext) -> Outcome:
        await self._record(
            {
                "record": "step",
                "step": step.id,
                "state": StepState.RUNNING.value,
                "commits": step.commits,
                "expected_s": round(step.expected_s, 1),
            }
        )
        # A slow disk costs the plan time, but not the step: it still gets what it must have.
        context.started_at = asyncio.get_running_loop().time()
        context.deadline_at = max(context.deadline_at, context.started_at + step.minimum_s)
        try:
            async with asyncio.timeout_at(context.deadline_at) as context.guard:
                return await self._performers[step.kind](step, context)
        except TimeoutError:
            return Outcome(StepState.TIMED_OUT, self._progress[step.id].detail)
        except RackError as error:
            return Outcome(StepState.FAILED, str(error))
        except Exception as error:
            # A defect in one step must not keep the others from saving the rack.
            log.exception("step_defect", step=step.id)
            return Outcome(StepState.FAILED, f"defect in upsd: {error!r}")

    def _follow_battery(self, plan: Plan) -> None:
        """Move the deadlines of what runs; now and then, as in a large rack something ends all the time."""
        now = asyncio.get_running_loop().time()
        if now < self._follow_at:
            return
        self._follow_at = now + _FOLLOW_S
        latest = self._latest_finishes(plan)
        for running in self._running.values():
            if running.task.done():
                continue  # it ended while another one's record was written; its timeout can't be moved any more
            context = running.context
            context.move(deadline_at(running.step, context.started_at, latest[running.step.id]))
            progress = self._progress[running.step.id]
            if not math.isclose(progress.deadline_at or 0.0, context.deadline_at, abs_tol=1.0):
                self._tell(replace(progress, deadline_at=context.deadline_at))

    async def _collect(self) -> None:
        now = asyncio.get_running_loop().time()
        for running in list(self._running.values()):
            if running.task.cancelled():
                # Nobody called the step off: a library cancelled what it waited for.
                outcome = Outcome(StepState.FAILED, "what it waited for was cancelled")
            elif running.task.done():
                outcome = running.task.result()
            elif now > running.context.deadline_at + _ABANDON_S:
                # It does not even let itself be cancelled; the plan goes on without it.
                running.task.cancel()
                self._abandoned.add(running.task)
                running.task.add_done_callback(self._abandoned.discard)
                outcome = Outcome(StepState.TIMED_OUT, "hangs and was left behind")
            else:
                continue
            del self._running[running.step.id]
            progress = self._progress[running.step.id]
            self._tell(replace(progress, state=outcome.state, detail=outcome.detail, ended_at=now))
            await self._record_end(self._progress[running.step.id], running.context.handed_on)

    async def _record_end(self, progress: StepProgress, handed_on: Mapping[str, Scalar] = MappingProxyType({})) -> None:
        began, ended = progress.started_at, progress.ended_at
        await self._record(
            {
                "record": "step",
                "step": progress.step.id,
                "state": progress.state.value,
                "detail": progress.detail,
                "seconds": None if began is None or ended is None else round(ended - began, 1),
                "commits": progress.step.commits and progress.state is not StepState.LEFT_OUT,
                **handed_on,
            }
        )

    async def _cancel_all(self) -> None:
        if not self._running:
            return
        tasks = {running.task for running in self._running.values()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_ABANDON_S)
        now = asyncio.get_running_loop().time()
        for running in self._running.values():
            state = StepState.DONE if running.context.fulfilled else StepState.CANCELLED
            self._tell(replace(self._progress[running.step.id], state=state, ended_at=now))
        self._running.clear()

    def _say(self, step: Step, text: str) -> None:
        progress = self._progress[step.id]
        if progress.state is StepState.RUNNING and progress.detail != text:
            self._tell(replace(progress, detail=text))

    def _tell(self, progress: StepProgress) -> None:
        self._progress[progress.step.id] = progress
        if progress.state.ended:
            self._frontier.end(progress.step.id)
        elif progress.state is StepState.RUNNING:
            self._frontier.begin(progress.step.id)
        self._report(progress)
