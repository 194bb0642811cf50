"""What the UPS was told of its outlets before this machine powers off, or should have been: for `upsd.late`.

One small file in the runtime directory, which outlives the daemon and every file system on a disk, but not this boot.
Who reads it is root, and the daemon that wrote it is not: nothing in it is taken on trust.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from upsd.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE: Final = "outlet-cycle.json"
LONGEST_S: Final = 65535
"""The most that the protocol's four digits hold, in seconds or minutes."""
_PORT = re.compile(r"usb(:[0-9]+-[0-9.]+)?|serial:/dev/[\w./+:@-]+", re.ASCII)
_BAUDS = frozenset({1200, 2400, 4800, 9600})
_LONGEST_FILE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleOrder:
    """An outlet cycle.

    Attributes:
        port: where the UPS is, as `ups.port` has it.
        baud: the speed of its line.
        off_after_s: how long after the command its outlets go off.
        restore_after: how much later they come on, in what this unit counts that in; `None` if it can't do that.
        at_s: when the command went out (CLOCK_BOOTTIME, in seconds).
        accepted: whether the UPS took it.
        shown: whether it has shown since that it will.
    """

    port: str
    baud: int
    off_after_s: int
    restore_after: int | None
    at_s: float
    accepted: bool = False
    shown: bool = False


class CycleOrders:
    """Leaves the order where `upsd.late` finds it, and takes it back; neither ever fails.

    Args:
        directory: the runtime directory.
        clock: CLOCK_BOOTTIME, in seconds.
        line: where the UPS is, as `ups.port` has it, and the speed of its line; `None` for one that can't be told.

    Attributes:
        trouble: why that can't be done, for a person; `None` while it can.
    """

    def __init__(self, directory: Path, clock: Callable[[], float], line: Callable[[], tuple[str, int] | None]) -> None:
        self._path = directory / FILE
        self._clock = clock
        self._line = line
        self.trouble: str | None = None

    def leave(self, off_after_s: int, restore_after: int | None) -> CycleOrder | None:
        """Leave one that the UPS has not heard yet, in place of an older one; `None` if there is no use in it."""
        line = self._line()
        if line is None:
            return None
        port, baud = line
        at_s = self._clock()
        order = CycleOrder(port=port, baud=baud, off_after_s=off_after_s, restore_after=restore_after, at_s=at_s)
        self._write(order)
        return order

    def accepted(self, order: CycleOrder, *, shown: bool) -> None:
        """The UPS has taken this one."""
        self._write(replace(order, accepted=True, shown=shown))

    def withdraw(self) -> None:
        """Let a later power-off be one like any other."""
        self._try(lambda: self._path.unlink(missing_ok=True))

    def _write(self, order: CycleOrder) -> None:
        self._try(lambda: write_whole(self._path, json.dumps(asdict(order)) + "\n"))

    def _try(self, change: Callable[[], None]) -> None:
        try:
            change()
        except OSError as error:
            self.trouble = f"{self._path} can't be changed: {error.strerror}; give its directory to the daemon's user"
        else:
            self.trouble = None


def read_order(path: Path) -> CycleOrder | None:
    """The order that was left there, if one was.

    Raises:
        OSError: it can't be read.
        ValueError: it is no order.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(_LONGEST_FILE))
    except FileNotFoundError:
        return None
    types = {"port": str, "baud": int, "off_after_s": int, "at_s": float, "accepted": bool, "shown": bool}
    if not (isinstance(found, dict) and found.keys() == {*types, "restore_after"}):
        raise ValueError("it is no outlet cycle")
    wrong = [name for name, kind in types.items() if type(found[name]) is not kind]
    if wrong or type(found["restore_after"]) not in {int, type(None)}:
        raise ValueError(f"its {wrong[0] if wrong else 'restore_after'} is of the wrong kind")
    order = CycleOrder(**found)
    within = 0 < order.off_after_s <= LONGEST_S and 0 <= (order.restore_after or 0) <= LONGEST_S
    place = _PORT.fullmatch(order.port) and ".." not in order.port
    if not (within and place and order.baud in _BAUDS and math.isfinite(order.at_s)):
        raise ValueError(f"it can't be: {order}")
    return order
