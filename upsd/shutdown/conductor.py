"""Which plan runs now: none, a shedding, the shutdown, their undoing, the recovery, a rehearsal, or a drill.

The conductor holds the plan that an outage would run, starts it, calls it off while that is still possible, and
takes it up again after a restart. It is told what happened and decides nothing about power.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

import structlog

from upsd.domain.plan import PlanPurpose, StepKind, StepState
from upsd.domain.power import Event, Severity
from upsd.shutdown import progress as standing
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.engine import Engine
from upsd.shutdown.ledger import HOW
from upsd.shutdown.missing import note
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import over_before, recovery_plan, rehearsal_plan, shed_plan, shutdown_plan, undo_plan
from upsd.shutdown.progress import step_event
from upsd.shutdown.recorder import Recorder
from upsd.shutdown.trials import REASON, Drill, Rehearsal, drill_plan
from upsd.shutdown.trigger import REQUESTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from upsd.domain.plan import Plan, StepProgress
    from upsd.domain.power import Scalar
    from upsd.shutdown.engine import Performer
    from upsd.shutdown.journal import Journal
    from upsd.shutdown.learner import Learner
    from upsd.shutdown.plan import RackShape
    from upsd.shutdown.records import Unfinished


log = structlog.get_logger()


_RETRY_S = 300.0
_ON_BATTERY = frozenset({PlanPurpose.SHUTDOWN, PlanPurpose.SHED, PlanPurpose.DRILL})
_DOWN = frozenset({Phase.SHUTTING_DOWN, Phase.FINISHED})
_EARLY = frozenset({Phase.SHEDDING, Phase.DRILLING})
"""Some workers go off, and what that has done is done for a shutdown that takes over."""


class Conductor:
    """Runs one plan at a time.

    Args:
        shape: what the rack consists of.
        performers: who does each kind of step.
        rehearsers: who proves each kind of step of the shutdown.
        journal: where is written what begins and ends.
        emit: hears every event.
        changed: is called when the phase or a step's progress has changed.
        battery_end_at: until when the battery may be used (loop time); infinite on mains.
        reserve_s: how much longer (s) it lasts.
        boot_id: tells this boot of the machine from others.
        name_outage: gives a new outage its name.
        linger_s: how long after its end a shutdown may still be taken for under way.
        learner: remembers how long steps took; without it the plan goes by the settings.
        figures: what is written of the battery beside every record.
        settled: is called when what the journal tells may have come to its end.
        closed: is called when an outage is over and everything is back.
        learn: hears how each step of a shutdown, a rehearsal or a drill ended.
    """

    def __init__(
        self,
        shape: RackShape,
        performers: Mapping[StepKind, Performer],
        rehearsers: Mapping[StepKind, Performer],
        *,
        journal: Journal,
        emit: Callable[[Event], None],
        changed: Callable[[], None],
        battery_end_at: Callable[[], float],
        reserve_s: float,
        boot_id: str,
        name_outage: Callable[[], str],
        linger_s: float,
        learner: Learner | None = None,
        figures: Callable[[], Mapping[str, Scalar]] = dict,
        settled: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
        learn: Callable[[PlanPurpose, StepProgress], None] = lambda _purpose, _progress: None,
    ) -> None:
        self.shape = shape
        self._performers = performers
        self._rehearsers = rehearsers
        self.recorder = Recorder(journal, emit=emit, boot_id=boot_id, figures=figures, settled=settled)
        self._emit = emit
        self._changed = changed
        self._battery_end_at = battery_end_at
        self._reserve_s = reserve_s
        self._name_outage = name_outage
        self._linger_s = linger_s
        self._learner = learner
        self._closed = closed
        self._hear_end = learn
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._resumed: Unfinished | None = None
        self._owed: frozenset[str] = frozenset()
        self._owed_shed: frozenset[str] = frozenset()
        self._finished_at = math.inf
        self._retry_at, self._retry_outage = math.inf, ""
        self._trial: Rehearsal | Drill | None = None
        self.plan: Plan = self.by_experience(shutdown_plan(shape))
        self.recovery: Plan = self.by_experience(recovery_plan(shape))
        self.phase = Phase.IDLE
        self.outage: str | None = None
        self.reason = ""
        self.progress: dict[str, StepProgress] = {}
        self.shedding: frozenset[str] = frozenset()
        """The workers that go off early, or are off, in this outage or drill."""
        self.missing: set[str] = set()
        """The machines that were waited for in vain, as far as nobody has seen them since."""

    @property
    def committed(self) -> bool:
        """Whether the shutdown has passed its point of no return."""
        before = self._resumed is not None and self._resumed.committed
        return self.phase in _DOWN and (before or (self._engine is not None and self._engine.committed))

    @property
    def ended(self) -> frozenset[str]:
        """The steps of the shutdown plan that are over."""
        return standing.ended(self.progress)

    @property
    def confirmed_off(self) -> frozenset[str]:
        """The machines that the running or ended shutdown, the shedding or the drill has seen go off."""
        return standing.seen_off(self.progress) if self.phase in _DOWN | _EARLY else frozenset()

    @property
    def may_start(self) -> bool:
        """Whether a shutdown could start now: none runs or has run to its end."""
        return self.phase not in _DOWN

    def shed(self, workers: Collection[str], reason: str) -> None:
        """Power these workers off early, beside those that are off already; what brings back is called off for it."""
        outage = self.outage if self.outage and self.phase is Phase.SHEDDING else self._name_outage()
        self._shed_more(outage, reason, self.shedding.union(workers), self._good_early())

    def start(self, reason: str, *, owed: Collection[str] = ()) -> None:
        """Start the shutdown; what else runs (a shedding, an abort, a recovery) is called off for it.

        What the shedding has done is done. `owed` are steps that an outage before it began and nobody has undone.
        """
        early = self._began_early()
        self._owed |= frozenset(owed) | early
        over = over_before(self.plan, early, self._good_early(), shed=self.shedding)
        self.outage = self.outage if self.outage and self.phase is Phase.SHEDDING else self._name_outage()
        self.reason = reason
        self._emit(Event("shutdown_started", Severity.CRITICAL, {"outage": self.outage, "reason": reason}))
        self._switch(Phase.SHUTTING_DOWN, partial(self._begin, self.outage, over))

    def resume(self, unfinished: Unfinished) -> None:
        """Take up a shutdown, or a shedding, that an earlier run of the daemon, in this boot, left unfinished."""
        self._owed |= unfinished.began
        self._owed_shed |= unfinished.shed
        if unfinished.only_shed:
            self._shed_more(unfinished.outage, unfinished.reason, unfinished.shed, unfinished.ended)
            return
        self.outage, self.reason = unfinished.outage, unfinished.reason
        fields: dict[str, Scalar] = {"outage": unfinished.outage, "reason": unfinished.reason}
        over = over_before(self.plan, unfinished.tried, unfinished.ended, shed=unfinished.shed)
        fields["steps_done"] = len(over)
        self._emit(Event("shutdown_resumed", Severity.CRITICAL, fields))
        self._switch(Phase.SHUTTING_DOWN, partial(self._shut_down, unfinished.outage, over))
        self._resumed = unfinished

    def mains_back(self) -> None:
        """The mains is there: undo what can be undone, and finish what can't. To be called as often as it is seen.

        A shutdown that a person asked for does not end because there is mains. A machine that is still up long after it
        was told to power off, and after the outlets should have been cycled, was not powered off: then what is left is
        brought back from here.
        """
        if self.phase in {Phase.SHEDDING, Phase.SHUTTING_DOWN}:
            if self.phase is Phase.SHEDDING or self.reason != REQUESTED:
                self.call_off("mains-back")
        elif self.phase is Phase.FINISHED and asyncio.get_running_loop().time() - self._finished_at > self._linger_s:
            self.recover(self.outage or "")
        elif self.phase is Phase.IDLE and asyncio.get_running_loop().time() >= self._retry_at:
            self.undo(self._retry_outage, ())

    def call_off(self, reason: str) -> None:
        """Undo the running shedding or drill, or shutdown unless it has passed its point of no return."""
        undoable = self.phase in _EARLY or (self.phase is Phase.SHUTTING_DOWN and not self.committed)
        if undoable and self.outage:
            self.undo(self.outage, self._began(), reason=reason)

    def undo(
        self, outage: str, began: Collection[str], shed: Collection[str] = (), *, reason: str = "mains-back"
    ) -> None:
        """Undo a shutdown that has not passed its point of no return, and the shedding of the workers `shed`.

        What an outage before it has powered off and nobody has brought back yet takes a whole recovery.
        """
        self._owed |= frozenset(began)
        self._owed_shed |= frozenset(shed)
        begun = [step for step in self.plan.steps if step.id in self._owed and step.target not in self._owed_shed]
        if any(step.commits for step in begun):
            self.recover(outage)
            return
        self.outage = outage
        name = "shutdown_aborted" if begun or not self._owed_shed else "shedding_undone"
        self._emit(Event(name, Severity.WARNING, {"outage": outage, "reason": reason}))
        plan = undo_plan(self.plan, self._owed, self.shape, shed=self._owed_shed)
        self._switch(Phase.ABORTING, partial(self._bring_back, plan, outage))

    def recover(self, outage: str) -> None:
        """Bring everything back, after a boot or a shutdown that left this machine up."""
        self.outage = outage
        self._owed = frozenset(step.id for step in self.plan.steps)
        self._emit(Event("recovery_started", Severity.INFO, {"outage": outage}))
        self._switch(Phase.RECOVERING, partial(self._bring_back, self.recovery, outage))

    def rehearse(self, name: str) -> None:
        """Prove the steps of the shutdown without harm, as long as nothing else is to run and the mains stays."""
        self.outage, self.reason = None, "rehearsal"
        self._try_out(Phase.REHEARSING, Rehearsal(name), partial(self._rehearse, Rehearsal(name)))

    def drill(self, worker: str) -> Drill:
        """Power this worker off and bring it back, as long as nothing else is to run and the mains stays."""
        drill = Drill(f"{self._name_outage()}-drill", worker)
        self.outage, self.reason, self.shedding = drill.name, REASON, frozenset({worker})
        self._owed_shed |= self.shedding
        self._try_out(Phase.DRILLING, drill, partial(self._go_and_return, drill))
        return drill

    def mains_away(self) -> None:
        """The mains is away, perhaps for a moment only: a rehearsal ends at once, and a drill is one no more.

        What a drill has begun goes on as a shedding: nothing is switched on in an outage, and the mains brings it back.
        """
        if self.phase is Phase.REHEARSING:
            self._switch(Phase.IDLE, _do_nothing)
        elif self.phase is Phase.DRILLING:
            self._shed_more(self._name_outage(), REASON, self.shedding, self._good_early())

    def refresh_plan(self) -> None:
        """Go by what was learned since, unless a plan runs; to be called when a step was tried out."""
        if self.phase is Phase.IDLE:
            self.plan = self.by_experience(shutdown_plan(self.shape))
            self.recovery = self.by_experience(recovery_plan(self.shape))

    def by_experience(self, plan: Plan) -> Plan:
        """The plan with what was learned of how long its steps take."""
        return self._learner.apply(plan) if self._learner else plan

    async def close(self) -> None:
        """Stop what runs; nothing is undone."""
        if self._task:
            await _stop(self._task)
        await self.recorder.close()

    def _switch(self, phase: Phase, work: Callable[[], Awaitable[None]]) -> None:
        self._leave_trial()
        previous, self.phase, self._resumed, self._engine = self._task, phase, None, None
        self.shedding = self.shedding if phase in _EARLY else frozenset()
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
            self._leave_trial()
            if self.phase is not Phase.REHEARSING:
                self._owed |= self._began()
                self._retry_at, self._retry_outage = asyncio.get_running_loop().time() + _RETRY_S, self.outage or ""
            self._settle(Phase.IDLE)

    def _shed_more(self, outage: str, reason: str, workers: Collection[str], ended: Collection[str]) -> None:
        self._owed |= self._began_early()
        self.outage, self.reason, self.shedding = outage, reason, frozenset(workers)
        self._owed_shed |= self.shedding
        named = ", ".join(sorted(self.shedding))
        self._emit(Event("shedding_started", Severity.WARNING, {"outage": outage, "workers": named, "reason": reason}))
        record = {"record": "shedding", "outage": outage, "reason": reason, "workers": named}
        plan = shed_plan(self.shape, self.shedding)
        self._switch(Phase.SHEDDING, partial(self._shed, plan, record, outage, ended))

    async def _shed(self, plan: Plan, record: Mapping[str, Scalar], outage: str, ended: Collection[str]) -> None:
        await self.recorder.write(record)
        bad = standing.not_good(await self._run(plan, outage, ended))
        severity = Severity.WARNING if bad else Severity.INFO
        fields = {"outage": outage, "off": ", ".join(sorted(self.confirmed_off)) or None, "not_done": bad}
        self._emit(Event("shedding_finished", severity, fields))

    def _began(self) -> frozenset[str]:
        """The steps of the running plan, or the last one, that have begun."""
        return standing.began(self.progress)

    def _began_early(self) -> frozenset[str]:
        return self._began() if self.phase in _EARLY else frozenset()

    def _good_early(self) -> frozenset[str]:
        return standing.gone_well(self.progress) if self.phase in _EARLY else frozenset()

    async def _begin(self, outage: str, ended: Collection[str]) -> None:
        expected_s = round(critical_path_s(self.plan), 1)
        await self.recorder.write(
            {"record": "outage", "outage": outage, "reason": self.reason, "expected_s": expected_s}
        )
        await self._shut_down(outage, ended)

    async def _shut_down(self, outage: str, ended: Collection[str]) -> None:
        results = await self._run(self.plan, outage, ended)
        bad, left_out = standing.gone_wrong(results), standing.left_out(results)
        fields = {"outage": outage, "not_done": bad, "left_out": left_out}
        self._emit(Event("shutdown_finished", Severity.CRITICAL, fields))
        self._finished_at = asyncio.get_running_loop().time()
        self._settle(Phase.FINISHED)

    async def _bring_back(self, plan: Plan, outage: str) -> None:
        bad = standing.not_good(await self._undo(plan, outage))
        name = "recovery_finished" if plan.purpose is PlanPurpose.RECOVERY else "abort_finished"
        severity = Severity.CRITICAL if bad else Severity.INFO
        self._emit(Event(name, severity, {"outage": outage, "not_done": bad}))
        self.outage = None
        self._settle(Phase.IDLE)

    async def _undo(self, plan: Plan, outage: str) -> dict[str, StepProgress]:
        await self.recorder.write({"record": "undoing", "outage": outage, "plan": plan.purpose.value})
        results = await self._run(plan, outage, ())
        # An outage whose cordons could not be taken back stays open, so that the next start tries again.
        if standing.all_uncordoned(results):
            how = "recovered" if plan.purpose is PlanPurpose.RECOVERY else "aborted"
            await self.recorder.write({"record": "closed", "outage": outage, "how": how})
            self.recorder.settled()
            self._owed = self._owed_shed = frozenset()
            self._retry_at = math.inf
            self._closed()
        else:
            self._retry_at, self._retry_outage = asyncio.get_running_loop().time() + _RETRY_S, outage
        return results

    async def _go_and_return(self, drill: Drill) -> None:
        await self.recorder.write(drill.record)
        away = await self._run(self.by_experience(drill_plan(self.shape, drill.worker)), drill.name, ())
        if self._trial is not drill:
            return  # something else has taken its place at this very moment
        # From here on it is an undoing like any other: if the mains goes now, the machine is left to boot.
        self._owed |= self._began()
        self.phase, self.shedding = Phase.ABORTING, frozenset()
        self._changed()
        back = await self._undo(undo_plan(self.plan, self._owed, self.shape, shed=self._owed_shed), drill.name)
        if self._trial is drill:
            self._trial, self.outage = None, None
            self._emit(drill.finished(standing.not_good(away | back)))
            self._settle(Phase.IDLE)

    def _try_out(self, phase: Phase, trial: Rehearsal | Drill, work: Callable[[], Awaitable[None]]) -> None:
        self._emit(trial.started())
        self._switch(phase, work)
        self._trial = trial

    async def _rehearse(self, rehearsal: Rehearsal) -> None:
        bad = standing.not_good(await self._run(rehearsal_plan(self.plan), rehearsal.name, ()))
        self._trial, self.progress = None, {}
        self._settle(Phase.IDLE)
        self._emit(rehearsal.finished(bad))

    def _leave_trial(self) -> None:
        """What is left of a rehearsal or a drill that has not ended, once something else takes its place."""
        trial, self._trial = self._trial, None
        if isinstance(trial, Rehearsal) and self._task:
            self._task.cancel()
            self._engine, self.progress = None, {}
        if trial:
            self._emit(trial.cancelled())

    async def _run(self, plan: Plan, outage: str, ended: Collection[str]) -> dict[str, StepProgress]:
        rehearsal = plan.purpose is PlanPurpose.REHEARSAL

        def report(progress: StepProgress) -> None:
            # What a plan that was called off still says is none of the next one's business.
            if self._engine is engine:
                self._report(plan.purpose, progress)

        engine = self._engine = Engine(
            self._rehearsers if rehearsal else self._performers,
            record=_forget if rehearsal else partial(self.recorder.write_step, plan.purpose, outage),
            report=report,
            # To bring back may take all the time it needs: if the mains goes again, a trigger calls it off.
            battery_end_at=self._battery_end_at if plan.purpose in _ON_BATTERY else None,
            reserve_s=self._reserve_s,
        )
        self.progress = {}
        results = await engine.run(plan, outage=outage, ended=ended)
        if self._learner:
            self._learner.save()
        return results

    def _settle(self, phase: Phase) -> None:
        self.phase = phase
        self.refresh_plan()
        self._changed()

    def _report(self, purpose: PlanPurpose, progress: StepProgress) -> None:
        before = self.progress.get(progress.step.id)
        self.progress[progress.step.id] = progress
        if before is not None and before.state is not progress.state:
            if progress.state.ended and purpose in HOW:
                self._hear_end(purpose, progress)
            self._tell(purpose, progress)
            if self._learner and not self._resumed:  # half of a run shows no whole durations
                self._learner.follow(purpose, progress)
        self._changed()

    def _tell(self, purpose: PlanPurpose, progress: StepProgress) -> None:
        if event := step_event(purpose, progress):
            self._emit(event)
        if progress.step.commits and progress.state is StepState.RUNNING and self.phase is Phase.SHUTTING_DOWN:
            self._note_commit(progress)
        if progress.step.kind is StepKind.WAIT_HOST and progress.state.ended:
            note(self.missing, progress)

    def _note_commit(self, progress: StepProgress) -> None:
        passed = [p for p in self.progress.values() if p.step.commits and p.started_at is not None]
        if len(passed) == 1 and not (self._resumed and self._resumed.committed):
            self._emit(Event("point_of_no_return", Severity.CRITICAL, {"step": progress.step.id}))


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _forget(_: Mapping[str, Scalar]) -> None:
    """Write nothing down: a restart must not take a rehearsal for an outage."""


async def _do_nothing() -> None:
    """Leave everything as it is."""
