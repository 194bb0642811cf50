"""What the wired daemon shows to somebody who asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.daemon import Daemon
from upsd.domain.plan import Step, StepKind, StepProgress, StepState
from upsd.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SETTINGS = '[master]\nname = "m"\nwatts = 20\npoweroff_command = ["true"]\n'


def started(directory: Path) -> Daemon:
    """A daemon that is wired and does not run."""
    (directory / "upsd.toml").write_text(f'state_directory = "{directory}"\n{SETTINGS}', encoding="utf-8")
    return Daemon(load_settings(directory / "upsd.toml", {}))


async def test_systemd_and_the_first_warning_say_that_it_is_not_armed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is; a daemon that was armed before is so from its start."""
    said: list[str] = []
    monkeypatch.setattr("upsd.notify.Notifier.status", lambda _, text: said.append(text))
    daemon = started(tmp_path)
    daemon._show()
    assert said == ["NOT ARMED, unknown, idle"]
    assert str(daemon.board.state["warnings"][0]).startswith("NOT ARMED")  # type: ignore[index]
    await daemon._readiness.acts()["arm"]({"unproven": True, "uid": 0})
    assert said == ["NOT ARMED, unknown, idle", "unknown, idle"]
    assert "NOT ARMED" not in str(daemon.board.state["warnings"])
    started(tmp_path)._show()
    assert said[-1] == "unknown, idle"


async def test_a_running_steps_time_goes_on_for_who_asks(tmp_path: Path) -> None:
    """A step that waits must not look as if the daemon hung."""
    daemon = started(tmp_path)
    step = Step(
        id="announce",
        kind=StepKind.ANNOUNCE,
        target="rack",
        needs=(),
        expected_s=9,
        minimum_s=1,
        limit_s=99,
        harmless=True,
    )
    now = asyncio.get_running_loop().time()
    daemon._conductor.progress = {step.id: StepProgress(step, StepState.RUNNING, started_at=now, deadline_at=now + 99)}
    await asyncio.sleep(5)
    daemon._surfaces.refresh()
    assert [shown["seconds"] for shown in daemon.board.shutdown["steps"]] == [5.0]  # type: ignore[index,union-attr,call-overload]
