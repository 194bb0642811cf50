"""May the battery be discharged on purpose now, and until where? Pure.

A Riello has no deep test, so an operator pulls the plug of the UPS and puts it back. It is an outage like any other for
the daemon: nothing of the outage logic is held back, so whoever forgets the plug gets an orderly shutdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from upsd.ups import battery_test

if TYPE_CHECKING:
    from upsd.domain.power import Reading

_BLOCK_V: Final = 12.0
_SAFE_BLOCK_V: Final = 11.4
"""A good half volt above where a small UPS says that its battery is low."""
_PLUG_BACK_BEFORE_START_S: Final = 60.0
_LEAST_WORTH_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class CalibrationLimits:
    """The plug goes back at this battery voltage, or when a shutdown would start in so many seconds."""

    safe_v: float
    plug_back_before_start_s: float = _PLUG_BACK_BEFORE_START_S


def why_not_now(reading: Reading, starts_in_s: float | None) -> str | None:
    """What speaks against it, for a person; `None` if nothing does.

    Args:
        reading: taken now.
        starts_in_s: in how long an outage that begins now would start the shutdown; `None` if only the UPS's own word
            would, which comes too late.
    """
    if reason := battery_test.why_not_now(reading):
        return reason
    if not reading.charged:
        return "the UPS does not say that its battery is charged; wait until it has been on mains for long enough"
    if starts_in_s is None:
        return "nothing but the UPS's own word would start the shutdown; set shutdown.auto"
    least_s = _PLUG_BACK_BEFORE_START_S + _LEAST_WORTH_S
    if starts_in_s < least_s:
        return (
            f"a shutdown would start after {starts_in_s:.0f} s, and less than {least_s:.0f} s teaches nothing;"
            " let less hang on the outlets, or set shutdown.on_battery later, if it is set"
        )
    return None


def limits(nominal_v: float | None) -> CalibrationLimits:
    """Until where a battery of this nominal voltage (of the whole string) may be discharged."""
    blocks = max(1.0, (nominal_v or _BLOCK_V) / _BLOCK_V)
    return CalibrationLimits(round(_SAFE_BLOCK_V * blocks, 1))
