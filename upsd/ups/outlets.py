"""The UPS's outlets as a plan switches them, within what a bench test has found out about them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.ups.cycle_order import CycleOrders
    from upsd.ups.operations import UpsOperations
    from upsd.ups.profile import DeviceProfile


class UpsOutlets:
    """The outlets of the UPS, for a plan.

    `profile` is what a bench test has found out about them: nothing, or whether and how they can be cycled. `orders`
    keeps what the UPS is told.
    """

    def __init__(
        self,
        operations: UpsOperations,
        profile: Callable[[], DeviceProfile | None],
        orders: CycleOrders | None = None,
    ) -> None:
        self._operations = operations
        self._profile = profile
        self._orders = orders

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Switch them off after the delay, and on again that many minutes later."""
        profile = self._profile()
        if profile and profile.longest_delay_s:
            off_after_s = min(off_after_s, profile.longest_delay_s)
        if profile and profile.restore_unit_s:
            restore_after_min = math.ceil(60 * restore_after_min / profile.restore_unit_s)
        cycles = not profile or profile.cycles_outlets is not False
        # Left before the command, for this machine may go off before the UPS has answered.
        order = self._orders and self._orders.leave(off_after_s, restore_after_min if cycles else None)
        try:
            if cycles:
                shown = await self._operations.cycle_by_plan(off_after_s, restore_after_min)
            else:
                shown = await self._operations.switch_off_by_plan(off_after_s)
        except UpsError as error:
            raise RackError(f"the outlet cycle was not scheduled: {error}") from error
        if self._orders and order:
            self._orders.accepted(order, shown=shown)
        return shown

    async def check_cycle(self) -> str:
        """Have the UPS answer, and say what a bench test has found out about its outlets."""
        try:
            can = await self._operations.can_cycle()
        except UpsError as error:
            raise RackError(f"the UPS can't be asked: {error}") from error
        if not can:
            raise RackError(
                "this UPS has no command that switches its outlets off and on again: machines that are off stay off"
                " until a person starts them"
            )
        profile = self._profile()
        if profile is None or profile.cycles_outlets is None:
            return "the UPS answers; whether it really cycles its outlets is not measured: upsctl ups bench"
        if profile.cycles_outlets is False:
            return f"the UPS answers; it only switches its outlets off, as measured on {profile.measured_on}"
        return f"the UPS answers, and cycles its outlets, as measured on {profile.measured_on}"
