"""Scaling workloads to zero before a drain; how many replicas each had is written down on itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.rack import Cluster, Workload


async def scale_to_zero(cluster: Cluster, workloads: Sequence[Workload]) -> tuple[int, list[str]]:
    """Scale each of them, once; how many are at zero by us, and what went wrong with the others."""
    answers = await asyncio.gather(*(_scale(cluster, workload) for workload in workloads))
    return sum(answer is True for answer in answers), [answer for answer in answers if isinstance(answer, str)]


async def _scale(cluster: Cluster, workload: Workload) -> bool | str:
    try:
        return await cluster.scale_to_zero(workload)
    except RackError as error:
        return str(error)
