from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from upsd.domain.rack import RackError
from upsd.rack import commands
from upsd.rack.commands import CommandTimeoutError, run_command

DEADLINE_S = 10.0


async def process_of(file: Path) -> int:
    """The process id that a command has written into the file."""
    async with asyncio.timeout(DEADLINE_S):
        while not (text := written(file)).endswith("\n"):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    return int(text)


def written(file: Path) -> str:
    """What is in the file, nothing if it is not there yet."""
    return file.read_text() if file.exists() else ""


async def gone(process: int) -> None:
    """Wait until there is no such process any more, not even as a zombie of ours."""
    async with asyncio.timeout(DEADLINE_S):
        while runs(process):  # noqa: ASYNC110 - a process that is no child of ours has no event
            await asyncio.sleep(0.01)


def runs(process: int) -> bool:
    """Whether the process is there and has not merely been left to whoever inherited it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state[0] != "Z" or int(state[1]) == os.getpid()


async def test_the_output_is_the_answer() -> None:
    """Standard output comes back whole, and nothing of standard error."""
    assert await run_command(["sh", "-c", "echo one; echo two; echo three >&2"], timeout_s=DEADLINE_S) == "one\ntwo\n"


async def test_a_failure_tells_the_command_its_code_and_its_first_complaint() -> None:
    """Who reads the error can run the same command by hand."""
    with pytest.raises(RackError) as caught:
        await run_command(["sh", "-c", "echo >&2; echo no such unit >&2; echo more >&2; exit 5"], timeout_s=DEADLINE_S)
    assert str(caught.value) == (
        "`sh -c 'echo >&2; echo no such unit >&2; echo more >&2; exit 5'` failed (exit code 5): no such unit"
    )


async def test_a_command_that_is_killed_says_by_which_signal() -> None:
    """A signal is no exit code."""
    with pytest.raises(RackError, match=r"failed \(killed by SIGTERM\)$"):
        await run_command(["sh", "-c", "kill -TERM $$"], timeout_s=DEADLINE_S)


async def test_a_command_that_is_not_installed_is_an_error_of_the_rack() -> None:
    """A missing program is told like any other failure and does not end the daemon."""
    with pytest.raises(RackError, match="cannot run `no-such-program --now`: No such file or directory"):
        await run_command(["no-such-program", "--now"], timeout_s=DEADLINE_S)


async def test_a_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    """What a hanging command has started does not stay behind either."""
    child = tmp_path / "child"
    with pytest.raises(CommandTimeoutError, match=r"did not end within 0\.3 s"):
        await run_command(["sh", "-c", f"sleep 60 & echo $! > {child}; wait"], timeout_s=0.3)
    await gone(await process_of(child))


async def test_cancelling_kills_the_command(tmp_path: Path) -> None:
    """The plan's own deadline reaches the command."""
    own = tmp_path / "own"
    running = asyncio.create_task(run_command(["sh", "-c", f"echo $$ > {own}; exec sleep 60"], timeout_s=60))
    process = await process_of(own)
    running.cancel()
    await asyncio.wait({running}, timeout=DEADLINE_S)
    assert running.cancelled()
    await gone(process)


async def test_a_command_that_cannot_be_killed_is_left_behind_and_reaped_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs in the kernel costs a moment, not the shutdown, and leaves no zombie when it ends."""
    own = tmp_path / "own"
    with monkeypatch.context() as stuck:
        stuck.setattr(os, "killpg", lambda _group, _signal: None)
        async with asyncio.timeout(2.0):
            with pytest.raises(CommandTimeoutError):
                await run_command(["sh", "-c", f"echo $$ > {own}; exec sleep 60"], timeout_s=0.3)
    process = await process_of(own)
    assert runs(process)
    os.kill(process, signal.SIGKILL)
    await gone(process)
    async with asyncio.timeout(DEADLINE_S):
        while commands._reapers:  # noqa: ASYNC110 - the reaper is nobody's to wait for
            await asyncio.sleep(0.01)
