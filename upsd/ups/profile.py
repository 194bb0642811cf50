"""What a bench test has measured of a UPS, and which unit is ours: two small files that outlive the daemon.

What no document settles (riello documents; see docs/ups.md) is `None` until it was measured, and then nobody has to
believe what is likely. A profile holds for the model and firmware that it was measured on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from upsd.files import write_whole
from upsd.ups.errors import Fault, UpsError
from upsd.ups.selection import Known

if TYPE_CHECKING:
    from dataclasses import Field
    from pathlib import Path

    from upsd.domain.power import UpsIdentity

PROFILE_FILE = "ups-profile.json"
KNOWN_FILE = "ups-known.json"

_TYPES: dict[str, set[type]] = {"str": {str}, "float": {float, int}, "int": {int}, "bool": {bool}, "None": {type(None)}}

_Record = TypeVar("_Record", "DeviceProfile", Known)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What was measured; `None` is not measured.

    Attributes:
        model: of the unit that it was measured on.
        firmware: likewise.
        measured_on: the date (ISO 8601).
        packet_pause_s: the shortest pause between two pieces of a request that never lost one.
        shows_test: whether a battery test shows in its flags.
        test_s: how long its battery test takes.
        shows_shutdown: whether a scheduled switch-off shows in its flags.
        shows_beeper: whether its beeper's flag ever changes.
        cycles_outlets: whether CR switches the outlets off, and on again.
        restore_unit_s: what it counts the restore delay in; minutes, by the document.
        restore_waits_for_mains: whether a restore that is due without mains waits for it.
        replaces_pending: whether a second CR takes the place of one that waits.
        longest_delay_s: the longest delay that it takes.
        off_returns_on_mains: whether the outlets return by themselves after CS while there is mains.
        off_returns_with_mains: whether they do so when the mains comes back.
        reports_load: whether its load figure is ever anything but 0.
        low_battery_v: the voltage at which it says that its battery is low.
        low_to_off_s: how long it lasts after that.
        starts_after_run_out: whether it switches on by itself when mains returns to an empty battery.
    """

    model: str
    firmware: str | None
    measured_on: str
    packet_pause_s: float | None = None
    shows_test: bool | None = None
    test_s: float | None = None
    shows_shutdown: bool | None = None
    shows_beeper: bool | None = None
    cycles_outlets: bool | None = None
    restore_unit_s: float | None = None
    restore_waits_for_mains: bool | None = None
    replaces_pending: bool | None = None
    longest_delay_s: int | None = None
    off_returns_on_mains: bool | None = None
    off_returns_with_mains: bool | None = None
    reports_load: bool | None = None
    low_battery_v: float | None = None
    low_to_off_s: float | None = None
    starts_after_run_out: bool | None = None

    def fits(self, identity: UpsIdentity) -> bool:
        """Whether it was measured on such a unit."""
        return (self.model, self.firmware) == (identity.model, identity.firmware)

    def found_the_same_as(self, before: DeviceProfile | None) -> bool:
        """Whether the test found nothing that the one before, if there was one, had not found."""
        known = before or DeviceProfile(model=self.model, firmware=self.firmware, measured_on="")
        return replace(known, measured_on=self.measured_on) == self


def load_profile(directory: Path) -> DeviceProfile | None:
    """The profile that a bench test left there, if there is one.

    Raises:
        UpsError: the file can't be used; the text says what to do.
    """
    return _load(directory / PROFILE_FILE, DeviceProfile)


def load_known(directory: Path) -> Known | None:
    """The unit that was ours, if that was written down; a file that can't be read is as good as none."""
    try:
        return _load(directory / KNOWN_FILE, Known)
    except UpsError:
        return None


def save(directory: Path, record: DeviceProfile | Known) -> None:
    """Write the record in place of an older one; whoever reads sees the old or the new one, never a part.

    Raises:
        OSError: it can't be written.
    """
    path = directory / (KNOWN_FILE if isinstance(record, Known) else PROFILE_FILE)
    write_whole(path, json.dumps(asdict(record), indent=2) + "\n")


def _load(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UpsError(Fault.PORT, f"{path} can't be read: {error}; mend it, or remove it") from error
    try:
        found = json.loads(text)
        values: dict[str, Any] = {field.name: _value(field, found) for field in fields(kind) if field.name in found}
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise UpsError(Fault.PORT, f"{path} makes no sense: {error}; remove it") from error


def _value(field: Field[Any], found: dict[str, Any]) -> Any:
    value = found[field.name]
    if not any(type(value) in _TYPES[allowed] for allowed in str(field.type).split(" | ")):
        raise TypeError(f"{field.name} is {value!r}, which is no {field.type}")
    return value
