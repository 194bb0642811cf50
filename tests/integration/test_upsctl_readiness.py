"""What `upsctl` shows of a rack that is not ready, is rehearsed or drilled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.integration.boards import AT, ON_LINE, show, step
from tests.integration.command_line import DEADLINE_S, ROOT, UPSCTL, upsctl
from upsd.domain.plan import StepKind, StepProgress, StepState
from upsd.domain.power import PowerState
from upsd.domain.readiness import Readiness
from upsd.status import shutdown_document

if TYPE_CHECKING:
    from upsd.status import StatusBoard

NOT_READY = replace(
    ON_LINE,
    readiness=Readiness(
        ready=False,
        because=("NOT ARMED: run upsctl arm", "3 steps are not proven (cordon and 2 more): run upsctl rehearse"),
        armed=False,
        proven_steps=14,
        of=17,
        oldest_proof="2026-11-20",
    ),
)


async def test_a_rack_that_is_not_ready_says_so_on_one_line(board: StatusBoard) -> None:
    """With the first reason, which says what to do; the rack is on line all the same."""
    show(board, NOT_READY)
    result = await upsctl("status")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "Ready     NO: NOT ARMED: run upsctl arm; and 1 more"


async def test_in_an_outage_nobody_is_told_of_a_shutdown_that_does_not_start(board: StatusBoard) -> None:
    """Then every minute counts, so it says what still helps."""
    show(board, replace(NOT_READY, power=PowerState.ON_BATTERY, on_battery_s=30.0))
    shown = " ".join((await upsctl("status")).out.split())
    assert "Next NOT ARMED: no shutdown starts, until the battery is empty; run upsctl arm --unproven" in shown


async def test_who_follows_events_of_a_daemon_that_is_not_armed_sees_that_first(board: StatusBoard) -> None:
    """Before any outage."""
    show(board, NOT_READY)
    follower = await asyncio.create_subprocess_exec(*UPSCTL, "events", cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert follower.stdout
    async with asyncio.timeout(DEADLINE_S):
        line = await follower.stdout.readline()
        follower.kill()
        await follower.communicate()
    assert line == b"2026-11-23T19:00:00Z  state     on line, idle, NOT ARMED\n"


async def test_a_rehearsal_is_not_shown_as_an_outage(board: StatusBoard) -> None:
    """Its steps are there, and nobody is frightened."""
    show(board, replace(ON_LINE, phase="rehearsing"))
    progress = StepProgress(step(1, StepKind.POWEROFF), StepState.RUNNING, started_at=99.0, deadline_at=130.0)
    board.set_shutdown(
        shutdown_document(
            phase="rehearsing", outage=None, reason="rehearsal", progress=[progress], at=AT, now=100.0, committed=False
        )
    )
    result = await upsctl("status")
    assert result.code == 0
    assert "rehearsing: nothing is changed" in result.out.splitlines()
    assert "outage" not in result.out


@pytest.mark.parametrize(
    ("phase", "words"),
    [("drilling", "a drill: one worker goes off as in an outage"), ("aborting", "switch it on if it can't be woken")],
)
async def test_a_drill_is_not_shown_as_an_outage(board: StatusBoard, phase: str, words: str) -> None:
    """Whoever looks is told what he has to do, and not that the rack shuts down."""
    show(board, replace(ON_LINE, phase=phase))
    progress = StepProgress(step(1, StepKind.POWEROFF), StepState.RUNNING, started_at=99.0, deadline_at=130.0)
    board.set_shutdown(
        shutdown_document(
            phase=phase, outage="o1-drill", reason="drill", progress=[progress], at=AT, now=100.0, committed=False
        )
    )
    result = await upsctl("status")
    assert result.code == 0  # the power is no worse for it
    assert words in " ".join(result.out.split())
    assert f"{phase}, drill o1-drill" in result.out
    assert "outage o1" not in result.out
    assert "what the shutdown did" not in result.out
