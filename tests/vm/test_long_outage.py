from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.roles import MASTER
from tests.vm.story import Story, is_unharmed, troubles

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack


async def test_the_kernel_sees_the_ups_and_the_daemon_takes_it_from_its_driver(rack: VirtualRack) -> None:
    """A USB device like any other, which Linux first gives to cypress_m8."""
    assert "04b4:5500" in await rack.on(MASTER, "lsusb")
    # Whichever of the two is first at a boot: the kernel was at the first one.
    attached = "HID->COM RS232 Adapter converter now attached to ttyUSB0"
    assert attached in await rack.on(MASTER, "journalctl _TRANSPORT=kernel --output=cat")
    driver = await rack.on(MASTER, "readlink /sys/bus/usb/devices/1-1:1.0/driver")
    assert driver.strip().endswith("/usbfs"), driver


async def test_a_long_outage_takes_the_rack_down_in_order_and_brings_all_of_it_back(
    rack: VirtualRack, story: Story
) -> None:
    """Workers, NAS, outlets, master; and when the mains is back everything boots and every node takes pods again."""
    rack.cut_mains()
    await story.hears("shutdown_started", reason="on-battery")
    is_unharmed(await story.outlets_cut())
    story.went_off_in_order()
    assert "upsd: the UPS counts down; the outlets go off in about " in rack.machines[MASTER].console.read_text()
    rack.restore_mains()
    report = await story.comes_back()
    assert report["ending"] == "recovered"
    assert not troubles(report)
    done = {step["step"] for step in report["steps"] if step["state"] == "done"}
    assert {"flush nas", "outlet-cycle"} <= done, done
    said = await rack.on(MASTER, "journalctl -b -u upsd --grep own_poweroff --output=cat")
    assert "own_poweroff_measured" in said, said
