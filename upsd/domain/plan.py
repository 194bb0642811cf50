"""A plan as data: steps, what each needs first, how long each takes, and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

WHOLE_CLUSTER = "cluster"
"""The target of a step that is about every node."""


class StepKind(enum.StrEnum):
    """What a step does; each kind has one file in `upsd/shutdown/steps/`."""

    ANNOUNCE = "announce"
    CORDON = "cordon"
    DRAIN = "drain"
    POWEROFF = "poweroff"
    CONFIRM_OFF = "confirm-off"
    SNAPSHOT = "snapshot"
    STOP = "stop"
    UNMOUNT = "unmount"
    FLUSH = "flush"
    LAST_LOOK = "last-look"
    OUTLET_CYCLE = "outlet-cycle"
    HOST_POWEROFF = "host-poweroff"
    START = "start"
    UNCORDON = "uncordon"
    WAIT_BATTERY = "wait-battery"
    WAIT_HOST = "wait-host"
    WAIT_STORAGE = "wait-storage"
    WAIT_QUORUM = "wait-quorum"
    WAIT_READY = "wait-ready"
    WORKLOADS = "workloads"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step's usual time was learned from: how many runs, the date (ISO 8601) of the last, and the setting."""

    runs: int
    last_on: str
    configured_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One piece of work of a plan.

    `expected_s` is what it usually takes, `minimum_s` what it needs when forced, `limit_s` the most that it
    gets however much battery is left. `inverse` names the kind that undoes it; a step without one can't be
    undone, and the first such step that acts is the plan's point of no return. Where `measured` says nothing,
    `expected_s` is the setting.
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
    measured: Measured | None = None

    @property
    def configured_s(self) -> float:
        """What it usually takes, as the settings say."""
        return self.measured.configured_s if self.measured else self.expected_s

    @property
    def commits(self) -> bool:
        """Whether starting this step passes the point of no return."""
        return self.inverse is None and not self.harmless


class PlanPurpose(enum.StrEnum):
    """Why a plan runs."""

    SHUTDOWN = "shutdown"
    SHED = "shed"
    DRILL = "drill"
    """One worker off as in an outage, while the mains is there."""
    ABORT = "abort"
    RECOVERY = "recovery"
    REHEARSAL = "rehearsal"
    """The shutdown's own steps, each proven without harm."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How many steps of a plan are measured, in how many runs at the least, and the oldest date of a last run."""

    steps: int
    of: int
    fewest_runs: int | None
    oldest_on: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which each comes after everything it needs."""

    purpose: PlanPurpose
    steps: tuple[Step, ...]

    @property
    def evidence(self) -> Evidence:
        """What its usual time is based on."""
        measured = [step.measured for step in self.steps if step.measured]
        return Evidence(
            steps=len(measured),
            of=len(self.steps),
            fewest_runs=min((found.runs for found in measured), default=None),
            oldest_on=min((found.last_on for found in measured), default=None),
        )


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
