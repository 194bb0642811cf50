"""What the settings name and this machine lacks is said before the daemon misses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from upsd.ctl.machine_check import absent
from upsd.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

MASTER = '[master]\nname = "m"\nwatts = 20\npoweroff_command = ["true"]\n'


def said(directory: Path, text: str) -> list[str]:
    """What is absent by these settings."""
    path = directory / "upsd.toml"
    path.write_text(f'state_directory = "{directory}"\n{text}')
    return list(absent(load_settings(path, {})))


def test_a_machine_that_has_everything_is_told_nothing(tmp_path: Path) -> None:
    """No false alarm."""
    for name in ("key", "known", "kubeconfig"):
        (tmp_path / name).touch()
    text = (
        f'{MASTER}[ups]\nport = "serial:/dev/null"\n[control]\noperators = "root"\n'
        f'[ssh]\nkey_file = "{tmp_path}/key"\nknown_hosts_file = "{tmp_path}/known"\n'
        f'[kubernetes]\nkubeconfig = "{tmp_path}/kubeconfig"\n'
        '[[workers]]\nname = "w"\nhost = "192.0.2.1"\nwatts = 5\n'
    )
    assert said(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MASTER.replace('"true"', '"/no/such/program"'), "there is no program /no/such/program"),
        (MASTER + '[ups]\nport = "serial:/dev/ttyNone"', "/dev/ttyNone can't be used (No such file"),
        (MASTER + '[ups]\nport = "serial:/etc/hostname"', "/etc/hostname is no serial port"),
        (MASTER + '[control]\noperators = "nobodies"', "there is no group nobodies"),
        (MASTER + '[kubernetes]\nkubeconfig = "/none"', "there is no /none"),
        (MASTER + '[datastore]\ndirectory = "/none"', "there is no /none; make it"),
        (
            MASTER + '[nas]\nhost = "192.0.2.2"\nmount = "/mnt"\nwatts = 9\n[ssh]\nkey_file = "/none"',
            "ssh.key_file: there",
        ),
    ],
)
def test_what_is_not_here_is_named_with_what_to_do(tmp_path: Path, text: str, says: str) -> None:
    """Before the night on which it is needed."""
    assert any(says in sentence for sentence in said(tmp_path, text))


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Without it there is no journal."""
    (tmp_path / "upsd.toml").write_text(f'state_directory = "{tmp_path}/none"\n{MASTER}')
    found = absent(load_settings(tmp_path / "upsd.toml", {}))
    assert found == (f"state_directory: there is no {tmp_path}/none; make it, and give it to the user upsd",)
