"""What is the matter right now? The one status model and event stream that every surface shows.

A `Snapshot` becomes a document (plain JSON values, schema 1) here and nowhere else, so that MQTT, the control
socket and whatever follows them can't disagree. Readings carry NUT's variable names (RFC 9271); a figure that
nobody reported is `null`.

The board keeps the latest documents and hands them to its followers. A follower that lags gets the latest state
instead of every state, and loses its oldest events first, with a count of what it lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from upsd.domain.power import Event, PowerState, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from upsd.domain.plan import Evidence, StepProgress
    from upsd.domain.power import BatteryHealth, Reading, RuntimeEstimate, UpsIdentity
    from upsd.domain.readiness import Readiness

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Document: TypeAlias = "dict[str, Json]"
Topic = Literal["state", "shutdown", "event"]
Update: TypeAlias = "tuple[Topic, Document]"

SCHEMA = 1
STATE_PAUSE_S = 0.5
"""A follower gets two states of the same power and phase no closer together than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is known at one moment; `None` is not known, or does not apply now.

    `starts_in_s` is how long the shutdown can still wait; `phase` is one of idle, shedding, drilling, shutting-down,
    aborting, recovering, rehearsing and finished; `test_result` is how the last battery test of ours ended, in NUT's
    words.
    """

    ups: str
    power: PowerState = PowerState.UNKNOWN
    identity: UpsIdentity | None = None
    reading: Reading | None = None
    on_battery_s: float | None = None
    runtime: RuntimeEstimate | None = None
    plan_expected_s: float | None = None
    plan_minimum_s: float | None = None
    plan_evidence: Evidence | None = None
    starts_in_s: float | None = None
    outage: str | None = None
    phase: str = "idle"
    warnings: tuple[str, ...] = ()
    readiness: Readiness | None = None
    test_result: str | None = None
    battery: BatteryHealth | None = None


def status_tokens(reading: Reading) -> tuple[str, ...]:
    """The words of NUT's `ups.status`. A battery test is no status of its own: see `ups.test.result`."""
    tokens = {
        "OB" if reading.on_battery else "OL": True,
        "LB": reading.on_battery and reading.battery_low,
        "CHRG": reading.charging,
        "DISCHRG": reading.on_battery,
        "BYPASS": reading.on_bypass,
        "TRIM": reading.buck,
        "BOOST": reading.boost,
        "RB": reading.replace_battery,
        "OVER": reading.overload,
        "OFF": not reading.output_powered,
    }
    return tuple(token for token, shown in tokens.items() if shown)


def state_document(snapshot: Snapshot, *, at: str | None, now: float) -> Document:
    """The state for every surface; `at` is the date to show (ISO 8601, UTC), `now` the loop time."""
    reading = snapshot.reading
    return {
        "schema": SCHEMA,
        "ups": snapshot.ups,
        "at": at,
        "power": snapshot.power.value,
        "readings": _readings(reading, snapshot.test_result),
        "device": _device(snapshot.identity),
        "reading_age_s": None if reading is None else _seconds(now - reading.at),
        "on_battery_s": _seconds(snapshot.on_battery_s),
        "runtime": _runtime(snapshot.runtime),
        "battery": _battery(snapshot.battery),
        "plan": _plan(snapshot),
        "outage": snapshot.outage,
        "phase": snapshot.phase,
        "warnings": list(snapshot.warnings),
        "readiness": _readiness(snapshot.readiness),
    }


def shutdown_document(
    *,
    phase: str,
    outage: str | None,
    reason: str | None,
    progress: Sequence[StepProgress],
    at: str | None,
    now: float,
    committed: bool = False,
) -> Document:
    """Where the running plan, or the last one, stands: each step in the plan's order, times relative to `at`."""
    return {
        "schema": SCHEMA,
        "at": at,
        "phase": phase,
        "outage": outage,
        "reason": reason,
        "committed": committed,
        "steps": [_step(step, now) for step in progress],
    }


def event_document(event: Event, *, ups: str, at: str | None) -> Document:
    """An event for every surface; `event_type` is what Home Assistant calls its name."""
    return {
        "schema": SCHEMA,
        "ups": ups,
        "at": at,
        "event_type": event.name,
        "severity": event.severity.value,
        "fields": dict(event.fields),
    }


