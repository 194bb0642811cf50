"""What was learned of the battery survives a restart, and a bad file does no harm."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from upsd.domain.power import HealthPoint
from upsd.ups import battery_file
from upsd.ups.battery.history import BatteryHistory

if TYPE_CHECKING:
    from pathlib import Path

HISTORY = BatteryHistory(health=(HealthPoint("2026-11-23", 71.0, "discharged until low"),))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """And nothing else is left beside it."""
    battery_file.save(tmp_path, HISTORY)
    assert battery_file.load(tmp_path) == HISTORY
    assert [path.name for path in tmp_path.iterdir()] == ["battery.json"]


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """On the first day."""
    assert battery_file.load(tmp_path) == BatteryHistory()


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"format": 1, "discharges": [], "health": [], "charge": {"at": 5}}',
        '{"format": 1, "disch',
        "[]",
        '{"format": 99}',
        "\x00",
        "[" * 100_000,
    ],
)
def test_a_bad_file_is_put_aside_and_named(tmp_path: Path, text: str) -> None:
    """Whoever wants to mend it still has it."""
    (tmp_path / "battery.json").write_text(text)
    with pytest.raises(battery_file.BatteryFileError, match=r"kept as battery\.json\.bad; mend it"):
        battery_file.load(tmp_path)
    assert (tmp_path / "battery.json.bad").read_text() == text
    assert battery_file.load(tmp_path) == BatteryHistory()


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and what was known stays readable."""
    battery_file.save(tmp_path, HISTORY)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        battery_file.save(tmp_path, BatteryHistory())
    assert battery_file.load(tmp_path) == HISTORY
    assert [path.name for path in tmp_path.iterdir()] == ["battery.json"]
