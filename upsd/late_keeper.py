"""Looks after this machine's own end: before it, what is left for the last moment; after the next boot, how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from upsd.domain.power import Event, Severity
from upsd.domain.rack import RackError
from upsd.rack.system_journal import boot_end
from upsd.shutdown.own_end import NOT_CYCLED, SEEN, off_delay_s, own_end, took_s
from upsd.shutdown.phase import Phase
from upsd.shutdown.records import replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from upsd.rack.system_journal import BootEnd
    from upsd.shutdown.learner import Learner
    from upsd.shutdown.own_end import OwnEnd
    from upsd.shutdown.recorder import Recorder
    from upsd.ups.cycle_order import CycleOrders
    from upsd.ups.profile import DeviceProfile

log = structlog.get_logger()

_LINGER_S: Final = 60.0
_BRINGS_BACK: Final = frozenset({Phase.RECOVERING, Phase.ABORTING})


class LateKeeper:
    """What the daemon knows of its machine's power-offs.

    Args:
        lines: what the journal held at the start.
        boot_id: of this boot.
        step: gives the step id of this machine's power-off.
        at_least_s: how long, by the settings, the outlets stay on after the command.
        learner: remembers how long it takes.
        orders: what is left for `upsd.late`.
        emit: hears that the outlets were not cycled.
        ask_end: says when an earlier boot ended.
    """

    def __init__(
        self,
        lines: Sequence[str],
        boot_id: str,
        *,
        step: Callable[[], str],
        at_least_s: int,
        learner: Learner,
        orders: CycleOrders,
        emit: Callable[[Event], None],
        ask_end: Callable[[str], Awaitable[BootEnd]] = boot_end,
    ) -> None:
        self._end = own_end(lines, boot_id)
        self._not_cycled = self._end.not_cycled if self._end else None
        self._step = step
        self._at_least_s = at_least_s
        self._brings_back = False
        self._learner = learner
        self.orders = orders
        self._emit = emit
        self._ask_end = ask_end
        if replay(lines) is None:
            orders.withdraw()

    def off_delay_s(self) -> int:
        """After how many seconds the UPS may cut the power, by the settings and by how long the power-off has taken."""
        return off_delay_s(self._at_least_s, self._learner.durations.get(self._step()))

    def linger_s(self) -> float:
        """How long after its end a shutdown may still be taken for under way: until the outlets are surely off."""
        return self.off_delay_s() + _LINGER_S

    def follow(self, phase: Phase) -> None:
        """Take the order back once the rack is brought back, for a later power-off is none of ours; say less after it.

        What has not come back by then is named by others.
        """
        if phase in _BRINGS_BACK:
            if not self._brings_back:
                self.orders.withdraw()
        elif self._brings_back and phase is Phase.IDLE:
            self._not_cycled = None
        self._brings_back = phase in _BRINGS_BACK

    def complaints(self, profile: DeviceProfile | None) -> Iterator[str]:
        """What a person should know; `profile` is what a bench test has found out about the UPS."""
        if self._not_cycled:
            yield f"{NOT_CYCLED} ({self._not_cycled})"
        needed_s, longest_s = self.off_delay_s(), profile.longest_delay_s if profile else None
        if longest_s is not None and longest_s < needed_s:
            yield (
                f"the outlets should stay on for {needed_s} s, by how long this machine takes to power off, and the UPS"
                f" cuts them after {longest_s} s at the latest; see what is slow: journalctl --boot=-1 --reverse"
            )
        if self.orders.trouble:
            yield self.orders.trouble

    async def take_up(self, recorder: Recorder) -> None:
        """After a boot that a shutdown of ours led to: tell what went wrong, and learn how long the power-off took."""
        end = self._end
        if end is None or end.seen:
            return
        if end.not_cycled:
            fields = {"outage": end.outage, "reason": end.not_cycled, "means": NOT_CYCLED}
            self._emit(Event("outlets_not_cycled", Severity.WARNING, fields))
        recorder.note({"record": SEEN, "outage": end.outage, "seconds": await self._measure(end)})

    async def _measure(self, end: OwnEnd) -> float | None:
        try:
            found = await self._ask_end(end.boot_id)
        except RackError as error:
            log.info("own_poweroff_not_measured", reason=str(error))
            return None
        seconds = took_s(end, found.at_s)
        if seconds is None:
            log.info("own_poweroff_not_measured", reason="the system journal's last entry does not fit our own journal")
            return None
        self._learner.observe(end.step, seconds, censored=not found.orderly)
        self._learner.save()
        log.info("own_poweroff_measured", seconds=round(seconds, 1), orderly=found.orderly)
        return round(seconds, 1)
