"""Which plan runs now: none, the shutdown, its undoing, or the recovery.

The conductor holds the plan that an outage would run, starts it, calls it off while that is still possible, and
takes it up again after a restart. It is told what happened and decides nothing about power.
"""

from __future__ import annotations

import asyncio
import enum
import math
from functools import partial
from typing import TYPE_CHECKING

import structlog

from upsd.domain.plan import PlanPurpose, StepKind, StepState
from upsd.domain.power import Event, Severity
from upsd.shutdown.engine import Engine
from upsd.shutdown.journal import JournalError
from upsd.shutdown.plan import recovery_plan, shutdown_plan, undo_plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from upsd.domain.plan import Plan, StepProgress
    from upsd.domain.power import Scalar
    from upsd.shutdown.engine import Performer
    from upsd.shutdown.journal import Journal, Unfinished
    from upsd.shutdown.plan import RackShape


log = structlog.get_logger()


class Phase(enum.StrEnum):
    """What the conductor does."""

    IDLE = "idle"
    SHUTTING_DOWN = "shutting-down"
    FINISHED = "finished"
    """The shutdown plan has ended and this machine is still up."""
    ABORTING = "aborting"
    RECOVERING = "recovering"


_RETRY_S = 300.0
_GOOD = frozenset({StepState.DONE, StepState.FORCED})


