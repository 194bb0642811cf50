"""Which steps may begin: kept as steps end, and always what the plan itself says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_budget import plans
from upsd.shutdown.frontier import Frontier

if TYPE_CHECKING:
    from upsd.domain.plan import Plan


@given(plans(), st.data())
def test_a_step_may_begin_when_all_it_needs_is_over_and_not_before(plan: Plan, data: st.DataObject) -> None:
    """In whatever order steps begin and end, also those that an earlier run had done."""
    frontier, begun, ended = Frontier(plan), set[str](), set[str]()
    for step in plan.steps:
        if data.draw(st.integers(0, 3)) == 0:
            frontier.end(step.id)
            ended.add(step.id)
    while True:
        waiting = [step for step in plan.steps if step.id not in begun | ended]
        ready = {step.id for step in waiting if ended.issuperset(step.needs)}
        assert {step.id for step in frontier.ready} == ready
        assert frontier.ended == ended
        if not ready and begun <= ended:
            break
        chosen = data.draw(st.sampled_from(sorted(ready | (begun - ended))))
        if chosen in ready:
            frontier.begin(chosen)
            begun.add(chosen)
        else:
            frontier.end(chosen)
            ended.add(chosen)
    assert ended == {step.id for step in plan.steps}
