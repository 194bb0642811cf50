"""Machines that did not come back after an outage or a drill: looked for, and complained of, until they are seen."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from upsd.domain.plan import StepState
from upsd.domain.power import Event, Severity
from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.progress import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from upsd.domain.plan import StepProgress
    from upsd.shutdown.steps import RemoteMachine

_LOOK_S = 30.0


def note(missing: set[str], progress: StepProgress) -> None:
    """Go by how the wait for a machine has ended; one that was called off says nothing."""
    if progress.state in GOOD:
        missing.discard(progress.step.target)
    elif progress.state is not StepState.CANCELLED:
        missing.add(progress.step.target)


async def look_for(missing: set[str], machines: Mapping[str, RemoteMachine], emit: Callable[[Event], None]) -> None:
    """Call those that are missing now and then, and take each that answers off the list; endless."""
    while True:
        for name in sorted(missing):
            with contextlib.suppress(RackError):
                if await machines[name].host.call_port() is PortAnswer.ACCEPTS:
                    missing.discard(name)
                    emit(Event("machine_back", Severity.INFO, {"machine": name}))
        await asyncio.sleep(_LOOK_S)


def complaints(missing: set[str], machines: Mapping[str, RemoteMachine]) -> Iterator[str]:
    """One sentence for each of them, with what to do."""
    for name in sorted(missing):
        if machines[name].waker:
            yield f"{name} has not come back, though it was woken; look after it"
        else:
            yield f"{name} has not come back and can't be woken (no mac); switch it on"
