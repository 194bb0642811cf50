"""An event loop whose time jumps: when nothing is left to do now, it is the next deadline's time at once.

An hour of outage takes milliseconds, and the same code runs as in real time. Real sockets on loopback work under it,
because what one side writes is there for the other before the time moves; subprocesses do not.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from typing import Any

_SHORTEST_SLEEP_S = 1e-6  # a shorter one would not move the clock, and the sleeper would ask for it again for ever


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for input without waiting; where the loop would wait, it lets the time jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jobs = 0
        self._inputs = 0
        self._waiting = threading.Lock()
        self._waits_until: float | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._inputs += 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self._inputs -= 1
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A job in a thread takes real time, and so does waiting for input when there is no deadline to jump to.
        if self.jobs or timeout is None:
            with self._waiting:
                self._waits_until = math.inf if timeout is None else self.now + timeout
            try:
                return list(super().select(timeout))
            finally:
                with self._waiting:
                    self._waits_until = None
        # Without a job, nobody writes to the pipe by which threads wake the loop, and there is no other input.
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0) if self._inputs > 1 else []
        if not ready:
            self.now += max(0.0, timeout)
        return ready

    def sleep_alone(self, seconds: float) -> bool:
        """Let time pass for the only job, if the loop has nothing to do before it wakes; whether that was so."""
        with self._waiting:
            alone = self.jobs == 1 and self._waits_until is not None and self.now + seconds < self._waits_until
            if alone:
                self.now += seconds
            return alone


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector event loop on virtual time, which starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self._sleepers: set[threading.Event] = set()
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

    def sleep_in_job(self, seconds: float) -> None:
        """What a job in a thread calls in place of `time.sleep`: virtual time passes for it as for everybody.

        Raises:
            RuntimeError: the loop was closed meanwhile.
        """
        seconds = max(seconds, _SHORTEST_SLEEP_S)
        if self._jumping.sleep_alone(seconds):
            return
        woken = threading.Event()

        def wake() -> None:
            self._jumping.jobs += 1
            self._sleepers.discard(woken)
            woken.set()

        def fall_asleep() -> None:
            self.call_later(seconds, wake)
            self._jumping.jobs -= 1

        self._sleepers.add(woken)
        self.call_soon_threadsafe(fall_asleep)
        woken.wait()
        if self.is_closed():
            raise RuntimeError("the loop was closed while a job slept")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Wait for the jobs, however long: from Python 3.12 on the limit would be virtual, and pass at once."""
        await super().shutdown_default_executor()

    def close(self) -> None:
        """Close it, and let no job sleep for ever."""
        super().close()
        for woken in self._sleepers:
            woken.set()