class Subscription:
    """One follower's view of the board: an endless async iterator of `(topic, document)`.

    What was current when the subscription began comes first.
    """

    def __init__(self, board: StatusBoard, *, events: int) -> None:
        self._board = board
        self._latest: dict[Topic, Document] = {}
        self._events: deque[Document] = deque()
        self._room = events
        self._lost = 0
        self._lost_at: str | None = None
        self._offered = asyncio.Event()
        self._shown: tuple[Json, Json] | None = None
        self._state_due_at = -math.inf
        self.refresh()

    def refresh(self) -> None:
        """Deliver the current state and shutdown once more, for a reader who may have missed them."""
        self._shown = None
        self.offer("state", self._board.state)
        self.offer("shutdown", self._board.shutdown)

    def offer(self, topic: Topic, document: Document) -> None:
        """Put a document in line: behind other events, but in place of an older state or shutdown."""
        if topic != "event":
            self._latest[topic] = document
        else:
            if len(self._events) >= self._room:
                dropped = self._events.popleft()
                self._lost += 1
                self._lost_at = str(dropped["at"])
            self._events.append(document)
        self._offered.set()

    def take(self, now: float) -> Update | None:
        """The next document that is due at loop time `now`, without waiting; `None` if there is none."""
        state = self._latest.get("state")
        if state is not None and (now >= self._state_due_at or _headline(state) != self._shown):
            self._shown = _headline(state)
            self._state_due_at = now + STATE_PAUSE_S
            return "state", self._latest.pop("state")
        if "shutdown" in self._latest:
            return "shutdown", self._latest.pop("shutdown")
        if self._lost:
            lost = Event("events_lost", Severity.WARNING, {"count": self._lost})
            self._lost = 0
            return "event", event_document(lost, ups=self._board.ups, at=self._lost_at)
        if self._events:
            return "event", self._events.popleft()
        return None

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Update:
        loop = asyncio.get_running_loop()
        while (update := self.take(loop.time())) is None:
            self._offered.clear()
            held_back = "state" in self._latest
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._state_due_at if held_back else None):
                    await self._offered.wait()
        return update


class StatusBoard:
    """The latest state and shutdown documents, and the fan-out of what changes. Documents are never altered."""

    def __init__(self, ups: str) -> None:
        self.ups = ups
        self.state: Document = state_document(Snapshot(ups=ups), at=None, now=0.0)
        self.shutdown: Document = shutdown_document(
            phase="idle", outage=None, reason=None, progress=(), at=None, now=0.0
        )
        self._subscriptions: set[Subscription] = set()

    def set_state(self, document: Document) -> None:
        """Show a new state."""
        self.state = document
        self._offer("state", document)

    def set_shutdown(self, document: Document) -> None:
        """Show the progress of a plan."""
        self.shutdown = document
        self._offer("shutdown", document)

    def emit(self, event: Event, at: str) -> None:
        """Tell every follower what happened, and when (ISO 8601, UTC)."""
        self._offer("event", event_document(event, ups=self.ups, at=at))

    @contextlib.contextmanager
    def subscribe(self, *, events: int = 256) -> Iterator[Subscription]:
        """Follow the board; at most `events` events wait for a slow reader."""
        subscription = Subscription(self, events=events)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def _offer(self, topic: Topic, document: Document) -> None:
        for subscription in self._subscriptions:
            subscription.offer(topic, document)


def _headline(state: Document) -> tuple[Json, Json]:
    return state["power"], state["phase"]


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _readings(reading: Reading | None, test_result: str | None) -> Document:
    if reading is None:
        return {**dict.fromkeys(_READING_NAMES), "ups.test.result": test_result}
    values: tuple[Json, ...] = (
        " ".join(status_tokens(reading)),
        reading.charge_percent,
        reading.runtime_s,
        reading.battery_voltage_v,
        reading.input_voltage_v,
        reading.input_frequency_hz,
        reading.bypass_voltage_v,
        reading.bypass_frequency_hz,
        reading.output_voltage_v,
        reading.output_frequency_hz,
        reading.load_percent,
        reading.temperature_c,
        "enabled" if reading.beeper_on else "disabled",
        "In progress" if reading.test_in_progress else test_result,
    )
    return {**dict(zip(_READING_NAMES, values, strict=True)), **_phases(reading)}


