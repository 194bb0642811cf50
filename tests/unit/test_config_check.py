"""What `upsctl config check` prints: all that would run, as far as the settings tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.settings_files import RACK
from upsd.ctl.config_check import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SHEDDING = '[[shedding]]\nname = "extras"\nworkers = ["pi4-b"]\non_battery = "2min"\n'


def checked(directory: Path, capsys: pytest.CaptureFixture[str], more: str = "") -> str:
    """What it prints of these settings."""
    path = directory / "upsd.toml"
    path.write_text(f'state_directory = "{directory}"\n{RACK}{more}')
    assert run(str(path)) == 0
    return capsys.readouterr().out


def test_the_shutdown_is_followed_by_what_brings_everything_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both step by step."""
    shutdown, _, recovery = checked(tmp_path, capsys).partition("And this is what would bring everything back:")
    assert "host-poweroff k3s-master" in shutdown
    assert "Before it" not in shutdown
    assert [line.split()[1] for line in recovery.splitlines() if "wait-host" in line.split()[1:2]] == ["wait-host"] * 2


def test_what_would_go_off_early_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a full battery."""
    said = checked(tmp_path, capsys, SHEDDING)
    gone = (
        "extras: pi4-b would go off after 2 min on battery; if the mains went now, in 2 min. Not woken when it is back"
    )
    assert gone in said
