"""What must the battery give before anything is started again? Pure.

Enough for a full boot and a full shutdown: if the mains goes once more in the middle of the boot, the shutdown still
ends in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from upsd.domain.plan import StepKind
from upsd.shutdown.budget import critical_path_s

if TYPE_CHECKING:
    from upsd.domain.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryLevel:
    """What the battery would surely give if the mains went now (s), and what it has to (s).

    `full` is whether it won't get better by waiting: it is on mains, and the UPS says that it is charged.
    """

    low_s: float
    floor_s: float
    full: bool

    @property
    def enough(self) -> bool:
        """Whether a boot may begin."""
        return self.low_s >= self.floor_s


AMPLE: Final = BatteryLevel(low_s=math.inf, floor_s=0.0, full=True)
"""A battery that is never too small, for a rack that does not know its own."""


def floor_s(boot: Plan, shutdown: Plan, *, margin_s: float, reserve_s: float) -> float:
    """How long the battery must carry the rack (s) before the recovery plan `boot` may start anything.

    `margin_s` and `reserve_s` are those of the trigger `auto`, so that a shutdown that it starts fits.
    """
    wait = {step.id for step in boot.steps if step.kind is StepKind.WAIT_BATTERY}
    return critical_path_s(boot, ended=wait) + critical_path_s(shutdown) + margin_s + reserve_s
