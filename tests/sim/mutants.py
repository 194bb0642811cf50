"""The daemon broken on purpose, one way each: what the simulation of outages has to catch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware_sim.memory_cluster import MARK, MemoryCluster
from hardware_sim.outages import process
from upsd.domain.rack import PortAnswer
from upsd.shutdown import engine, journal
from upsd.shutdown.conductor import Conductor
from upsd.shutdown.engine import Outcome
from upsd.shutdown.off_signs import Confirmed
from upsd.shutdown.steps import confirm_off
from upsd.shutdown.steps.outlet_cycle import OutletCycle

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from upsd.domain.plan import Plan, Step
    from upsd.shutdown.engine import StepContext
    from upsd.shutdown.off_signs import PortRow


def without_the_backward_pass() -> None:
    """Every step may use the battery to its end."""

    def latest_finishes(plan: Plan, end_at: float, *, ended: Collection[str] = ()) -> dict[str, float]:  # noqa: ARG001
        return {step.id: end_at for step in plan.steps}

    vars(engine)["latest_finishes"] = latest_finishes


def without_fsync() -> None:
    """The journal is written and not made durable."""

    def append_lines(path: Path, lines: Sequence[str]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    vars(journal)["append_lines"] = append_lines


def without_the_ownership_mark() -> None:
    """Whatever is cordoned counts as ours."""
    uncordon = MemoryCluster.uncordon

    async def uncordon_all(self: MemoryCluster, node: str) -> bool:
        self.node_by_name[node].annotations[MARK] = "ours"  # type: ignore[index]  # a mapping that is a dict
        return await uncordon(self, node)

    MemoryCluster.uncordon = uncordon_all  # type: ignore[method-assign]


def without_a_point_of_no_return() -> None:
    """Mains back undoes a shutdown whatever it has already done."""
    Conductor.committed = property(lambda _: False)  # type: ignore[assignment,method-assign]


def without_the_outlet_cycle() -> None:
    """Machines that are off stay off when the mains comes back in between."""

    async def nothing(self: OutletCycle, step: Step, context: StepContext) -> Outcome:  # noqa: ARG001
        return Outcome()

    OutletCycle.__call__ = nothing  # type: ignore[method-assign]


def with_a_port_that_refuses_taken_for_off() -> None:
    """A machine is off as soon as its sshd is."""

    def confirmed(row: PortRow, _now: float, **_: object) -> Confirmed | None:
        return Confirmed("gone") if row.settled and row.answer is not PortAnswer.ACCEPTS else None

    vars(confirm_off)["confirmed"] = confirmed


def without_memory() -> None:
    """A daemon that starts again knows nothing of what was under way."""
    vars(process)["replay"] = lambda _: None
