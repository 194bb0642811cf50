"""Who holds the UPS? Real processes that have a file open, with the names of those who do in the field."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from upsd.ctl import holders
from upsd.ctl.holders import holders_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def _holding(device: Path, program: str, *arguments: str) -> Iterator[int]:
    """A process that has the device open; its id."""
    with device.open("rb") as opened:
        process = subprocess.Popen([program, *arguments], stdin=opened, stdout=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_nuts_driver_is_told_with_what_ends_it(tmp_path: Path) -> None:
    """Both can't read one UPS."""
    device = tmp_path / "004"
    device.touch()
    driver = shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "riello_usb")
    with _holding(device, str(driver), "60") as process:
        (told,) = holders_of(device)
        assert told.startswith(f"NUT's driver riello_usb (process {process}) holds it; only one of them can read a UPS")
        assert told.endswith(": systemctl mask --now nut-driver.target nut-server")
    assert holders_of(device) == ()


def test_another_upsd_and_any_other_program_are_told(tmp_path: Path) -> None:
    """By what they were started as."""
    device = tmp_path / "004"
    device.touch()
    with (
        _holding(device, sys.executable, "-c", "import time; time.sleep(60)", "-m", "upsd") as ours,
        _holding(device, "sleep", "60") as other,
    ):
        assert set(holders_of(device)) == {
            f"another upsd (process {ours}) holds it; stop it: systemctl stop upsd",
            f"sleep (process {other}) holds it; stop it",
        }


def test_whoever_keeps_upsd_from_its_ups_is_named_and_upsd_itself_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each UPS on USB, by its place there; a device of somebody else's make is of no interest."""
    nodes, devices = tmp_path / "nodes", tmp_path / "devices"
    monkeypatch.setattr(holders, "_USB_NODES", nodes)
    monkeypatch.setattr(holders, "_USB_DEVICES", devices)
    (nodes / "001").mkdir(parents=True)
    for place, vendor, number in (("1-4", "04b4", 7), ("1-5", "1d6b", 8)):
        (devices / place).mkdir(parents=True)
        for name, text in (("idVendor", vendor), ("idProduct", "5500"), ("busnum", "1"), ("devnum", str(number))):
            (devices / place / name).write_text(f"{text}\n")
        (nodes / f"001/{number:03}").touch()
    (devices / "1-4:1.0").mkdir()
    with (
        _holding(nodes / "001/007", sys.executable, "-c", "import time; time.sleep(60)", "-m", "upsd"),
        _holding(nodes / "001/007", "sleep", "60") as other,
        _holding(nodes / "001/008", "sleep", "60"),
    ):
        assert holders.rivals() == (f"usb:1-4: sleep (process {other}) holds it; stop it",)
