"""Is the daemon ready, and may it act? The ledger, the verdict, the arming and the scheduled rehearsal, wired.

What decides is pure and in `shutdown/ledger` and `shutdown/verdict`; files are written in threads, because a dying disk
may hang, and to forget a proof costs little.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from upsd.control import ActError
from upsd.domain.power import Event, Severity
from upsd.shutdown import readiness_files
from upsd.shutdown.ledger import HOW, due_at, noted
from upsd.shutdown.phase import Phase
from upsd.shutdown.readiness_files import Arming
from upsd.shutdown.verdict import NOT_ARMED, Standing, judge, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from upsd.control import Act
    from upsd.domain.plan import PlanPurpose, StepProgress
    from upsd.domain.readiness import Readiness
    from upsd.shutdown.conductor import Conductor
    from upsd.shutdown.ledger import Ledger
    from upsd.status import Json
    from upsd.supervisor import Supervisor

log = structlog.get_logger()

_LOOK_S = 60.0
_WRITE_S = 5.0


@dataclass(frozen=True, slots=True)
class ReadinessRules:
    """How long a proof counts (s), and how long after a rehearsal comes the next (s); `None` for never by itself."""

    valid_for_s: float
    every_s: float | None


class ReadinessKeeper:
    """Keeps the ledger, the verdict and the arming; `follow` completes it before anything else is called.

    Args:
        directory: where the files are.
        rules: what the settings say.
        emit: hears every event.
        changed: is called when something has changed that surfaces show.
        today: the date and time, in UTC.
    """

    _supervisor: Supervisor
    _conductor: Conductor
    _fingerprints: Mapping[str, str]

    def __init__(
        self,
        directory: Path,
        rules: ReadinessRules,
        *,
        emit: Callable[[Event], None],
        changed: Callable[[], None],
        today: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._rules = rules
        self._emit = emit
        self._changed = changed
        self._today = today
        self._ledger, self._ledger_trouble = readiness_files.load_ledger(directory)
        self._arming, self._arming_trouble = readiness_files.load_arming(directory)
        self._saving: asyncio.Future[None] | None = None
        self._saved = self._ledger
        self._spare_s: float | None = None
        self._verdict: Readiness | None = None

    def follow(self, supervisor: Supervisor, conductor: Conductor, fingerprints: Mapping[str, str]) -> None:
        """Judge these from now on; `fingerprints` is of the settings of each step."""
        self._supervisor, self._conductor, self._fingerprints = supervisor, conductor, fingerprints

    @property
    def armed(self) -> bool:
        """Whether a trigger may start a shutdown."""
        return self._arming is not None

    def warnings(self) -> Iterator[str]:
        """What a person should mend, the worst first."""
        if self._arming is None:
            yield NOT_ARMED
        elif self._arming.fingerprint and self._arming.fingerprint != self._fingerprint():
            yield "the settings have changed since upsd was armed: run upsctl plan and upsctl rehearse, then upsctl arm"
        yield from (trouble for trouble in (self._arming_trouble, self._ledger_trouble) if trouble)

    def learn(self, purpose: PlanPurpose, progress: StepProgress) -> None:
        """Note how a step of a shutdown, a rehearsal or a drill ended.

        A drill cordons one node, which proves nothing of the cordon of all.
        """
        fingerprint = self._fingerprints.get(progress.step.id)
        if fingerprint is None:
            return
        self._ledger = noted(self._ledger, progress, HOW[purpose], self._today(), fingerprint)
        self._save_ledger()

    def look(self, troubles: Sequence[str]) -> Readiness | None:
        """The verdict as of now; `None` before anything is known of the supply.

        It is about the next outage: while there is one, or a plan runs, it stays as it was.
        """
        spare_s = self._supervisor.spare_s(asyncio.get_running_loop().time())
        self._spare_s = self._spare_s if spare_s is None else spare_s
        lost = self._supervisor.view.lost_at is not None
        nothing_known = self._spare_s is None and not troubles and not lost
        busy = self._conductor.phase is not Phase.IDLE or lost
        same = self._verdict and self._verdict.armed == self.armed
        if nothing_known or (busy and same):
            return self._verdict
        verdict = judge(
            self._standing(),
            now=self._today(),
            valid_for_s=self._rules.valid_for_s,
            spare_s=self._spare_s,
            armed=self.armed,
            troubles=() if lost else troubles,  # those of an outage pass, and this verdict stays
        )
        if self._verdict is None or _gist(self._verdict) != _gist(verdict):
            self._tell(verdict)
        self._verdict = verdict
        return verdict

    async def keep_rehearsing(self) -> None:
        """Rehearse whenever it is due and nothing is in the way, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._rules.every_s is None:
                continue
            due = due_at(self._ledger, self._conductor.plan, self._fingerprints, self._rules.every_s)
            if due and due <= self._today() and self._why_no_rehearsal() is None:
                self._rehearse()

    def acts(self) -> dict[str, Act]:
        """The commands."""
        return {"rehearse": self._act_rehearse, "arm": self._act_arm, "disarm": self._act_disarm}

    async def _act_rehearse(self, _request: Mapping[str, Json]) -> Json:
        if reason := self._why_no_rehearsal():
            raise ActError(f"no rehearsal now: {reason}")
        return {"rehearsal": self._rehearse(), "steps": len(self._conductor.plan.steps)}

    async def _act_arm(self, request: Mapping[str, Json]) -> Json:
        unproven = self._standing().open
        if unproven and request.get("unproven") is not True:
            raise ActError(
                f"not armed: {len(unproven)} of {len(self._conductor.plan.steps)} steps are not proven:"
                f" {', '.join(unproven)}; run upsctl rehearse and mend what it names, or arm with --unproven"
            )
        uid = request["uid"]
        arming = Arming(uid if isinstance(uid, int) else None, self._today().isoformat(), self._fingerprint())
        why_not = await self._write_arming(arming)
        # Whatever the disk does, it must not keep the rack from being saved.
        self._arming = arming
        self._arming_trouble = (
            why_not and f"armed, but only until the next restart: {why_not}; then run upsctl arm again"
        )
        self._emit(Event("armed", Severity.WARNING, {"uid": arming.uid, "unproven": ", ".join(unproven) or None}))
        self._changed()
        return {"armed": True, "unproven": list(unproven), "trouble": self._arming_trouble}

    async def _act_disarm(self, request: Mapping[str, Json]) -> Json:
        if request.get("yes") is not True:
            raise ActError("then no outage starts a shutdown; say that you mean it with --yes")
        if why_not := await self._write_arming(None):
            raise ActError(f"still armed: {why_not}")
        self._arming, self._arming_trouble = None, None
        uid = request["uid"]
        self._emit(Event("disarmed", Severity.CRITICAL, {"uid": uid if isinstance(uid, int) else None}))
        self._changed()
        return {"armed": False}

    def _why_no_rehearsal(self) -> str | None:
        phase = self._conductor.phase
        if phase is not Phase.IDLE:
            return f"the daemon's own plan is under way ({phase.value})"
        if not self._supervisor.view.on_mains:
            return "the UPS does not say that the mains is there, and an outage comes first"
        return None

    def _rehearse(self) -> str:
        name = f"rehearsal-{self._today():%Y%m%dT%H%M%SZ}"
        self._conductor.rehearse(name)
        return name

    def _standing(self) -> Standing:
        return standing(self._conductor.plan, self._ledger, self._fingerprints)

    def _fingerprint(self) -> str:
        return sha256(repr(sorted(self._fingerprints.items())).encode()).hexdigest()[:12]

    def _tell(self, verdict: Readiness) -> None:
        fields = {"ready": verdict.ready, "armed": verdict.armed, "because": "; ".join(verdict.because) or None}
        self._emit(Event("readiness_changed", Severity.INFO if verdict.ready else Severity.WARNING, fields))

    async def _write_arming(self, arming: Arming | None) -> str | None:
        """Write it, or take it away; why that failed."""
        work = partial(readiness_files.save_arming, self._directory, arming)
        try:
            async with asyncio.timeout(_WRITE_S):
                await asyncio.get_running_loop().run_in_executor(None, work)
        except (OSError, TimeoutError) as error:
            path, why = self._directory / readiness_files.ARMED_FILE, str(error) or "the disk hangs"
            return f"{path} can't be changed ({why}); see that state_directory is there and the daemon's own"
        return None

    def _save_ledger(self) -> None:
        """Write it, unless that is under way; what was learned meanwhile is written after it."""
        if self._saving or self._saved is self._ledger:
            return
        saved = self._ledger
        work = partial(readiness_files.save_ledger, self._directory, saved)
        self._saving = asyncio.get_running_loop().run_in_executor(None, work)
        self._saving.add_done_callback(partial(self._ledger_saved, saved))

    def _ledger_saved(self, saved: Ledger, saving: asyncio.Future[None]) -> None:
        self._saving = None
        if saving.cancelled():
            return
        if error := saving.exception():
            self._ledger_trouble = f"the ledger of proofs can't be written ({error}): see state_directory"
            log.warning("ledger_not_saved", reason=str(error))
            return
        self._ledger_trouble = None
        self._saved = saved
        self._save_ledger()


def _gist(verdict: Readiness) -> tuple[object, ...]:
    """What is worth an event: not that a figure in a sentence is another one."""
    return verdict.ready, verdict.armed, verdict.proven_steps, len(verdict.because)
