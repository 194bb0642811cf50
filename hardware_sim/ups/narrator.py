"""What happens to a simulated UPS, as sentences for whoever watches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hardware_sim.ups.device import NotPossibleError, UpsDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware_sim.ups.rig import Rig

Tell = Callable[[str], None]


class HeardDevice(UpsDevice):
    """A UPS that tells of each command that reaches it, over whatever cable, and of its refusals."""

    def __init__(self, tell: Tell, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tell = tell

    def shutdown(self, delay_s: float) -> None:
        """CS."""
        with self._telling(f"outlets off in {delay_s:g} s"):
            super().shutdown(delay_s)

    def shutdown_and_restore(self, delay_s: float, restore_min: float) -> None:
        """CR."""
        with self._telling(f"outlets off in {delay_s:g} s, and on again {restore_min:g} min later"):
            super().shutdown_and_restore(delay_s, restore_min)

    def trip(self, delay_s: float) -> None:
        """The shutdown keys of a Sentry's panel."""
        with self._telling(f"outlets off in {delay_s:g} s, until somebody switches them on"):
            super().trip(delay_s)

    def cancel_shutdown(self) -> None:
        """CD."""
        with self._telling("forget what is scheduled"):
            super().cancel_shutdown()

    def test_battery(self) -> None:
        """TB."""
        with self._telling("test the battery"):
            super().test_battery()

    def test_panel(self) -> None:
        """TP."""
        with self._telling("test the panel"):
            super().test_panel()

    @contextlib.contextmanager
    def _telling(self, command: str) -> Iterator[None]:
        try:
            yield
        except NotPossibleError:
            self._tell(f"command, refused: {command}")
            raise
        self._tell(f"command: {command}")


def narrate(rig: Rig, tell: Tell) -> None:
    """Tell from now on of every change that one can see from outside."""
    known = facts(rig)

    def look() -> None:
        nonlocal known
        present = facts(rig)
        for subject, fact in present.items():
            if known[subject] != fact:
                tell(f"{subject}: {fact}")
        known = present

    rig.device.watch(look)


def facts(rig: Rig) -> dict[str, str]:
    """How things stand, by their subject."""
    device = rig.device
    mains = f"{device.input_voltage_v:g} V, {device.input_frequency_hz:g} Hz"
    return {
        "mains": mains if device.mains_usable else f"{mains}, not usable",
        "outlets": _outlets(device),
        "battery": "low" if device.battery_low else "not low",
        "battery test": "in progress" if device.testing else "over",
        "cable": "out" if rig.faults.unplugged else "in",
    }


def _outlets(device: UpsDevice) -> str:
    if not device.outlets.on:
        return f"off ({device.outlets.cause.value if device.outlets.cause else 'no cause'})"
    return "on battery" if device.on_battery else "on bypass" if device.on_bypass else "on mains"
