from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.roles import MASTER
from tests.vm.story import Story, is_unharmed

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack


async def test_a_daemon_killed_in_the_middle_is_started_again_and_ends_the_shutdown(
    rack: VirtualRack, story: Story
) -> None:
    """It goes on with what its journal on the real disk says, once systemd has started it again."""
    rack.cut_mains()
    await story.hears("step_started", step="drain pi3")
    await rack.on(MASTER, "systemctl kill --signal=KILL upsd")
    await story.hears("shutdown_resumed")
    is_unharmed(await story.outlets_cut())
    story.went_off_in_order()
    rack.restore_mains()
    report = await story.comes_back()
    assert report["ending"] == "recovered"


async def test_a_master_whose_kernel_panics_leaves_no_worker_cordoned(rack: VirtualRack, story: Story) -> None:
    """It boots again by itself; the mains is back by then, and what it had cordoned takes pods again."""
    rack.cut_mains()
    await story.hears("step_started", step="drain pi3")
    await rack.on(MASTER, "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    await rack.until(lambda: "sysrq triggered crash" in rack.machines[MASTER].console.read_text(), "the panic", 120)
    assert story.cordoned(), "the panic came too early or too late to prove anything"
    rack.restore_mains()
    await story.sees(f"{MASTER} has booted")
    report = await story.is_well()
    assert report["ending"] == "recovered"
    assert "outlets: off" not in story.happenings
