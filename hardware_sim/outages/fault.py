"""What can go wrong with an operation of a part of the rack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["fail", "hang", "slow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """From a time on, for so long (s), one operation of a part of the rack fails, hangs or is slow."""

    at: float
    part: str
    operation: str
    kind: Kind
    for_s: float
