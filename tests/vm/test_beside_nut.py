"""NUT's own driver on the same USB device: it reads what we read, and whoever comes second says who holds the UPS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.nut_oracle import compared, disagreements
from tests.vm.master import state_on_line
from tests.vm.roles import MASTER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.vm.rack import VirtualRack

pytestmark = pytest.mark.usefixtures("nut")

FIELDS_AT_LEAST: Final = 8
UPS_CONF: Final = r"[rack]\ndriver = riello_usb\nport = auto\n"
START_NUT: Final = "upsdrvctl start && /sbin/upsd"
STOP_NUT: Final = "/sbin/upsd -c stop; upsdrvctl stop"


@pytest.fixture
async def nut(rack: VirtualRack) -> AsyncIterator[None]:
    """NUT is set up in the master and does not run; afterwards upsd has the UPS again."""
    await rack.on(MASTER, f"printf '{UPS_CONF}' >/etc/nut/ups.conf; echo MODE=standalone >/etc/nut/nut.conf")
    yield
    await rack.on(MASTER, f"{STOP_NUT}; systemctl start upsd", check=False)
    await state_on_line(rack)


async def test_nut_can_not_take_the_ups_from_upsd(rack: VirtualRack) -> None:
    """Its driver says so and ends, and upsd goes on reading."""
    await state_on_line(rack)
    said = await rack.on(MASTER, "if upsdrvctl start; then exit 1; fi")
    assert "Can't claim USB device" in said, said
    assert (await state_on_line(rack))["reading_age_s"] < 10.0


async def test_nut_reads_what_upsd_reads_and_upsd_says_that_nut_holds_the_ups(rack: VirtualRack) -> None:
    """One after the other on the same device of the same kernel, on line and on battery; then upsd comes second."""
    ours = await state_on_line(rack)
    await rack.on(MASTER, "systemctl stop upsd")
    await rack.on(MASTER, START_NUT)
    theirs = await _theirs(rack, "OL")
    assert disagreements(theirs, ours["readings"], ours["device"]) == []
    assert compared(theirs, ours["readings"], ours["device"]) >= FIELDS_AT_LEAST, theirs
    rack.cut_mains()
    await _theirs(rack, "OB")
    rack.restore_mains()
    await _theirs(rack, "OL")

    await rack.on(MASTER, "systemctl start upsd")
    await rack.until(
        lambda: any("another program holds the UPS" in warning for warning in rack.retained("state")["warnings"]),
        "upsd says that it can't have the UPS",
        120,
    )
    said = " ".join((await rack.on(MASTER, "upsctl status", check=False)).split())
    assert "NUT's driver riello_usb (process " in said, said
    assert "systemctl mask --now nut-driver.target nut-server" in said
    await _theirs(rack, "OL")


async def _theirs(rack: VirtualRack, status: str) -> dict[str, str]:
    """What `upsc` prints, by name, as soon as the UPS's status has this word."""
    wait = f"timeout 120 sh -c 'until upsc rack@localhost ups.status 2>&1 | grep -w {status}; do sleep 1; done'"
    said = await rack.on(MASTER, f"{wait} >/dev/null && upsc rack@localhost")
    return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
