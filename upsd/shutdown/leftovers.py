"""What did an unclean stop leave in the cluster that does not heal by itself? Pure.

A pod whose node died while it was ending stays in that state until the kubelet is back, and a volume that is still
attached to a machine that is gone keeps its pods from starting elsewhere for as long. Nothing is done about either:
to force them is safe only for somebody who knows that the machine is really off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from upsd.domain.rack import Attachment, Node, Pod

OVERDUE = timedelta(seconds=60)
"""So long after its grace a pod has not just been slow."""


def leftovers(
    nodes: Iterable[Node], pods: Iterable[Pod], attachments: Iterable[Attachment], now: datetime
) -> list[str]:
    """What is left over, each in words for a person."""
    ready = {node.name for node in nodes if node.ready}
    found = [
        f"{pod.full_name} on {pod.node} has not ended since {pod.ends_by:%Y-%m-%d %H:%M} UTC"
        for pod in pods
        if pod.ends_by is not None and now - pod.ends_by > OVERDUE
    ]
    found += [
        f"volume {attachment.volume} is attached to {attachment.node}, which is not Ready"
        for attachment in attachments
        if attachment.node not in ready
    ]
    return found
