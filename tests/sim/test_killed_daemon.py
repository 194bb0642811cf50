"""A daemon that is killed at any moment and started again brings the outage to its right end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.memory_rack import MASTER, MemoryRack, memory_rack
from tests.sim.daemons import CYCLE, MASTER_OFF, NAS_ADDRESS, Daemon, assert_off_in_order
from upsd.domain.plan import StepState
from upsd.domain.rack import Pod
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_resumed_shutdown_skips_what_was_done(daemon: Daemon, rack: MemoryRack) -> None:
    """No pod is evicted twice, no worker is asked twice."""
    daemon.conductor.start("on-battery")
    await daemon.until(lambda: {"confirm-off pi4-a", "confirm-off pi4-b"} <= daemon.conductor.ended)
    await daemon.step("unmount nas", StepState.RUNNING)
    await daemon.kill()
    before = rack.did()
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert_off_in_order(rack)
    assert [what for what in rack.did()[len(before) :] if what != MASTER_OFF] == ["unmount", "flush", CYCLE]
    assert after.conductor.confirmed_off == {"pi4-a", "pi4-b"}
    resumed = after.event("shutdown_resumed").fields
    assert (resumed["outage"], resumed["reason"]) == ("o0", "on-battery")


async def test_a_resumed_shutdown_gives_the_master_its_whole_time_to_go_off(daemon: Daemon, rack: MemoryRack) -> None:
    """The UPS has counted down while the daemon was dead: the outlet cycle begins anew before the master is asked."""
    daemon.conductor.start("on-battery")
    await daemon.step("host-poweroff k3s-master", StepState.RUNNING)
    await daemon.kill()
    await asyncio.sleep(100)
    began = asyncio.get_running_loop().time()
    await daemon.restart().phase(Phase.FINISHED)
    renewed, off = (max(act.at for act in rack.acts if act.what == what) for what in (CYCLE, MASTER_OFF))
    assert began <= renewed <= off


async def test_a_resumed_shutdown_that_was_past_its_point_of_no_return_is_not_undone(
    daemon: Daemon, rack: MemoryRack
) -> None:
    """A worker that is going off can't be left off for good because the daemon forgot that it asked."""
    rack.hosts["pi4-b"].poweroff_s = rack.hosts["pi4-a"].poweroff_s = 20
    daemon.conductor.start("on-battery")
    await daemon.step("confirm-off pi4-a", StepState.RUNNING)
    await daemon.step("confirm-off pi4-b", StepState.RUNNING)
    await daemon.kill()
    after = daemon.restart()
    assert after.conductor.committed
    after.conductor.mains_back()
    await after.step("confirm-off pi4-a", StepState.RUNNING)
    after.conductor.mains_back()
    await after.phase(Phase.FINISHED)
    assert_off_in_order(rack)


async def test_a_resumed_shutdown_can_still_be_undone_before_that_point() -> None:
    """Also what only the killed daemon began."""
    daemon = Daemon(memory_rack(()))
    daemon.rack.storage.faults.hang("flush")
    daemon.conductor.start("on-battery")
    await daemon.step("unmount nas", StepState.DONE)
    await daemon.kill()
    assert daemon.rack.did()[-1] == "unmount"
    after = daemon.restart()
    await after.step("flush nas", StepState.RUNNING)
    after.conductor.mains_back()
    await after.phase(Phase.IDLE)
    assert daemon.rack.storage.mounted
    assert daemon.rack.cluster.cordoned() == set()


async def test_what_an_abort_undid_is_done_again_by_a_resumed_shutdown(daemon: Daemon, rack: MemoryRack) -> None:
    """Killed in an abort, with the mains gone again: the cordons that were taken back are no done work."""
    daemon.conductor.start("on-battery")
    await daemon.until(lambda: {"cordon", "drain k3s-master"} <= daemon.conductor.ended)
    daemon.conductor.mains_back()
    await daemon.until(lambda: not rack.cluster.cordoned())
    await daemon.kill()
    assert daemon.journal.unfinished() is not None
    rack.acts.clear()
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert {f"cordon {name}" for name in (*rack.hosts, MASTER)} <= set(rack.did())
    assert_off_in_order(rack)


