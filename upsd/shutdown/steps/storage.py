"""The NAS: unmount it, have it written out, and mount it again when it is back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.power import Event, Severity
from upsd.domain.rack import RackError
from upsd.domain.storage import RaidState
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.drain import NasUsers
from upsd.shutdown.steps.persist import persist, unless_forced

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.domain.plan import Step
    from upsd.domain.power import Scalar
    from upsd.domain.rack import Storage
    from upsd.domain.storage import Flushed, RaidArray, WrittenOut
    from upsd.shutdown.engine import StepContext

_TRIES = 2
_MOUNT_PAUSE_S = 5.0
_SHARE = 0.9
"""Of the step's time the flush gets, so that it can still say what is left."""


@dataclass(slots=True)
class MountMemory:
    """Where else the NAS was mounted before the outage took it off; kept until the outage is closed."""

    others: frozenset[str] = frozenset()

    def forget(self) -> None:
        """Let the next outage begin with none."""
        self.others = frozenset()


@dataclass(frozen=True, slots=True)
class Unmount:
    """Writes the mounts out and takes them away, so that nothing here holds data for the NAS any more.

    Once the step must use force, those that hang are detached and named: what they still hold is lost, and nothing
    else hangs on them. Where the settings name no mount, it is written down before it goes, for the way back.
    """

    storage: Storage
    memory: MountMemory = field(default_factory=MountMemory)

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await self._remember_others(context)
        trouble = "hung"

        async def unmount() -> WrittenOut:
            nonlocal trouble
            try:
                return await self.storage.unmount()
            except RackError as error:
                trouble = str(error)
                raise

        written = await unless_forced(context, persist(context, unmount, tries=_TRIES))
        if written is not None:
            return Outcome(detail=f"unmounted; here {figures(written)}")
        try:
            detached = await self.storage.detach()
        except RackError as error:
            raise RackError(f"{trouble}; {error}") from error
        return Outcome(
            StepState.FORCED, f"{trouble}, and was detached: {', '.join(detached) or 'nothing that is left'}"
        )

    async def _remember_others(self, context: StepContext) -> None:
        others = self.memory.others.union(await self.storage.also_mounted())
        if others != self.memory.others:
            self.memory.others = others
            await context.record({"record": "mounts", "others": json.dumps(sorted(others))})


@dataclass(frozen=True, slots=True)
class Flush:
    """Has everything written to the disks of the NAS, and says what that came to and how its RAID is.

    Names the pods that may not have written all that they had.
    """

    storage: Storage
    emit: Callable[[Event], None]
    users: NasUsers = field(default_factory=NasUsers)

    async def __call__(self, step: Step, context: StepContext) -> Outcome:
        """Do the step."""
        loop = asyncio.get_running_loop()

        async def flush() -> Flushed:
            return await self.storage.flush(_SHARE * (context.deadline_at - loop.time()))

        flushed = await persist(context, flush, tries=_TRIES)
        unsound = [array for array in flushed.raid if array.state is not RaidState.CLEAN]
        for array in unsound:
            fields: dict[str, Scalar] = {"machine": step.target, "array": array.name, "state": array.state.value}
            self.emit(Event("raid_unsound", Severity.WARNING, {**fields, "percent": array.percent}))
        words = [figures(flushed.figures) if flushed.figures else "flushed", flushed.remark, *map(_standing, unsound)]
        if self.users.names:
            words.append(f"still in use when its drain ended: {', '.join(self.users.names)}")
        at_rest = flushed.figures is None or flushed.figures.at_rest
        return Outcome(StepState.DONE if at_rest else StepState.FAILED, "; ".join(filter(None, words)))


@dataclass(frozen=True, slots=True)
class WaitStorage:
    """Mounts the NAS, as soon as it is back, and then wherever else it was mounted.

    What does not come back there is named, and holds up nothing.
    """

    storage: Storage
    memory: MountMemory = field(default_factory=MountMemory)

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self._mounted, pause_s=_MOUNT_PAUSE_S)
        missing = await asyncio.gather(*(self._missing(place) for place in sorted(self.memory.others)))
        return Outcome(detail="; ".join(["mounted", *filter(None, missing)]))

    async def _missing(self, place: str) -> str | None:
        try:
            await self.storage.mount_also(place)
        except RackError as error:
            return f"not mounted again at {place}: {error}"
        return None

    async def _mounted(self) -> None:
        await self.storage.mount()
        if not await self.storage.is_mounted():
            raise RackError("mounted, but does not answer yet")


@dataclass(frozen=True, slots=True)
class RehearseUnmount:
    """Looks whether it is mounted and answers, and whether it could be unmounted."""

    storage: Storage

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        if not await self.storage.is_mounted():
            return Outcome(
                StepState.FAILED, "it is not mounted, or does not answer: mount it, and look whether it is up"
            )
        return Outcome(detail=f"mounted, and answers; {await self.storage.check_unmount()}")


def figures(written: WrittenOut) -> str:
    """What a flush came to, for a person."""
    left = f"{_mib(written.dirty_after_kib)} left"
    return (
        f"{_mib(written.written_kib)} written in {written.seconds:.1f} s, "
        f"{left if written.at_rest else f'and {left} that did not come to rest in that time'}"
    )


def _mib(kib: int) -> str:
    mib = kib / 1024
    return f"{mib:.1f} MiB" if mib < 10 else f"{mib:.0f} MiB"


def _standing(array: RaidArray) -> str:
    return f"{array.name} {array.state}" + (f" {array.percent:.0f} %" if array.percent is not None else "")
