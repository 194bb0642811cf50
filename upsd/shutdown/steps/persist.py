"""Trying again until it works or the step's deadline ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from upsd.domain.rack import RackError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from upsd.shutdown.engine import StepContext

_Result = TypeVar("_Result")

_LOOK_S = 1.0


async def persist(
    context: StepContext, action: Callable[[], Awaitable[_Result]], *, pause_s: float = 2.0, tries: int | None = None
) -> _Result:
    """The action's result, tried again after a `RackError`; the last error is what the step says meanwhile.

    Raises:
        RackError: it failed `tries` times.
    """
    failed = 0
    while True:
        try:
            return await action()
        except RackError as error:
            failed += 1
            if failed == tries:
                raise
            context.say(str(error))
            await asyncio.sleep(pause_s)


async def unless_forced(context: StepContext, action: Coroutine[None, None, _Result]) -> _Result | None:
    """The action's result; `None` once the step must use force, and then the action is cancelled.

    Where force is due from the beginning, the action still gets half of the step's minimum: it may need no more.

    Raises:
        RackError: as the action.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(action, name="until force is due")
    at_least_until = context.started_at + context.minimum_s / 2
    try:
        while not running.done() and (left_s := max(context.force_at, at_least_until) - loop.time()) > 0:
            await asyncio.wait({running}, timeout=min(_LOOK_S, left_s))
        return running.result() if running.done() else None
    finally:
        running.cancel()
