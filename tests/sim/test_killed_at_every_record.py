"""Killed at any record of its journal, a daemon goes on to the same end, and does nothing twice that it has done."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MASTER
from tests.sim.daemons import CYCLE, MASTER_OFF
from tests.sim.kills import MEDIA, NAS, SHAPE, WORKERS, Kill, Scene, live
from upsd.shutdown.phase import Phase
from upsd.shutdown.plan import recovery_plan, shutdown_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from upsd.domain.power import Scalar
    from upsd.shutdown.conductor import Conductor

    Records = Mapping[str, Scalar]

SHUTDOWN_RECORDS, ABORT_RECORDS, RECOVERY_RECORDS = 51, 19, 25
MAINS_GOES_AT, MAINS_BACK_AT = 2.0, 30.0
ALL = {MASTER, *WORKERS}
HOW = pytest.mark.parametrize("kill", list(Kill), ids=lambda kill: kill.value)


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, synced or not; not to sync makes these tests quick."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def no_mains(after_s: float) -> bool:
    """The mains goes and stays away."""
    return after_s < MAINS_GOES_AT


def mains_comes_back(after_s: float) -> bool:
    """It comes back while the nodes are drained."""
    return not MAINS_GOES_AT <= after_s < MAINS_BACK_AT


def at_number(number: int) -> Callable[[Records], bool]:
    """At the record of that number, counted from 0."""
    count = itertools.count()
    return lambda _: next(count) == number


def at_what_is_new(seen: set[tuple[Scalar, ...]]) -> Callable[[Records], bool]:
    """At each record the like of which has never been tried."""

    def is_new(record: Records) -> bool:
        what = *(record.get(key) for key in ("record", "plan", "step", "state")), record.get("lost_at") is None
        new = record["record"] != "started" and what not in seen
        seen.add(what)
        return new

    return is_new


async def shut_down(scene: Scene, **killed: object) -> bool:
    """Live until the master is told to power off, which ends the daemon too."""
    return await live(scene, lambda _: MASTER_OFF in scene.rack.did(), **killed)  # type: ignore[arg-type]


async def settle(scene: Scene, **killed: object) -> bool:
    """Live until the mains is back and all is settled, the report too."""

    def settled(conductor: Conductor) -> bool:
        return scene.mains(ago_s=5.0) and conductor.phase is Phase.IDLE and bool(scene.reports())

    return await live(scene, settled, **killed)  # type: ignore[arg-type]


def assert_shut_down(scene: Scene) -> None:
    """Everything is off in its order, and what was once done well was not done again."""
    rack = scene.rack
    assert {name for name, host in rack.hosts.items() if host.off} == {*WORKERS, NAS}
    workers_off = max(rack.first(f"off {name}") for name in WORKERS)
    then = ("snapshot", "stop k3s", "unmount", "flush", f"off {NAS}", CYCLE, MASTER_OFF)
    order = [workers_off, *(rack.first(what) for what in then)]
    assert order == sorted(order)
    assert rack.cluster.cordoned() == ALL
    assert_nothing_repeated(scene)


def assert_nothing_repeated(scene: Scene) -> None:
    """No step begins again that ended well, no pod is evicted twice, and no machine is asked that was seen off.

    Only the outlet cycle is renewed, because the UPS has counted down while the daemon was dead.
    """
    ended: set[Scalar] = set()
    for record in scene.records():
        if record["record"] in {"undoing", "outage"}:
            ended = set()
        elif record["record"] == "step" and record["state"] == "running":
            assert record["step"] not in ended - {"outlet-cycle"}
        elif record["record"] == "step" and record["state"] in {"done", "forced"}:
            ended.add(record["step"])
    did = scene.rack.did()
    evicted = [what for what in did if what.startswith(("evict", "delete"))]
    assert len(evicted) == len(set(evicted))
    assert did.count(CYCLE) <= _begun(scene, CYCLE)
    for once in ("snapshot", "stop k3s", "unmount", "flush"):
        # Twice only if the daemon died between the deed and its record.
        assert did.count(once) <= 1 + (_begun(scene, once) > 1)


def assert_mounted(scene: Scene) -> None:
    """The NAS is mounted wherever it was before, also where no settings say so."""
    assert scene.rack.storage.mounted
    assert scene.rack.storage.others == {MEDIA}


def _begun(scene: Scene, deed: str) -> int:
    kind = {CYCLE: "outlet-cycle"}.get(deed, deed)
    return sum(
        record["record"] == "step" and str(record["step"]).startswith(kind) and record["state"] == "running"
        for record in scene.records()
    )


def assert_undone(scene: Scene) -> None:
    """The rack is as it was: nobody went off, nothing is cordoned, and the journal begins anew, with a report."""
    assert not any(what.startswith(("poweroff", "off", "cycle")) for what in scene.rack.did())
    assert scene.rack.cluster.cordoned() == set()
    assert scene.rack.datastore.running
    assert_mounted(scene)
    assert not scene.journal_path.exists()
    (report,) = scene.reports()
    assert report["mains_away_s"] == pytest.approx(MAINS_BACK_AT - MAINS_GOES_AT, abs=5)


async def test_the_records_of_an_outage_are_as_many_as_are_killed_at(tmp_path: Path) -> None:
    """So that the tests below leave out none."""
    aborted = drained_slowly(tmp_path / "aborted", mains_comes_back)
    assert not await settle(aborted)
    recovered = await shut_down_and_booted(tmp_path / "recovered")
    before = len(recovered.records())
    assert not await settle(recovered)
    counts = before, len(aborted.records()), len(recovered.records()) - before
    assert counts == (SHUTDOWN_RECORDS, ABORT_RECORDS, RECOVERY_RECORDS)


def new_scene(directory: Path, mains: Callable[[float], bool]) -> Scene:
    """A rack in order, in a directory of its own."""
    directory.mkdir(exist_ok=True)
    return Scene(directory, mains)


def drained_slowly(directory: Path, mains: Callable[[float], bool]) -> Scene:
    """A rack whose pods don't go, so that the mains is back before a machine is told anything."""
    scene = new_scene(directory, mains)
    scene.rack.cluster.broken = {f"web/{node}-0" for node in ALL}
    return scene


