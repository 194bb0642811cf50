"""Settings files as text, and what comes of loading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from upsd.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MASTER = '[master]\nname = "k3s-master"\nwatts = 25\n'
RACK = (
    MASTER
    + """
[[workers]]
name = "pi4-a"
host = "192.168.7.11"
watts = 7
[[workers]]
name = "pi4-b"
host = "192.168.7.12"
watts = 7
[kubernetes]
"""
)
BROKER = '[mqtt]\nhost = "192.168.7.2"\ntls = true\n'


def load(path: Path, text: str, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings that `text` stands for."""
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environment or {})


def problems(path: Path, text: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The problems with `text`, without the name of the file."""
    with pytest.raises(SettingsError) as caught:
        load(path, text, environment)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(line == line.strip() and "\n" not in line for line in caught.value.problems)
    return tuple(line.removeprefix(f"{path}: ") for line in caught.value.problems)


def credential(tmp_path: Path, name: str, text: str) -> dict[str, str]:
    """An environment in which systemd handed over one credential."""
    directory = tmp_path / "credentials"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")
    return {"CREDENTIALS_DIRECTORY": str(directory)}
