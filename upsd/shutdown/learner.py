"""What was learned of the steps' durations, in a file that outlives the daemon.

It is written by a thread, after a plan has ended and before the master is powered off: no step ever waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from upsd.domain.plan import PlanPurpose, StepKind
from upsd.files import write_whole
from upsd.shutdown.durations import from_text, learned, observe, observe_step, to_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from upsd.domain.plan import Plan, StepProgress
    from upsd.shutdown.durations import Durations

FILE: Final = "durations.json"
_REHEARSED_FOR_REAL: Final = frozenset({StepKind.CORDON, StepKind.POWEROFF, StepKind.FLUSH})
"""The steps whose rehearsal takes as long as they do: the same calls and logins."""

log = structlog.get_logger()


class DurationsError(Exception):
    """What was kept of the durations can't be used; the text says what to do."""


class DamagedError(DurationsError):
    """It is no file of ours any more."""


class Learner:
    """Remembers how long steps took.

    Args:
        directory: where the file is; `None` to keep nothing beyond this run.
        today: the date (ISO 8601).
    """

    def __init__(self, directory: Path | None, today: Callable[[], str]) -> None:
        self._directory = directory
        self._today = today
        self._writing: asyncio.Future[None] | None = None
        self._dirty = False
        self.durations: Durations = {}
        self.trouble: str | None = None
        """Why something was lost or can't be kept, and what to do."""

    def load(self) -> None:
        """Read what is kept; a file that makes no sense is put aside, and the settings' times are used."""
        if self._directory is None:
            return
        try:
            self.durations = load(self._directory)
        except DurationsError as error:
            self.trouble = str(error)
            if isinstance(error, DamagedError):
                self.trouble += _put_aside(self._directory / FILE)
            log.warning("durations_unusable", reason=self.trouble)

    def apply(self, plan: Plan) -> Plan:
        """The plan with what was learned."""
        return learned(plan, self.durations)

    def follow(self, purpose: PlanPurpose, progress: StepProgress) -> None:
        """Learn from a step that has begun or ended, unless it undoes what another did."""
        if purpose is PlanPurpose.ABORT:
            return
        if purpose is PlanPurpose.REHEARSAL and progress.step.kind not in _REHEARSED_FOR_REAL:
            return
        if progress.step.kind is StepKind.HOST_POWEROFF:
            self.save()  # there may be no time for it later
        elif progress.state.ended:
            self.note(progress)

    def note(self, progress: StepProgress) -> None:
        """Learn from the end of a step."""
        self.durations = observe_step(self.durations, progress, on=self._today())

    def observe(self, step_id: str, seconds: float, *, censored: bool = False) -> None:
        """Learn from a step that was tried out; see `durations.observe`."""
        self.durations = observe(self.durations, step_id, seconds, on=self._today(), censored=censored)

    def save(self) -> None:
        """Have the file written soon; what is learned while it is being written is written after that."""
        if self._directory is None:
            return
        self._dirty = self._writing is not None
        if self._writing is None:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, write_whole, self._directory / FILE, to_text(self.durations))
            self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        if writing.cancelled():
            return
        if error := writing.exception():
            self.trouble = f"how long steps took can't be kept: {error}; see that state_directory is the daemon's own"
            log.warning("durations_not_kept", reason=self.trouble)
        else:
            self.trouble = None
        if self._dirty:
            self.save()


def load(directory: Path) -> Durations:
    """What is kept there; nothing if there is no file.

    Raises:
        DurationsError: it can't be used.
    """
    path = directory / FILE
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DurationsError(f"{path} can't be read: {error.strerror}; give it to the daemon's user") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{path} makes no sense: {error}; the plan goes by the settings' times until steps have run again"
        ) from error


def _put_aside(path: Path) -> str:
    """Keep it for a person who wants to look; a few words on where."""
    aside = path.with_name(f"{path.name}.bad")
    try:
        path.replace(aside)
    except OSError as error:
        return f"; it can't be put aside ({error.strerror}): remove it"
    return f"; it is kept as {aside.name}: remove that when you have looked at it"
