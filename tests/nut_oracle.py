"""The same UPS as NUT's drivers see it and as we do: states to compare in, and what must agree.

Nothing here knows how the UPS is reached, so the table serves for `riello_ser` on a serial port as for `riello_usb` on
a USB device; a state is reached by the actions of the simulated UPS's control.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.status import Document


@dataclass(frozen=True, slots=True)
class State:
    """A model of the simulated UPS with a load, and what happens to it, as in "brown-out volts=180"."""

    profile: str
    actions: tuple[str, ...] = ()
    load_share: float = 0.3
    """Of what it can feed."""


_ODD_FIGURES: Final = (
    "say input_frequency_hz=49.7 output_frequency_hz=50.3 input_voltage_v=241 output_voltage_v=219 load_percent=99"
    " bypass_frequency_hz=49.8 bypass_voltage_v=237 battery_voltage_v=11.1 charge_percent=1 runtime_min=1"
    " temperature_c=44"
)
STATES: Final[Mapping[str, State]] = {
    "iplug-on-line": State("iplug-800"),
    "iplug-on-battery": State("iplug-800", ("cut",)),
    "iplug-battery-low": State("iplug-800", ("battery charge=0.15", "cut"), 0.2),
    "iplug-boosting": State("iplug-800", ("brown-out volts=190",)),
    "iplug-bucking": State("iplug-800", ("brown-out volts=265",)),
    "iplug-off": State("iplug-800", ("say output_powered=false output_voltage_v=0 output_frequency_hz=0",)),
    "full-on-line": State("full-report"),
    "full-charging": State("full-report", ("battery charge=0.5",)),
    "full-on-battery": State("full-report", ("battery charge=0.9", "cut"), 0.4),
    "full-overload": State("full-report", (), 1.2),
    "full-weak-battery": State("full-report", ("say replace_battery=true",)),
    "full-testing": State("full-report", ("say test_in_progress=true battery_working=true",)),
    "full-odd-figures": State("full-report", (_ODD_FIGURES,)),
    "on-line": State("on-line"),
    "on-line-on-battery": State("on-line", ("cut",), 0.6),
    "on-line-bypass": State("on-line", ("condition on_bypass=true",)),
    "three-to-one": State("three-to-one"),
    "three-to-one-on-battery": State("three-to-one", ("cut",)),
    "three-to-three": State("three-to-three", (), 0.8),
    "three-to-three-on-battery": State("three-to-three", ("cut",), 0.5),
    "sentry": State("sentry"),
    "sentry-on-battery": State("sentry", ("cut",), 0.9),
    "sentry-battery-low": State("sentry", ("cut", "say battery_low=true")),
}

_ONLY_OURS: Final = frozenset({"DISCHRG"})
_NOT_AVAILABLE: Final = frozenset({4095.0, 409.5, 0.0})
"""What NUT shows for a figure of which the UPS says that it is not available, or which it has not."""
_MISTAKEN_FOR_SENTR: Final = {
    "battery.runtime": "on line the machine's minutes mean nothing",
    "output.L1.current": "a share of the nominal current, which NUT takes for amperes",
    "output.L2.current": "as line 1",
    "output.L3.current": "as line 1",
    "ups.realpower.nominal": "not in the record: NUT supposes a power factor",
    "device.model": "NUT leaves it empty",
    "output.voltage.nominal": "NUT leaves it 0",
    "output.frequency.nominal": "NUT leaves it 0",
}
"""Fields of a machine that speaks SENTR in which NUT 2.8 says what is not so, if we say nothing or something else."""


def disagreements(nut: Mapping[str, str], readings: Document, device: Document) -> list[str]:
    """In which fields NUT and we differ, of those that both have.

    Args:
        nut: what `upsc` prints.
        readings: ours, by NUT's names.
        device: our identity of the UPS, by NUT's names.
    """
    three_phases, sentr = device["input.phases"] == 3, not nut.get("device.model")
    differ = []
    for name, ours in {**readings, **device}.items():
        theirs = nut.get(name)
        if theirs is None or _agree(name, theirs, ours, three_phases=three_phases):
            continue
        if not (sentr and name in _MISTAKEN_FOR_SENTR):
            differ.append(f"{name}: NUT {theirs!r}, upsd {ours!r}")
    return differ


def compared(nut: Mapping[str, str], readings: Document, device: Document) -> int:
    """How many fields there are of which both say something."""
    return sum(name in nut and ours is not None for name, ours in {**readings, **device}.items())


def _agree(name: str, theirs: str, ours: Any, *, three_phases: bool) -> bool:
    if name == "ups.status":
        return set(theirs.split()) == set(str(ours).split()) - _ONLY_OURS
    if isinstance(ours, str) or not _is_number(theirs):
        return theirs.strip().lstrip("0") == (ours or "")  # of a version; no name begins with 0
    if ours is None:
        return float(theirs) in _NOT_AVAILABLE
    return _equal(name, float(theirs), float(ours), three_phases=three_phases)


def _equal(name: str, theirs: float, ours: float, *, three_phases: bool) -> bool:
    if name.endswith(".current"):
        return theirs == round(10 * ours)  # NUT shows the protocol's tenths as whole amperes
    if name in {"ups.power.nominal", "ups.realpower.nominal"} and three_phases:
        return theirs in {ours, ours / 100}  # NUT takes a three-phase GPSER unit's for hundreds of VA
    return theirs == ours


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is not None
