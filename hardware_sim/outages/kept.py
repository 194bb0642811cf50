"""What is drawn of where data is kept: hung mounts, the datastore's snapshot, and what an unclean stop leaves.

From a random stream of its own, so that a seed's world is otherwise the one that it was before there was any of this.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.outages.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardware_sim.outages.fault import Kind

GONE = "gone"
"""A node that was removed from the cluster, though a volume is still attached to it."""

_PERIODS_S = (30.0, 400.0, 4 * 3600.0)
_BEFORE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreSpec:
    """The datastore: how long a snapshot takes and what the settings say of that (s), and what goes wrong with it.

    A snapshot that hangs takes for ever; one for which the disk is `full` fails after half of its time. One `on_nas`
    needs the mount, and keeps it busy. With `stops` the server is stopped after it.
    """

    snapshot_s: float
    told_s: float
    limit_s: float
    full: bool
    on_nas: bool
    stops: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is drawn: `stuck` are pods that never end once they were told to, `attached` volumes of a node that is gone.

    `faults` are those that there are besides the scenario's own.
    """

    datastore: DatastoreSpec | None
    faults: tuple[Fault, ...]
    stuck: tuple[str, ...]
    attached: tuple[str, ...]


def draw_kept(seed: int, losses: Sequence[float], pods: Sequence[str]) -> Kept:
    """That of a seed; `losses` are when the mains goes, `pods` the full names of those that there are."""
    chance = random.Random(f"{seed}-kept")  # no secret hangs on it
    datastore = _datastore(chance) if chance.random() < 0.2 else None
    faults: list[Fault] = []
    if chance.random() < 0.2:
        faults += _hung_mount(chance, losses)
    if datastore and chance.random() < 0.4:
        faults.append(_fault(chance, losses, "datastore", chance.choice(["snapshot", "give_up", "stop", "start"])))
    return Kept(
        datastore=datastore,
        faults=tuple(faults),
        stuck=(chance.choice(pods),) if pods and chance.random() < 0.06 else (),
        attached=("pvc-1",) if chance.random() < 0.1 else (),
    )


def _datastore(chance: random.Random) -> DatastoreSpec:
    takes_s = chance.uniform(0.5, 8.0)
    return DatastoreSpec(
        snapshot_s=chance.choice([takes_s] * 4 + [math.inf, chance.uniform(30.0, 300.0)]),
        told_s=takes_s * chance.uniform(1.0, 2.0),
        limit_s=chance.choice([20.0, 60.0]),
        full=chance.random() < 0.15,
        on_nas=chance.random() < 0.6,
        stops=chance.random() < 0.5,
    )


def _hung_mount(chance: random.Random, losses: Sequence[float]) -> list[Fault]:
    """A mount that hangs, and perhaps the unit that would detach it too, or it is not there."""
    hung = Fault(chance.choice(losses) - _BEFORE_S, "storage", "unmount", "hang", chance.choice(_PERIODS_S))
    kind: Kind | None = chance.choice([None, None, "fail", "hang"])
    return [hung, Fault(hung.at, "storage", "detach", kind, hung.for_s)] if kind else [hung]


def _fault(chance: random.Random, losses: Sequence[float], part: str, operation: str) -> Fault:
    kind: Kind = chance.choice(["fail", "hang", "slow"])
    return Fault(chance.choice(losses) - _BEFORE_S, part, operation, kind, chance.choice(_PERIODS_S))
