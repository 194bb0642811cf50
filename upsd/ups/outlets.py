"""The UPS's outlets as a plan switches them, within what a bench test has found out about them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.ups.errors import UpsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.ups.operations import UpsOperations
    from upsd.ups.profile import DeviceProfile


class UpsOutlets:
    """The outlets of the UPS, for a plan.

    `profile` is what a bench test has found out about them: nothing, or whether and how they can be cycled.
    """

    def __init__(self, operations: UpsOperations, profile: Callable[[], DeviceProfile | None]) -> None:
        self._operations = operations
        self._profile = profile

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Switch them off after the delay, and on again that many minutes later."""
        profile = self._profile()
        if profile and profile.longest_delay_s:
            off_after_s = min(off_after_s, profile.longest_delay_s)
        if profile and profile.restore_unit_s:
            restore_after_min = math.ceil(60 * restore_after_min / profile.restore_unit_s)
        try:
            if profile and profile.cycles_outlets is False:
                return await self._operations.switch_off_by_plan(off_after_s)
            return await self._operations.cycle_by_plan(off_after_s, restore_after_min)
        except UpsError as error:
            raise RackError(f"the outlet cycle was not scheduled: {error}") from error
