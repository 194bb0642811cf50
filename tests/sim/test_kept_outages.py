"""Simulated outages with hung mounts, failing snapshots and leftovers: what a user would lose there is seen."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

from hardware_sim.outages.checks import violations
from hardware_sim.outages.run import play
from hardware_sim.outages.scenario import draw
from upsd.domain.rack import RackError
from upsd.shutdown import plan
from upsd.shutdown.steps import storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardware_sim.outages.scenario import Scenario
    from upsd.domain.plan import Step

OUTAGES = 25


def has_hung_mount(scenario: Scenario) -> bool:
    """For hours, and with a NAS that need not go off to be safe."""
    return any(f.operation == "unmount" and f.for_s > 3600 for f in scenario.kept.faults) and not scenario.nas_goes_off


def has_endless_snapshot(scenario: Scenario) -> bool:
    """It never ends by itself."""
    return scenario.kept.datastore is not None and math.isinf(scenario.kept.datastore.snapshot_s)


def has_full_disk(scenario: Scenario) -> bool:
    """There is no room for the snapshot."""
    return scenario.kept.datastore is not None and scenario.kept.datastore.full


def has_leftovers(scenario: Scenario) -> bool:
    """A volume that is attached to a node that is gone."""
    return bool(scenario.kept.attached)


def flushes_only_what_was_unmounted(patch: pytest.MonkeyPatch) -> None:
    """As if a step had to go well for the next one."""
    flush = storage.Flush.__call__

    async def when_unmounted(self: storage.Flush, step: Step, context: object) -> object:
        if await self.storage.is_mounted():
            raise RackError("it is still mounted")
        return await flush(self, step, context)  # type: ignore[arg-type]

    patch.setattr(storage.Flush, "__call__", when_unmounted)


def gives_a_snapshot_all_the_time(patch: pytest.MonkeyPatch) -> None:
    """Of ten times the limit that the settings give."""
    snapshot = plan._snapshot
    patch.setattr(plan, "_snapshot", lambda shape, needs: snapshot(replace(shape, limit_s=10 * shape.limit_s), needs))


def reports_no_troubles(patch: pytest.MonkeyPatch) -> None:
    """As if all had gone well."""
    patch.setattr("upsd.shutdown.report._troubles", lambda _records, _steps: ())


def names_no_leftovers(patch: pytest.MonkeyPatch) -> None:
    """As if there were none."""
    patch.setattr("upsd.shutdown.steps.workloads.leftovers", lambda *_: [])


def outages(of: Callable[[Scenario], bool]) -> Iterator[int]:
    """The seeds of some that have this."""
    return islice((seed for seed in count() if of(draw(seed))), OUTAGES)


@pytest.mark.parametrize(
    ("of", "broken", "loss"),
    [
        (has_hung_mount, flushes_only_what_was_unmounted, "nas was on when its power went"),
        (has_endless_snapshot, gives_a_snapshot_all_the_time, "held the rest up"),
        (has_full_disk, reports_no_troubles, "the report does not say that the snapshot failed"),
        (has_leftovers, names_no_leftovers, "nobody was told of the volume"),
    ],
)
def test_a_daemon_that_is_broken_there_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    of: Callable[[Scenario], bool],
    broken: Callable[[pytest.MonkeyPatch], None],
    loss: str,
) -> None:
    """Else the outages that have such a fault would show nothing."""
    broken(monkeypatch)
    assert any(loss in violation for seed in outages(of) for violation in violations(play(seed)))
