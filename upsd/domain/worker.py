"""What a worker's helper says of the machine: `upsd-worker status`, read. Pure."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION = "1"
_LONGEST = 16 * 1024


class WorkerStatusError(ValueError):
    """What was said is no status of a worker."""


class PoweroffStage(enum.Enum):
    """How far the power-off of a worker is."""

    NONE = "none"
    WAITING = "waiting"
    """It can still be called off."""
    STOPPING = "stopping"
    """k3s and its containers are being stopped, network file systems unmounted."""
    OFF = "off"
    """The machine itself was told to power off."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How a worker is; `None` is what its helper does not know there.

    Attributes:
        uptime_s: since when it runs, in seconds.
        load_1m: the mean number of processes that ran or waited in the last minute.
        temperature_c: of its hottest place, in degrees Celsius.
        throttled: the flags of a Raspberry Pi's firmware, as `vcgencmd get_throttled` gives them.
        under_voltage: whether its supply is too weak now.
        under_voltage_seen: whether it was since the boot.
        root_free_percent: how much of its root file system is free.
        root_read_only: whether its root file system can't be written, as after an error.
        root_errors: how many errors its root file system has counted.
        k3s: as systemd names it: active, inactive, failed, activating and so on.
        poweroff: how far a power-off is.
    """

    uptime_s: float | None = None
    load_1m: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    under_voltage: bool | None = None
    under_voltage_seen: bool | None = None
    root_free_percent: float | None = None
    root_read_only: bool | None = None
    root_errors: int | None = None
    k3s: str | None = None
    poweroff: PoweroffStage = PoweroffStage.NONE


def parse_status(text: str) -> WorkerStatus:
    """Read what `upsd-worker status` says; keys that we don't know are left out, as a newer helper may have more.

    Raises:
        WorkerStatusError: it is something else, or a value makes no sense.
    """
    if len(text) > _LONGEST:
        raise WorkerStatusError(f"{len(text)} characters are no status of a worker")
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if said.pop("version", None) != _VERSION:
        raise WorkerStatusError(f"no status of a worker: {text[:60]!r}; put config/worker/upsd-worker on that machine")
    values: dict[str, object] = {}
    for key, read in _READERS.items():
        if key in said:
            try:
                values[key] = read(said[key])
            except ValueError as error:
                raise WorkerStatusError(f"{key} can't be {said[key][:60]!r}: {error}") from None
    return WorkerStatus(**values)  # type: ignore[arg-type]  # each reader gives what its field holds


@dataclass(frozen=True, slots=True)
class NetworkMounts:
    """Where a worker has network file systems mounted: those that answer, and those that do not."""

    answering: tuple[str, ...] = ()
    hung: tuple[str, ...] = ()


def parse_mounts(text: str) -> NetworkMounts:
    """What `upsd-worker poweroff` says of network file systems; nothing if it was another command that answered."""
    said = [line.partition("=") for line in text[:_LONGEST].splitlines()]
    return NetworkMounts(
        *(
            tuple(_place(place) for key, _, place in said if key == wanted and place)
            for wanted in ("mount", "hung_mount")
        )
    )


def _place(escaped: str) -> str:
    """A path as the kernel writes it, with blanks as octal numbers; what can't be printed stays as it is."""
    plain = re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found[1], 8)), escaped)
    return plain if plain.isprintable() else escaped


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it is no number")
    return value


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("it is neither 0 nor 1")
    return text == "1"


def _flags(text: str) -> int:
    return int(text, 16)


def _word(text: str) -> str:
    if not text.replace("-", "").isalnum():
        raise ValueError("it is no word")
    return text


_READERS: dict[str, Callable[[str], object]] = {
    "uptime_s": _number,
    "load_1m": _number,
    "temperature_c": _number,
    "throttled": _flags,
    "under_voltage": _flag,
    "under_voltage_seen": _flag,
    "root_free_percent": _number,
    "root_read_only": _flag,
    "root_errors": int,
    "k3s": _word,
    "poweroff": PoweroffStage,
}
