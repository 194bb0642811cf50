"""Which steps of a running plan may begin now? Pure.

It is kept up to date as steps begin and end, not computed anew each time: a plan may have thousands of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upsd.domain.plan import Plan, Step


class Frontier:
    """The steps that are over, and the ones that have not begun though all they need is over."""

    def __init__(self, plan: Plan) -> None:
        self._steps = {step.id: step for step in plan.steps}
        self._open_needs = {step.id: len(step.needs) for step in plan.steps}
        self._needed_by: dict[str, list[str]] = {step.id: [] for step in plan.steps}
        for step in plan.steps:
            for need in step.needs:
                self._needed_by[need].append(step.id)
        self._ready = {step.id: step for step in plan.steps if not step.needs}
        self.ended: set[str] = set()

    @property
    def ready(self) -> list[Step]:
        """The steps that may begin, in the order in which they came to it."""
        return list(self._ready.values())

    def begin(self, step_id: str) -> None:
        """Note that a step has begun."""
        self._ready.pop(step_id, None)

    def end(self, step_id: str) -> None:
        """Note that a step is over, whether it had begun or not."""
        if step_id in self.ended:
            return
        self.begin(step_id)
        self.ended.add(step_id)
        for follower in self._needed_by[step_id]:
            self._open_needs[follower] -= 1
            if not self._open_needs[follower] and follower not in self.ended:
                self._ready[follower] = self._steps[follower]
