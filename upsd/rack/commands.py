"""Local commands that cannot hold up the daemon, whatever they run into."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

_LAST_MOMENT_S = 0.5

_reapers: set[asyncio.Task[int]] = set()


class CommandTimeoutError(RackError):
    """The command did not end in time; it was killed, or left behind where even that does nothing."""


async def run_command(argv: Sequence[str], *, timeout_s: float) -> str:
    """Run a command without a shell, a terminal or an input, and return its standard output.

    On timeout and on cancellation its whole process group is killed. A process that the kernel does not let go
    (it waits for a dead NFS server, say) is left behind, and reaped whenever it ends.

    Raises:
        RackError: It could not be started, or failed; with its exit code and the first line of its complaint.
        CommandTimeoutError: It took longer than `timeout_s` seconds.
    """
    pipe = asyncio.subprocess.PIPE
    words = shlex.join(argv)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except OSError as error:
        raise RackError(f"cannot run `{words}`: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await process.communicate()
    except TimeoutError:
        raise CommandTimeoutError(f"`{words}` did not end within {timeout_s:g} s") from None
    finally:
        await _leave(process)
    if process.returncode:
        raise RackError(f"`{words}` failed ({_ending(process.returncode)}){_first_line(complaint)}")
    return output.decode(errors="replace")


async def _leave(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    reaper = asyncio.create_task(process.wait(), name=f"reap {process.pid}")
    _reapers.add(reaper)
    reaper.add_done_callback(_reapers.discard)
    await asyncio.wait({reaper}, timeout=_LAST_MOMENT_S)


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").split("\n")
    return next((f": {line.strip()}" for line in lines if line.strip()), "")