async def shut_down_and_booted(directory: Path) -> Scene:
    """The rack after an outage, all machines up again."""
    scene = new_scene(directory, no_mains)
    await shut_down(scene)
    scene.boot()
    scene.mains_after = lambda _: True
    return scene


@HOW
@pytest.mark.parametrize("number", range(SHUTDOWN_RECORDS))
async def test_killed_in_the_shutdown_it_shuts_everything_down_once(tmp_path: Path, kill: Kill, number: int) -> None:
    """Whatever was done stays done, and the rest follows in its order."""
    scene = new_scene(tmp_path, no_mains)
    assert await shut_down(scene, kill=kill, at_record=at_number(number))
    calls, did = len(scene.calls), scene.rack.did()
    seen_off = {str(r["step"]).split()[1] for r in scene.records() if r.get("state") == "done" and "confirm" in str(r)}
    await asyncio.sleep(1)
    assert scene.rack.did()[: len(did)] == did
    assert len(scene.calls) == calls, "the dead asked for something"

    if MASTER_OFF not in did:
        assert not await shut_down(scene)
    assert_shut_down(scene)
    assert not {(name, "run") for name in seen_off} & set(scene.calls[calls:])


@HOW
@pytest.mark.parametrize("number", range(ABORT_RECORDS))
async def test_killed_before_or_in_the_undoing_it_leaves_nothing_undone(
    tmp_path: Path, kill: Kill, number: int
) -> None:
    """With the mains back in the middle of the drains, while it lives or while it is dead."""
    scene = drained_slowly(tmp_path, mains_comes_back)
    assert await settle(scene, kill=kill, at_record=at_number(number))
    await asyncio.sleep(1)
    assert not await settle(scene)
    assert_undone(scene)


@HOW
@pytest.mark.parametrize("number", range(RECOVERY_RECORDS))
async def test_killed_in_the_recovery_it_brings_everything_back(tmp_path: Path, kill: Kill, number: int) -> None:
    """And the report is of the whole outage, across the boot."""
    scene = await shut_down_and_booted(tmp_path)
    did = len(scene.rack.did())
    assert await settle(scene, kill=kill, at_record=at_number(number))
    assert not await settle(scene)
    assert {what.split()[0] for what in scene.rack.did()[did:]} == {"mount", "uncordon"}
    assert scene.rack.cluster.cordoned() == set()
    assert_mounted(scene)
    assert not scene.journal_path.exists()
    (report,) = scene.reports()
    assert report["ending"] == "recovered"
    assert {machine["machine"] for machine in report["machines"] if machine["back_at"]} == {*WORKERS, NAS, MASTER}


@HOW
async def test_killed_again_and_again_it_still_comes_to_the_same_end(tmp_path: Path, kill: Kill) -> None:
    """At each record of a whole outage, from the loss of the mains to the report."""
    scene, seen = new_scene(tmp_path, no_mains), set[tuple["Scalar", ...]]()
    while MASTER_OFF not in scene.rack.did():
        await shut_down(scene, kill=kill, at_record=at_what_is_new(seen))
    assert {step.id for step in shutdown_plan(SHAPE).steps} <= {step for _, _, step, *_ in seen}
    assert_shut_down(scene)

    scene.boot()
    scene.mains_after = lambda _: True
    while await settle(scene, kill=kill, at_record=at_what_is_new(seen)):
        pass
    assert {step.id for step in recovery_plan(SHAPE).steps} <= {
        step for _, plan, step, *_ in seen if plan == "recovery"
    }
    assert scene.rack.cluster.cordoned() == set()
    assert_mounted(scene)
    assert [report["ending"] for report in scene.reports()] == ["recovered"]
