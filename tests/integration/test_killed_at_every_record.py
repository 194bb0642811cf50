from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from tests.integration.outage import ALL, Scene, scene

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_S = 0.002
# The outlets must not be cut while the daemon is killed and started between telling the UPS and powering off. Each
# start is to confirm the outage as soon as it can.
_PATIENT_UPS = {
    "UPSD_UPS__OUTLET_OFF_DELAY": "90s",
    "UPSD_UPS__POLL_INTERVAL": "100ms",
    "UPSD_POWER__DEBOUNCE": "100ms",
}
_NOT_PROGRESS = {"started", "damaged"}


@pytest.mark.timeout(420)
async def test_the_real_daemon_killed_at_every_record_brings_the_rack_down(tmp_path: Path) -> None:
    """As soon as its journal has got a record the like of which it never had, again and again, until all is off."""
    async with scene(tmp_path / "scene", _PATIENT_UPS) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        seen: set[tuple[str, ...]] = set()
        kills = 0
        while await _something_new(played, seen):
            await played.rack.kill_daemon()
            kills += 1
            await played.start_daemon()
        await played.master_off()

        assert kills > 20, "the daemon was hardly ever killed"
        assert {machine.state for machine in played.rack.machines.values()} == {MachineState.OFF}
        assert all(machine.clean for machine in played.rack.machines.values())
        assert all(played.moment(name, MachineState.STOPPING).pods == () for name in WORKERS)
        assert played.moment(MASTER, MachineState.STOPPING).workers_on == ()
        assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled
        assert played.rack.nas.unflushed == played.rack.nas.lost == 0
        assert played.cordoned() == played.marked() == ALL
        records = played.journal()
        assert [record["record"] for record in records].count("outage") == 1
        assert [record["record"] for record in records].count("started") >= kills / 2
        _assert_nothing_repeated(records)


async def _something_new(played: Scene, seen: set[tuple[str, ...]]) -> bool:
    """Wait for such a record; false once the master is told to go off, which ends the daemon for good."""
    journal = played.rack.directory / "journal.jsonl"
    size = -1
    while played.rack.master.state is MachineState.RUNNING:
        if journal.exists() and journal.stat().st_size != size:
            text = journal.read_text()
            size = len(text)
            found = {_what(line) for line in text.splitlines() if line.endswith("}")} - seen
            seen |= found
            if found - {(kind,) for kind in _NOT_PROGRESS}:
                return True
        await asyncio.sleep(_LOOK_S)
    return False


def _what(line: str) -> tuple[str, ...]:
    record = json.loads(line)
    return tuple(record[key] for key in ("record", "step", "state") if key in record)


def _assert_nothing_repeated(records: list[dict[str, object]]) -> None:
    """But the outlet cycle: the UPS counts down, and has to do so anew."""
    ended: set[object] = set()
    for record in records:
        if record["record"] == "step" and record["state"] == "running":
            assert record["step"] not in ended - {"outlet-cycle"}
        elif record["record"] == "step" and record["state"] in {"done", "forced"}:
            ended.add(record["step"])
    assert "outlet-cycle" in ended
