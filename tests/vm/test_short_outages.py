from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.story import Story, is_unharmed, troubles

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack


async def test_a_mains_that_comes_back_too_late_finds_every_machine_started_anew(
    rack: VirtualRack, story: Story
) -> None:
    """The power race: after the point of no return the outlets are cut and restored although the mains is there."""
    rack.cut_mains()
    await story.hears("point_of_no_return")
    rack.restore_mains()
    is_unharmed(await story.outlets_cut())
    story.went_off_in_order()
    report = await story.comes_back()
    assert report["ending"] == "recovered"
    assert not troubles(report)


async def test_a_mains_that_comes_back_in_time_undoes_the_shutdown(rack: VirtualRack, story: Story) -> None:
    """Before the point of no return every node takes pods again, and no machine has gone off."""
    rack.cut_mains()
    await story.hears("step_started", step="drain pi3")
    rack.restore_mains()
    report = await story.is_well()
    assert report["ending"] == "aborted"
    assert "point_of_no_return" not in story.event_names
    assert all(machine.runs for machine in rack.machines.values())
    assert rack.device.shutdown_in_s is None


async def test_a_flicker_touches_nothing(rack: VirtualRack, story: Story) -> None:
    """It is told on MQTT, and that is all."""
    rack.cut_mains()
    await story.hears("mains_lost")
    rack.restore_mains()
    await story.hears("mains_back", flicker=True)
    assert "outage_confirmed" not in story.event_names
    assert not story.cordoned()
    assert all(machine.runs for machine in rack.machines.values())
