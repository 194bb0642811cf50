"""Steps of setup that a whole run does not show: what was broken is mended, and what is under way is not disturbed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.integration.boards import ON_LINE, show
from upsd.ctl import client
from upsd.ctl.setup import rights, service, system
from upsd.ctl.setup.interview import Interview
from upsd.ctl.setup.outcome import SetupError, State
from upsd.ctl.setup.situation import Situation
from upsd.ctl.system_files import SYSTEM_FILES, text_of
from upsd.ctl.words import painter
from upsd.domain.power import PowerState
from upsd.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from hardware_sim.kubernetes import SimulatedKubernetes
    from upsd.status import StatusBoard

PYTHON = "/opt/pipx/venvs/upsd/bin/python"


def _situation(directory: Path, socket: Path | str = "/nonexistent/control.sock") -> Situation:
    """A run in which the settings are written."""
    path = directory / "upsd.toml"
    path.write_text(
        f'[master]\nname = "m"\nwatts = 1\n[kubernetes]\nkubeconfig = "{directory}/ours"\n'
        f'[control]\nsocket = "{socket}"\n'
    )
    paint = painter(coloured=False)
    situation = Situation(path, {}, Interview({}, {}, attended=False, paint=paint), paint, str(socket))
    situation.settings = load_settings(path, {})
    return situation


def _systemctl(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A `systemctl` that does this; where it notes what it was told."""
    program, told = directory / "systemctl", directory / "told"
    program.write_text(f'#!/bin/sh\necho "$*" >>{told}\n{script}\n')
    program.chmod(0o755)
    told.touch()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.setattr(client, "UNIT", str(directory / "upsd.service"))
    return told


async def test_a_kubeconfig_that_works_stays_and_one_that_does_not_is_kept_beside_a_new_one(
    api: SimulatedKubernetes, kubeconfig: Path, tmp_path: Path
) -> None:
    """As after somebody has revoked the token by deleting its Secret."""
    situation = _situation(tmp_path)
    situation.admin_kubeconfig = kubeconfig
    ours = tmp_path / "ours"
    assert (await asyncio.to_thread(rights.grant, situation)).state is State.DONE
    first = ours.read_text()
    outcome = await asyncio.to_thread(rights.grant, situation)
    assert (outcome.state, outcome.text) == (
        State.NOTHING_TO_DO,
        f"the rights are as they should be; {ours} works",
    )
    assert ours.read_text() == first

    secret = api.cluster.store.get("secrets", "upsd", "upsd-token")
    api.cluster.store.remove("secrets", secret)
    outcome = await asyncio.to_thread(rights.grant, situation)
    assert outcome.state is State.DONE
    assert "the old one, which did not work, is" in outcome.text
    assert (tmp_path / "ours.before-setup").read_text() == first != ours.read_text()


async def test_a_cluster_that_is_down_is_told(kubeconfig: Path, api: SimulatedKubernetes, tmp_path: Path) -> None:
    """The steps after it can do without."""
    await api.stop()
    situation = _situation(tmp_path)
    situation.admin_kubeconfig = kubeconfig
    outcome = await asyncio.to_thread(rights.grant, situation)
    assert outcome.state is State.FAILED
    assert "is k3s running?" in outcome.text
    assert situation.left == ["upsd has no rights in the cluster yet: mend what is said above, and run setup again"]


@pytest.mark.parametrize("phase", ["shutting-down", "recovering", "rehearsing"])
async def test_a_daemon_that_is_at_work_is_not_started_anew(
    board: StatusBoard, control_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """It is told what to do once that is over."""
    told = _systemctl(tmp_path, monkeypatch, "")
    show(board, replace(ON_LINE, phase=phase))
    situation = _situation(tmp_path, control_socket)  # the settings are newer than the daemon
    outcome = await asyncio.to_thread(service.start, situation)
    assert (outcome.state, outcome.text) == (State.LEFT_OUT, f"upsd is {phase}, and is not disturbed")
    assert situation.left == ["once that is over: systemctl restart upsd.service"]
    assert "start" not in told.read_text()


async def test_what_systemd_says_of_a_start_that_failed_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a daemon that does not come."""
    _systemctl(tmp_path, monkeypatch, 'echo "Job for upsd.service failed." >&2; exit 1')
    outcome = await asyncio.to_thread(service.start, _situation(tmp_path))
    assert outcome.state is State.FAILED
    assert outcome.text == "systemctl enable --now upsd.service: Job for upsd.service failed."


async def test_a_name_that_nut_has_taken_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Debian 13: systemd would start, and enable, NUT's server."""
    told = _systemctl(tmp_path, monkeypatch, "")
    (tmp_path / "upsd.service").symlink_to("/usr/lib/systemd/system/nut-server.service")
    situation = _situation(tmp_path)
    outcome = await asyncio.to_thread(service.start, situation)
    assert outcome.state is State.FAILED
    assert "second name of NUT's server" in outcome.text
    assert "rm /etc/systemd/system/upsd.service && systemctl daemon-reload" in situation.left[0]
    assert told.read_text() == ""


async def test_a_daemon_that_does_not_read_the_ups_is_told_with_its_reason(
    board: StatusBoard, control_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs all the same."""
    _systemctl(tmp_path, monkeypatch, "")
    monkeypatch.setattr(service, "_ANSWERS_WITHIN_S", 0.5)
    warnings = ("another program holds the UPS; stop nut-driver or whatever else reads it",)
    show(board, replace(ON_LINE, power=PowerState.UNKNOWN, warnings=warnings))
    situation = _situation(tmp_path, control_socket)  # the settings are newer than the daemon
    outcome = await asyncio.to_thread(service.start, situation)
    assert (outcome.state, outcome.text) == (State.FAILED, f"it does not read the UPS: {warnings[0]}")


def test_what_belongs_to_the_system_is_installed_once(tmp_path: Path) -> None:
    """With the Python of this installation; an older version is replaced, and what was there is kept beside it."""
    assert system.differing(SYSTEM_FILES, PYTHON, tmp_path) == list(SYSTEM_FILES)
    for file in SYSTEM_FILES:
        system.put(file, PYTHON, tmp_path)
    assert system.differing(SYSTEM_FILES, PYTHON, tmp_path) == []
    unit = tmp_path / "etc/systemd/system/upsd.service"
    assert f"ExecStart={PYTHON} " in unit.read_text()

    unit.write_text("[Unit]\n")
    (changed,) = system.differing(SYSTEM_FILES, PYTHON, tmp_path)
    system.put(changed, PYTHON, tmp_path)
    assert unit.read_text() == text_of(changed, PYTHON)
    assert unit.with_name("upsd.service.before-setup").read_text() == "[Unit]\n"


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    """And what to do."""
    (tmp_path / "etc").write_text("no directory")
    with pytest.raises(SetupError, match=r"can't be written .*; mend that, and run upsctl setup again"):
        system.put(SYSTEM_FILES[0], PYTHON, tmp_path)
