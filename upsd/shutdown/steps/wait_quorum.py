"""Wait until enough k3s servers are back for the API to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.shutdown.engine import Outcome
from upsd.shutdown.steps.persist import persist

if TYPE_CHECKING:
    from upsd.domain.plan import Step
    from upsd.domain.rack import Cluster
    from upsd.shutdown.engine import StepContext


@dataclass(frozen=True, slots=True)
class WaitQuorum:
    """Asks for the nodes until there is an answer: it comes from the datastore, which has none without a quorum."""

    cluster: Cluster

    async def __call__(self, step: Step, context: StepContext) -> Outcome:  # noqa: ARG002
        """Do the step."""
        await persist(context, self.cluster.nodes)
        return Outcome(detail="the API answers")
