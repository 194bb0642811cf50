"""The last steps: the service runs and reads the UPS, and the shutdown is rehearsed."""

from __future__ import annotations

import asyncio
import math
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from upsd.ctl import client, readiness
from upsd.ctl.setup.outcome import Outcome, State
from upsd.ctl.setup.questions import REHEARSE, START_SERVICE
from upsd.domain.power import PowerState
from upsd.shutdown.phase import Phase

if TYPE_CHECKING:
    from upsd.ctl.setup.situation import Situation

UNIT: Final = "upsd.service"
_LOCAL_UNIT: Final = Path("/etc/systemd/system") / UNIT
_GIVE_BACK_THE_NAME: Final = f"start upsd under its name: rm {_LOCAL_UNIT} && systemctl daemon-reload"
_ANSWERS_WITHIN_S: Final = 30.0
_PAUSE_S: Final = 0.2
# The daemon believes what two readings in a row say.
_SETTLES_S: Final = 2.0


def start(situation: Situation) -> Outcome:
    """Start the service, or start it anew if anything has changed that it reads at its start."""
    socket = str(situation.checked.control.socket)
    running, knows_all = _state(socket), _knows_all(situation, Path(socket))
    if running and knows_all and _systemctl("is-enabled", "--quiet", UNIT) is None:
        return Outcome(State.NOTHING_TO_DO, "upsd runs, starts with each boot, and knows all this")
    if client.name_is_nut_s():
        situation.left.append(f"{_GIVE_BACK_THE_NAME}; then upsctl setup again. NUT's server keeps running without it")
        return Outcome(State.FAILED, f"{UNIT} is a second name of NUT's server here, which would be started instead")
    if not situation.interview.agrees(START_SERVICE):
        situation.left.append(f"start upsd: systemctl enable --now {UNIT}")
        return Outcome(State.LEFT_OUT, "as you wish")
    if running and running["phase"] != Phase.IDLE:
        situation.left.append(f"once that is over: systemctl restart {UNIT}")
        return Outcome(State.LEFT_OUT, f"upsd is {running['phase']}, and is not disturbed")
    trouble = _systemctl("enable", "--now", UNIT)
    if trouble is None and running and not knows_all:
        trouble = _systemctl("restart", UNIT)
    if trouble is None:
        trouble = asyncio.run(_trouble_reading(socket))
    if trouble:
        situation.left.append(f"upsd does not run as it should: {trouble}")
        return Outcome(State.FAILED, trouble)
    return Outcome(State.DONE, "upsd runs, reads the UPS, and starts with each boot")


def _knows_all(situation: Situation, socket: Path) -> bool:
    """Whether the daemon, which is as old as its socket, has read its settings and its unit as they are now.

    It looks at its kubeconfig again by itself.
    """
    try:
        started = socket.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= started for path in (situation.path, _LOCAL_UNIT) if path.exists())
    except OSError:
        return False


def rehearse(situation: Situation) -> Outcome:
    """Have every step of the shutdown proven, and show the verdict."""
    socket = str(situation.checked.control.socket)
    if _state(socket) is None:
        situation.left.append("rehearse the shutdown, once upsd runs: upsctl rehearse")
        return Outcome(State.LEFT_OUT, "upsd does not run")
    if not situation.interview.agrees(REHEARSE):
        situation.left.append("rehearse the shutdown: upsctl rehearse")
        return Outcome(State.LEFT_OUT, "as you wish")
    try:
        status = readiness.run(Namespace(command="rehearse", json=False), socket, situation.paint)
    except (client.NoDaemonError, client.RefusedError) as error:
        situation.left.append("rehearse the shutdown: upsctl rehearse")
        return Outcome(State.FAILED, f"upsd says: {error}")
    if status != readiness.OK:
        situation.left.append("mend what the rehearsal has named, then: upsctl rehearse")
        return Outcome(State.FAILED, "not every step is proven")
    return Outcome(State.DONE, "every step is proven, and nothing was changed")


def is_armed(situation: Situation) -> bool:
    """Whether an outage starts the shutdown already."""
    state = _state(str(situation.checked.control.socket))
    return bool(state and state["readiness"] and state["readiness"]["armed"])


def _state(socket: str) -> dict[str, Any] | None:
    """What a running daemon shows."""
    try:
        state: dict[str, Any] = client.ask(socket, "status")["state"]
    except (client.NoDaemonError, client.RefusedError):
        return None
    return state


async def _trouble_reading(socket: str) -> str | None:
    """Why the daemon does not read the UPS, after a while; `None` as soon as it does."""
    state, known_since = None, math.inf
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            while True:
                state = await asyncio.to_thread(_state, socket)
                known = state is not None and state["power"] != PowerState.UNKNOWN
                known_since = min(known_since, loop.time()) if known else math.inf
                if loop.time() - known_since >= _SETTLES_S:
                    return None
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        pass
    if state is None:
        return f"it does not answer on {socket}: see `systemctl status upsd` and `journalctl -u upsd`"
    return f"it does not read the UPS: {'; '.join(state['warnings']) or 'see upsctl status'}"


def _systemctl(*words: str) -> str | None:
    """Run it; a sentence on what went wrong."""
    program = shutil.which("systemctl")
    if program is None:
        return "there is no systemd here; start it yourself: python -m upsd"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    said = done.stderr.strip() or done.stdout.strip()
    return f"systemctl {' '.join(words)}: {said or f'exit code {done.returncode}'}" if done.returncode else None
