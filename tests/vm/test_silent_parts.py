from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.vm.roles import MASTER, NAS
from tests.vm.story import Story, is_unharmed

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack

IN_QEMU = "pi4-a"


async def test_an_outage_goes_on_while_the_usb_cable_is_out(rack: VirtualRack, story: Story) -> None:
    """The kernel loses the device and finds it again at another address; the outlets are cut as always.

    It is out at the next boot too, which does not wait for it, and the rack is brought back when it is in again.
    """
    with_it_s = await _start_s(rack)
    rack.cut_mains()
    await story.hears("shutdown_started")
    with rack.cable_pulled():
        await story.hears("communication_lost")
        await story.hears("point_of_no_return")
    await story.hears("communication_back")
    is_unharmed(await story.outlets_cut())
    story.went_off_in_order()
    with rack.cable_pulled():
        rack.restore_mains()
        await story.sees(f"{MASTER} has booted")
        await rack.on(MASTER, "systemctl is-system-running --wait; systemctl is-active multi-user.target upsd")
        assert await _start_s(rack) < 2 * with_it_s + 5
        assert "04b4:5500" not in await rack.on(MASTER, "lsusb", check=False)
        state = json.loads(await rack.on(MASTER, "upsctl status --json", check=False))["state"]
        assert (state["power"], state["readiness"]["armed"]) == ("unknown", True)
        assert story.cordoned()
    report = await story.comes_back()
    assert report["ending"] == "recovered"


async def test_a_worker_whose_sshd_hangs_keeps_nobody_else_from_going_off(rack: VirtualRack, story: Story) -> None:
    """It is named, and loses its power while it runs; its file system is repaired by its journal at the next boot."""
    await rack.on(IN_QEMU, "systemctl kill --signal=STOP --kill-who=main ssh")
    rack.cut_mains()
    is_unharmed(await story.outlets_cut(), cut=frozenset({IN_QEMU}))
    rack.restore_mains()
    report = await story.comes_back()
    assert any(IN_QEMU in trouble for trouble in report["troubles"]), report["troubles"]


async def test_a_nas_that_hangs_does_not_keep_the_master_from_going_off(rack: VirtualRack, story: Story) -> None:
    """Its real NFS mount in the master's kernel hangs too, and is detached."""
    await rack.on(MASTER, "echo before >/mnt/nas/written && sync /mnt/nas/written")
    rack.freeze(NAS)
    rack.cut_mains()
    is_unharmed(await story.outlets_cut(), cut=frozenset({NAS}))
    rack.restore_mains()
    report = await story.comes_back()
    assert any(NAS in trouble for trouble in report["troubles"]), report["troubles"]
    assert await rack.on(MASTER, "cat /mnt/nas/written") == "before\n"


async def _start_s(rack: VirtualRack) -> float:
    """How long upsd took at this boot until it was ready."""
    said = await rack.on(MASTER, "journalctl -b -u upsd -o short-monotonic -g '^Start(ing|ed) upsd.service'")
    starting, started = (float(line.partition("[")[2].partition("]")[0]) for line in said.splitlines()[:2])
    return started - starting
