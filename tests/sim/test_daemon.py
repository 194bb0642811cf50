"""What the wired daemon shows to somebody who asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from upsd.daemon import Daemon
from upsd.domain.plan import Step, StepKind, StepProgress, StepState
from upsd.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = '[master]\nname = "m"\nwatts = 20\npoweroff_command = ["true"]\n'


async def test_a_running_steps_time_goes_on_for_who_asks(tmp_path: Path) -> None:
    """A step that waits must not look as if the daemon hung."""
    (tmp_path / "upsd.toml").write_text(f'state_directory = "{tmp_path}"\n{SETTINGS}', encoding="utf-8")
    daemon = Daemon(load_settings(tmp_path / "upsd.toml", {}))
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