class Conductor:
    """Runs one plan at a time.

    Args:
        shape: what the rack consists of.
        performers: who does each kind of step.
        journal: where is written what begins and ends.
        emit: hears every event.
        changed: is called when the phase or a step's progress has changed.
        battery_end_at: until when the battery may be used (loop time); infinite on mains.
        reserve_s: how much longer (s) it lasts.
        boot_id: tells this boot of the machine from others.
        name_outage: gives a new outage its name.
        linger_s: how long after its end a shutdown may still be taken for under way.
    """

    def __init__(
        self,
        shape: RackShape,
        performers: Mapping[StepKind, Performer],
        *,
        journal: Journal,
        emit: Callable[[Event], None],
        changed: Callable[[], None],
        battery_end_at: Callable[[], float],
        reserve_s: float,
        boot_id: str,
        name_outage: Callable[[], str],
        linger_s: float,
    ) -> None:
        self._shape = shape
        self._performers = performers
        self._journal = journal
        self._emit = emit
        self._changed = changed
        self._battery_end_at = battery_end_at
        self._reserve_s = reserve_s
        self._boot_id = boot_id
        self._name_outage = name_outage
        self._linger_s = linger_s
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._notes: set[asyncio.Task[None]] = set()
        self._resumed: Unfinished | None = None
        self._owed: frozenset[str] = frozenset()
        self._finished_at = math.inf
        self._retry_at, self._retry_outage = math.inf, ""
        self.journal_problem: str | None = None
        self.plan: Plan = shutdown_plan(shape)
        self.phase = Phase.IDLE
        self.outage: str | None = None
        self.reason = ""
        self.progress: dict[str, StepProgress] = {}

    @property
    def committed(self) -> bool:
        """Whether the shutdown has passed its point of no return."""
        before = self._resumed is not None and self._resumed.committed
        return before or (self._engine is not None and self._engine.committed)

    @property
    def ended(self) -> frozenset[str]:
        """The steps of the shutdown plan that are over."""
        return frozenset(step for step, progress in self.progress.items() if progress.state.ended)

    @property
    def confirmed_off(self) -> frozenset[str]:
        """The machines that the running or ended shutdown has seen go off."""
        if self.phase not in {Phase.SHUTTING_DOWN, Phase.FINISHED}:
            return frozenset()
        return frozenset(
            progress.step.target
            for progress in self.progress.values()
            if progress.step.kind is StepKind.CONFIRM_OFF and progress.state in _GOOD
        )

    @property
    def may_start(self) -> bool:
        """Whether a shutdown could start now: none runs or has run to its end."""
        return self.phase not in {Phase.SHUTTING_DOWN, Phase.FINISHED}

    def start(self, reason: str, *, owed: Collection[str] = ()) -> None:
        """Start the shutdown; what else runs (an abort, a recovery) is called off for it.

        `owed` are steps that an outage before it began and nobody has undone.
        """
        self._owed |= frozenset(owed)
        self.outage, self.reason = self._name_outage(), reason
        self._emit(Event("shutdown_started", Severity.CRITICAL, {"outage": self.outage, "reason": reason}))
        self._switch(Phase.SHUTTING_DOWN, partial(self._begin, self.outage))

    def resume(self, unfinished: Unfinished) -> None:
        """Take up a shutdown that an earlier run of the daemon, in this boot, left unfinished."""
        self.outage, self.reason = unfinished.outage, unfinished.reason
        fields: dict[str, Scalar] = {"outage": unfinished.outage, "reason": unfinished.reason}
        fields["steps_done"] = len(unfinished.ended)
        self._emit(Event("shutdown_resumed", Severity.CRITICAL, fields))
        self._owed |= unfinished.began
        self._switch(Phase.SHUTTING_DOWN, partial(self._shut_down, unfinished.outage, unfinished.ended))
        self._resumed = unfinished

    def mains_back(self) -> None:
        """The mains is there: undo what can be undone, and finish what can't. To be called as often as it is seen.

        A machine that is still up long after it was told to power off, and after the outlets should have been cycled,
        was not powered off: then what is left is brought back from here.
        """
        if self.phase is Phase.SHUTTING_DOWN and not self.committed and self.outage:
            idle = {StepState.PENDING, StepState.LEFT_OUT}
            began = {step for step, progress in self.progress.items() if progress.state not in idle}
            self.undo(self.outage, began)
        elif self.phase is Phase.FINISHED and asyncio.get_running_loop().time() - self._finished_at > self._linger_s:
            self.recover(self.outage or "")
        elif self.phase is Phase.IDLE and asyncio.get_running_loop().time() >= self._retry_at:
            self.undo(self._retry_outage, ())

    def undo(self, outage: str, began: Collection[str]) -> None:
        """Undo a shutdown that has not passed its point of no return."""
        self.outage = outage
        self._owed |= frozenset(began)
        self._emit(Event("shutdown_aborted", Severity.WARNING, {"outage": outage}))
        plan = undo_plan(self.plan, self._owed, self._shape)
        self._switch(Phase.ABORTING, partial(self._bring_back, plan, outage))

    def recover(self, outage: str) -> None:
        """Bring everything back after a boot."""
        self.outage = outage
        self._owed = frozenset(step.id for step in self.plan.steps)
        self._emit(Event("recovery_started", Severity.INFO, {"outage": outage}))
        self._switch(Phase.RECOVERING, partial(self._bring_back, recovery_plan(self._shape), outage))

    def note_supply(self, lost_at: float | None) -> None:
        """Write down, for the next run, since when (loop time) the mains is away, or that it is back."""
        record = {"record": "supply", "lost_at": lost_at, "boot_id": self._boot_id}
        note = asyncio.create_task(self._record(record), name="note-supply")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def close(self) -> None:
        """Stop what runs; nothing is undone."""
        if self._task:
            await _stop(self._task)
        if self._notes:
            await asyncio.wait(self._notes)

    def _switch(self, phase: Phase, work: Callable[[], Awaitable[None]]) -> None:
        previous, self.phase, self._resumed = self._task, phase, None
        self._task = asyncio.create_task(self._run_after(previous, work), name=phase.value)
        self._changed()

    async def _run_after(self, previous: asyncio.Task[None] | None, work: Callable[[], Awaitable[None]]) -> None:
        try:
            if previous:
                await _stop(previous)
            await work()
        except Exception:
            # Whatever it is, the next trigger must be able to start the shutdown again.
            log.exception("plan_defect", phase=self.phase.value)
            self._settle(Phase.IDLE)

    async def _begin(self, outage: str) -> None:
        await self._record({"record": "outage", "outage": outage, "reason": self.reason, "boot_id": self._boot_id})
        await self._shut_down(outage, ())

    async def _shut_down(self, outage: str, ended: Collection[str]) -> None:
        results = await self._run(self.plan, outage, ended)
        left_out = sorted(step for step, progress in results.items() if progress.state is StepState.LEFT_OUT)
        bad = sorted(step for step, progress in results.items() if progress.state not in {*_GOOD, StepState.LEFT_OUT})
        fields = {"outage": outage, "not_done": ", ".join(bad) or None, "left_out": ", ".join(left_out) or None}
        self._emit(Event("shutdown_finished", Severity.CRITICAL, fields))
        self._finished_at = asyncio.get_running_loop().time()
        self._settle(Phase.FINISHED)

    async def _bring_back(self, plan: Plan, outage: str) -> None:
        await self._record({"record": "undoing", "outage": outage})
        results = await self._run(plan, outage, ())
        bad = sorted(step for step, progress in results.items() if progress.state not in _GOOD)
        # An outage whose cordons could not be taken back stays open, so that the next start tries again.
        if not any(step.startswith("uncordon") for step in bad):
            how = "recovered" if plan.purpose is PlanPurpose.RECOVERY else "aborted"
            await self._record({"record": "closed", "outage": outage, "how": how})
            self._owed = frozenset()
            self._retry_at = math.inf
        else:
            self._retry_at, self._retry_outage = asyncio.get_running_loop().time() + _RETRY_S, outage
        name = "recovery_finished" if plan.purpose is PlanPurpose.RECOVERY else "abort_finished"
        severity = Severity.CRITICAL if bad else Severity.INFO
        self._emit(Event(name, severity, {"outage": outage, "not_done": ", ".join(bad) or None}))
        self.outage = None
        self._settle(Phase.IDLE)

    async def _run(self, plan: Plan, outage: str, ended: Collection[str]) -> dict[str, StepProgress]:
        self.progress = {}
        self._engine = Engine(
            self._performers,
            record=self._record,
            report=self._report,
            battery_end_at=self._battery_end_at,
            reserve_s=self._reserve_s,
        )
        return await self._engine.run(plan, outage=outage, ended=ended)

    def _settle(self, phase: Phase) -> None:
        self.phase = phase
        self._changed()

    def _report(self, progress: StepProgress) -> None:
        before = self.progress.get(progress.step.id)
        self.progress[progress.step.id] = progress
        if before is not None and before.state is not progress.state:
            self._emit(_step_event(progress))
            if progress.step.commits and progress.state is StepState.RUNNING:
                self._note_commit(progress)
        self._changed()

    def _note_commit(self, progress: StepProgress) -> None:
        committed = [p for p in self.progress.values() if p.step.commits and p.state is not StepState.PENDING]
        if len(committed) == 1:
            self._emit(Event("point_of_no_return", Severity.CRITICAL, {"step": progress.step.id}))

    async def _record(self, record: Mapping[str, Scalar]) -> None:
        try:
            await self._journal.append(record)
        except JournalError as error:
            if self.journal_problem is None:
                self._emit(Event("journal_failed", Severity.CRITICAL, {"reason": str(error)}))
            self.journal_problem = str(error)
        else:
            self.journal_problem = None


def _step_event(progress: StepProgress) -> Event:
    fields: dict[str, Scalar] = {"step": progress.step.id, "state": progress.state.value}
    if not progress.state.ended:
        return Event("step_started", Severity.INFO, fields)
    if progress.started_at is not None and progress.ended_at is not None:
        fields["seconds"] = round(progress.ended_at - progress.started_at, 1)
    fields["detail"] = progress.detail or None
    return Event("step_ended", Severity.INFO if progress.state in _GOOD else Severity.WARNING, fields)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
