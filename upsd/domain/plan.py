"""A plan as data: steps, what each needs first, how long each takes, and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class StepKind(enum.StrEnum):
    """What a step does; each kind has one file in `upsd/shutdown/steps/`."""

    ANNOUNCE = "announce"
    CORDON = "cordon"
    DRAIN = "drain"
    POWEROFF = "poweroff"
    CONFIRM_OFF = "confirm-off"
    UNMOUNT = "unmount"
    FLUSH = "flush"
    OUTLET_CYCLE = "outlet-cycle"
    HOST_POWEROFF = "host-poweroff"
    UNCORDON = "uncordon"
    WAIT_STORAGE = "wait-storage"
    WAIT_READY = "wait-ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One piece of work of a plan.

    `expected_s` is what it usually takes, `minimum_s` what it needs when forced, `limit_s` the most that it
    gets however much battery is left. `inverse` names the kind that undoes it; a step without one can't be
    undone, and the first such step that acts is the plan's point of no return.
    """

    id: str
    kind: StepKind
    target: str
    needs: tuple[str, ...]
    expected_s: float
    minimum_s: float
    limit_s: float
    inverse: StepKind | None = None
    harmless: bool = False

    @property
    def commits(self) -> bool:
        """Whether starting this step passes the point of no return."""
        return self.inverse is None and not self.harmless


class PlanPurpose(enum.StrEnum):
    """Why a plan runs."""

    SHUTDOWN = "shutdown"
    ABORT = "abort"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which each comes after everything it needs."""

    purpose: PlanPurpose
    steps: tuple[Step, ...]


class StepState(enum.StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FORCED = "forced"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    LEFT_OUT = "left-out"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the step in this run."""
        return self not in {StepState.PENDING, StepState.RUNNING}


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Where one step of a running plan stands; times are loop times, `detail` is for a person."""

    step: Step
    state: StepState = StepState.PENDING
    detail: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    deadline_at: float | None = None
