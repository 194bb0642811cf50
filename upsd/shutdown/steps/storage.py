"""The NAS: unmount it, have it written out, and mount it again when it is back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.rack import RackError
from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.drain import NasUsers
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import Storage
    from upsd.shutdown.engine import StepContext

_TRIES = 2
_MOUNT_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Unmount:
    """Writes the mount out and takes it away, so that nothing here holds data for the NAS any more."""

    storage: Storage

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self.storage.unmount, tries=_TRIES)
        return Outcome(detail="unmounted")


@dataclass(frozen=True, slots=True)
class Flush:
    """Has everything written to the disks of the NAS; names the pods that may not have written all that they had."""

    storage: Storage
    users: NasUsers = field(default_factory=NasUsers)

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self.storage.flush, tries=_TRIES)
        names = self.users.names
        return Outcome(
            detail=f"flushed, but still in use when its drain ended: {', '.join(names)}" if names else "flushed"
        )


@dataclass(frozen=True, slots=True)
class WaitStorage:
    """Mounts the NAS, as soon as it is back."""

    storage: Storage

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self._mounted, pause_s=_MOUNT_PAUSE_S)
        return Outcome(detail="mounted")

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
        await self.storage.check_unmount()
        return Outcome(detail="mounted, answers, and can be unmounted as far as can be told")
