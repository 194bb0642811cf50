"""An event loop whose time jumps: when nothing is left to do now, it is the next deadline's time at once.

An hour of outage takes milliseconds, and the same code runs as in real time. Real sockets on loopback work under it,
because what one side writes is there for the other before the time moves; subprocesses do not.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for input without waiting; where the loop would wait, it lets the time jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jobs = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A job in a thread takes real time, and so does waiting for input when there is no deadline to jump to.
        if self.jobs or timeout is None:
            return list(super().select(timeout))
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector event loop on virtual time, which starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]  # typeshed's variadic generics say no more than Any here
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """As ever; the time stands still while the job runs."""
        job: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._jumping.jobs += 1
        job.add_done_callback(self._job_done)
        return job

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.jobs -= 1