def _phases(reading: Reading) -> Document:
    """A three-phase unit's figures, by NUT's names; single-phase sides have no more than the one above."""
    found: Document = {}
    for number, phase in enumerate(reading.phases, start=1):
        found |= {
            f"input.L{number}-N.voltage": phase.input_voltage_v,
            f"input.bypass.L{number}-N.voltage": phase.bypass_voltage_v,
            f"output.L{number}-N.voltage": phase.output_voltage_v,
            f"output.L{number}.power.percent": phase.load_percent,
            f"output.L{number}.current": phase.current_a,
            f"output.L{number}.realpower": phase.real_power_w,
            f"output.L{number}.power": phase.apparent_power_va,
        }
    return found


_READING_NAMES = (
    "ups.status",
    "battery.charge",
    "battery.runtime",
    "battery.voltage",
    "input.voltage",
    "input.frequency",
    "input.bypass.voltage",
    "input.bypass.frequency",
    "output.voltage",
    "output.frequency",
    "ups.load",
    "ups.temperature",
    "ups.beeper.status",
    "ups.test.result",
)


def _device(identity: UpsIdentity | None) -> Document | None:
    if identity is None:
        return None
    return {
        "device.model": identity.model,
        "device.serial": identity.serial,
        "ups.firmware": identity.firmware,
        "ups.power.nominal": identity.apparent_power_va,
        "ups.realpower.nominal": identity.real_power_w,
        "battery.voltage.nominal": identity.battery_voltage_v,
        "battery.capacity": identity.battery_capacity_ah,
        "output.voltage.nominal": identity.output_voltage_v,
        "output.frequency.nominal": identity.output_frequency_hz,
        "input.phases": identity.phases[0],
        "output.phases": identity.phases[1],
        "ups.type": identity.kind,
    }


def _runtime(runtime: RuntimeEstimate | None) -> Document | None:
    if runtime is None:
        return None
    return {
        "expected_s": _seconds(runtime.expected_s),
        "low_s": _seconds(runtime.low_s),
        "high_s": _seconds(runtime.high_s),
        "source": runtime.source,
        "model_s": _seconds(runtime.model_s),
        "ups_s": _seconds(runtime.ups_s),
    }


def _battery(health: BatteryHealth | None) -> Document:
    point = health.point if health else None
    return {
        "health_percent": point.percent if point else None,
        "health_at": point.date if point else None,
        "health_known_by": point.known_by if point else None,
        "replace_by": health.replace_by if health else None,
    }


def _readiness(readiness: Readiness | None) -> Document | None:
    if readiness is None:
        return None
    return {
        "ready": readiness.ready,
        "because": list(readiness.because),
        "armed": readiness.armed,
        "proven_steps": readiness.proven_steps,
        "of": readiness.of,
        "oldest_proof": readiness.oldest_proof,
    }


def _plan(snapshot: Snapshot) -> Document | None:
    if snapshot.plan_expected_s is None:
        return None
    return {
        "expected_s": _seconds(snapshot.plan_expected_s),
        "minimum_s": _seconds(snapshot.plan_minimum_s),
        "measured": evidence_document(snapshot.plan_evidence),
        "starts_in_s": _seconds(snapshot.starts_in_s),
    }


def evidence_document(evidence: Evidence | None) -> Document | None:
    """How many of the steps of a plan are measured."""
    if evidence is None:
        return None
    return {
        "steps": evidence.steps,
        "of": evidence.of,
        "fewest_runs": evidence.fewest_runs,
        "oldest_on": evidence.oldest_on,
    }


def _step(progress: StepProgress, now: float) -> Document:
    step, started, ended = progress.step, progress.started_at, progress.ended_at
    deadline = None if progress.state.ended else progress.deadline_at
    return {
        "id": step.id,
        "kind": step.kind.value,
        "target": step.target,
        "state": progress.state.value,
        "detail": progress.detail,
        "started_s_ago": None if started is None else _seconds(now - started),
        "seconds": None if started is None else _seconds((now if ended is None else ended) - started),
        "expected_s": _seconds(step.expected_s),
        "deadline_in_s": None if deadline is None else _seconds(deadline - now),
    }
