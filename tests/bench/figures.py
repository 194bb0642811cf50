"""Measured figures as lines of text: `name value unit` on standard output, whatever else is said on standard error."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def tell(text: str) -> None:
    """Say how far the measuring is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def report(name: str, value: float, unit: str) -> None:
    """One figure."""
    sys.stdout.write(f"{name} {value:.4g} {unit}\n")
    sys.stdout.flush()


def report_latencies(name: str, seconds: Sequence[float]) -> None:
    """How long something took: as a rule, and at worst."""
    report(f"{name}_median", statistics.median(seconds), "s")
    report(f"{name}_p99", p99(seconds), "s")


def p99(values: Sequence[float]) -> float:
    """What 99 of 100 stay below; of few values, close to the largest."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]
