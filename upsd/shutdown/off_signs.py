"""Is a machine off, by what can be seen of it from here? Pure.

That its command returned proves nothing, and a port that refuses proves only that sshd has ended: a kernel that still
unmounts its file systems answers so. A port that is silent is a host that has left the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from upsd.domain.rack import PortAnswer

USUAL_TIMES = 2.0
"""After so many times what its power-off usually takes, nothing more is expected of a machine."""
_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class PortRow:
    """What a machine's port has answered several times in a row, and since when; `None` is that nobody can tell."""

    answer: PortAnswer | None = None
    times: int = 0
    since: float = -math.inf

    def then(self, answer: PortAnswer | None, now: float) -> PortRow:
        """The row with the next answer."""
        if self.times and answer is self.answer:
            return replace(self, times=self.times + 1)
        return PortRow(answer, 1, now)

    @property
    def settled(self) -> bool:
        """Whether it is long enough to mean something."""
        return self.times >= _IN_A_ROW


@dataclass(frozen=True, slots=True)
class Confirmed:
    """By what a machine is taken for off, in words; not `sure` if only because there is no time to wait for more."""

    by: str
    sure: bool = True


def confirmed(
    row: PortRow,
    now: float,
    *,
    usual_s: float,
    node_gone: bool,
    reports: bool | None,
    fell_w: float | None,
    out_of_time: bool,
) -> Confirmed | None:
    """By what the machine is off; `None` if it may well be on.

    Args:
        row: the last answers of its port.
        now: loop time.
        usual_s: how long its power-off usually takes.
        node_gone: whether its node is not Ready any more, and was when it was told to go off.
        reports: whether its kubelet was heard of so lately that it may live; `None` if nobody can tell.
        fell_w: by how much (W) the load of the UPS fell on its account, if that is most of its share.
        out_of_time: whether nothing better can be waited for.
    """
    if not row.settled:
        return None
    load = None if fell_w is None else f"load fell by {fell_w:.0f} W"
    match row.answer:
        # Somebody there reports, so it may be our calls that are not let through.
        case PortAnswer.SILENT if load or not reports:
            node = "node NotReady" if node_gone else "no heartbeat" if reports is False else None
            signs = ["port silent", node, load]
            return Confirmed(" and ".join(sign for sign in signs if sign))
        case PortAnswer.SILENT if out_of_time:
            return Confirmed("port silent but its kubelet reports, no more time", sure=False)
        case PortAnswer.REFUSES if load:
            return Confirmed(f"port refuses and {load}")
        # A node is NotReady 40 s after its kubelet has ended, whatever else still ends there.
        case PortAnswer.REFUSES if node_gone and now >= row.since + USUAL_TIMES * usual_s:
            return Confirmed("port refuses and node NotReady")
        case PortAnswer.REFUSES if out_of_time:
            return Confirmed("port refuses, no more time", sure=False)
        case None if load:
            return Confirmed(load)
    return None