async def test_a_resumed_shutdown_still_names_who_may_not_have_written_all(daemon: Daemon, rack: MemoryRack) -> None:
    """The drains that saw them are not done again."""
    for name, server in (("immich", NAS_ADDRESS), ("other", "192.168.7.99")):
        rack.cluster.add_pod("pi4-a", Pod("web", name, name, file_servers=(server,)))
        rack.cluster.broken.add(f"web/{name}")
    daemon.conductor.start("on-battery")
    await daemon.step("unmount nas", StepState.RUNNING)
    await daemon.kill()
    after = daemon.restart()
    await after.phase(Phase.FINISHED)
    assert after.conductor.progress["drain pi4-a"].detail == "done before"
    assert after.conductor.progress["flush nas"].detail.endswith("; still in use when its drain ended: web/immich")


async def story(daemon: Daemon, pauses_s: list[float], kills: list[Callable[[Daemon], asyncio.Task[None]]]) -> Daemon:
    """Kill the daemon again and again, each time when the next of `kills` has run out, and start it again."""
    daemon.conductor.start("battery-low")
    for pause_s, kill in zip(pauses_s, kills, strict=True):
        moment = kill(daemon)
        await asyncio.wait({moment})
        await daemon.kill()
        await asyncio.sleep(pause_s)
        daemon = daemon.restart()
    await daemon.phase(Phase.FINISHED)
    return daemon


def after_s(seconds: float) -> Callable[[Daemon], asyncio.Task[None]]:
    """At a time."""
    return lambda _: asyncio.create_task(asyncio.sleep(seconds))


def at_write(number: int) -> Callable[[Daemon], asyncio.Task[None]]:
    """When the journal has got so many more half lines, or all has ended."""

    def watch(daemon: Daemon) -> asyncio.Task[None]:
        left, reached = [number], asyncio.Event()

        def wrote() -> None:
            left[0] -= 1
            if left[0] <= 0:
                reached.set()

        async def wait() -> None:
            daemon.journal.wrote = wrote
            ended = asyncio.create_task(daemon.phase(Phase.FINISHED))
            enough = asyncio.create_task(reached.wait())
            await asyncio.wait({ended, enough}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            enough.cancel()

        return asyncio.create_task(wait())

    return watch


@pytest.mark.parametrize("number", range(56))
async def test_a_daemon_killed_at_any_write_brings_the_rack_down_in_order(daemon: Daemon, number: int) -> None:
    """With the last line torn, and with the last line whole and nothing done after it."""
    await story(daemon, [1.0], [at_write(number)])
    assert_off_in_order(daemon.rack)


moments = st.one_of(st.builds(after_s, st.floats(0, 60)), st.builds(at_write, st.integers(0, 50)))


@settings(max_examples=150, print_blob=True)
@given(st.lists(st.tuples(st.floats(0, 30), moments), min_size=1, max_size=4))
async def test_a_daemon_killed_at_any_moments_brings_the_rack_down_in_order(
    kills: list[tuple[float, Callable[[Daemon], asyncio.Task[None]]]],
) -> None:
    """However often: workers off, NAS flushed, outlets cycled, master asked, one after the other."""
    daemon = Daemon(memory_rack())
    await story(daemon, [pause_s for pause_s, _ in kills], [kill for _, kill in kills])
    assert_off_in_order(daemon.rack)


@settings(max_examples=100, print_blob=True)
@given(moments, st.sampled_from([(), ("pi4-a",)]))
async def test_a_daemon_killed_before_the_point_of_no_return_can_undo_everything(
    kill: Callable[[Daemon], asyncio.Task[None]], workers: tuple[str, ...]
) -> None:
    """Mains back before the restart: what is not committed is undone, and nothing is left cordoned or unmounted."""
    daemon = Daemon(memory_rack(workers))
    daemon.conductor.start("battery-low")
    await asyncio.wait({kill(daemon)})
    await daemon.kill()
    unfinished = daemon.journal.unfinished()
    if unfinished is None or unfinished.committed:
        assert daemon.rack.did() == [] or unfinished
        return
    assert not any(what.startswith(("poweroff", "cycle")) for what in daemon.rack.did())
    after = Daemon(daemon.rack, daemon.journal)
    after.conductor.undo(unfinished.outage, unfinished.began)
    await after.phase(Phase.IDLE)
    assert daemon.rack.cluster.cordoned() == set()
    assert daemon.rack.storage.mounted
    assert daemon.journal.unfinished() is None
