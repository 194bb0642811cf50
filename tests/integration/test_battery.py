"""What the real daemon keeps of its battery, and the discharge that an operator supervises."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.integration.brokers import until
from tests.integration.outage import DEADLINE_S, scene, together

if TYPE_CHECKING:
    from pathlib import Path

PATIENT = {"UPSD_SHUTDOWN__ON_BATTERY": "1h", "UPSD_SHUTDOWN__MARGIN": "1s", "UPSD_BATTERY__RESERVE": "1s"}
"""Settings with which a shutdown would start so late that a battery may be calibrated."""
TORN = '{"format": 1, "discharges": [{"date": "2026-1'


async def test_what_is_known_of_the_battery_may_be_lost_and_the_rack_is_looked_after(tmp_path: Path) -> None:
    """A torn file and a full disk; and an operator may discharge the battery, but not at any time."""
    await together(_bad_battery_file(tmp_path / "file"), _calibrated(tmp_path / "calibrated"))


async def _bad_battery_file(directory: Path) -> None:
    async with scene(directory, PATIENT) as played:
        (directory / "battery.json").write_text(TORN)
        await played.start_daemon()
        await played.on_line()
        await played.says("kept as battery.json.bad; mend it and put it back while upsd is stopped, or remove it")
        assert (directory / "battery.json.bad").read_text() == TORN

        (directory / "battery.json.new").symlink_to("/dev/full")
        await played.cut_mains()
        failed = await played.heard("battery_history_failed")
        assert "No space left on device" in failed["fields"]["reason"]
        played.rack.device.restore_mains()
        await until(lambda: _discharges(directory) == 1, DEADLINE_S)
        await until(lambda: "can't be written" not in json.dumps(played.state), DEADLINE_S)
        assert (await played.upsctl("status"))[0] == 0


async def _calibrated(directory: Path) -> None:
    async with scene(directory, PATIENT) as played:
        await played.start_daemon()
        await played.on_line()
        assert await played.upsctl("ups", "calibrate") == (
            1,
            "upsctl: upsd says: it lets the rack live on its battery for long; say that you mean it with --yes",
        )
        supervised = asyncio.create_task(played.upsctl("ups", "calibrate", "--yes"))
        await played.heard("calibration_began")
        await played.cut_mains()
        await until(lambda: (played.state["on_battery_s"] or 0.0) > 2.0, DEADLINE_S)
        refused = await played.upsctl("ups", "calibrate", "--yes")
        assert refused == (1, "upsctl: upsd says: refused: the rack lives on its battery")
        played.rack.device.restore_mains()
        status, text = await supervised
        assert status == 0
        assert "Pull the mains plug of the UPS now." in text
        assert "on battery, 12." in text
        assert "Mains is back. before, full:" in text
        assert played.cordoned() == set()
        await until(lambda: _discharges(directory) == 1, DEADLINE_S)


def _discharges(directory: Path) -> int:
    """How many the daemon has kept."""
    path = directory / "battery.json"
    return len(json.loads(path.read_text())["discharges"]) if path.exists() else 0
