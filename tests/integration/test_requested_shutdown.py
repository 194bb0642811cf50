"""`upsctl shutdown` and `upsctl abort`: what a person types, sees and gets, with the real daemon and without."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import objects
from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from tests.integration.brokers import until
from tests.integration.command_line import DEADLINE_S, ROOT, UPSCTL, upsctl
from tests.integration.outage import (
    ALL,
    Scene,
    cluster_with_an_administrators_cordon,
    scene,
    together,
)
from upsd.control import ActError, ControlServer
from upsd.domain.power import Event, Severity
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from upsd.control import Act
    from upsd.status import Json

AT = "2026-11-26T19:00:00Z"


@asynccontextmanager
async def daemon(acts: Mapping[str, Act]) -> AsyncIterator[tuple[StatusBoard, str]]:
    """A board, and the socket on which these commands are understood."""
    with tempfile.TemporaryDirectory(prefix="upsd-") as directory:
        path, board = Path(directory) / "control.sock", StatusBoard("iplug")
        async with ControlServer(board, path, acts=acts, may_act=lambda _: None):
            yield board, str(path)


async def start(_request: Mapping[str, Json]) -> Json:
    """Take the command."""
    return {"outage": "o1", "expected_s": 190.0, "held_back": []}


async def refuse(_request: Mapping[str, Json]) -> Json:
    """Do not."""
    raise ActError("it would power off everything; say that you mean it with --yes")


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An upsctl that has said its first lines."""
    process = await asyncio.create_subprocess_exec(
        *UPSCTL, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"Ctrl-C only ends the watching" not in await process.stdout.readline():
                pass
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def rest(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """How it ends, and what else it says."""
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("command", ["shutdown", "abort"])
async def test_a_refusal_is_its_reason_and_exit_status_1(command: str) -> None:
    """And nothing on standard output that looks as if something had begun."""
    async with daemon({command: refuse}) as (_, path):
        result = await upsctl(command, "--socket", path)
    assert (result.code, result.out) == (1, "")
    assert result.err == "upsctl: upsd says: it would power off everything; say that you mean it with --yes\n"


async def test_a_shutdown_is_followed_until_the_machine_goes_off() -> None:
    """Each step as it happens; the end of the connection after the last one is how it ends well."""
    async with daemon({"shutdown": start}) as (board, path), running("shutdown", "--yes", "--socket", path) as process:
        board.emit(Event("step_started", Severity.INFO, {"step": f"host-poweroff {MASTER}"}), AT)
        await asyncio.sleep(0)
        assert process.stdout
        async with asyncio.timeout(DEADLINE_S):
            while b"host-poweroff" not in await process.stdout.readline():
                pass
        ended = asyncio.create_task(rest(process))
        await asyncio.sleep(0)
        for client in list(asyncio.all_tasks()):
            if client.get_name() == "control-client":
                client.cancel()
        code, out, err = await ended
    assert (code, err) == (0, "")
    assert "upsd has ended, as this machine goes off" in out


async def test_a_daemon_that_goes_away_in_the_middle_is_no_success() -> None:
    """A script must not believe that the rack is off."""
    async with daemon({"shutdown": start}) as (_, path), running("shutdown", "--yes", "--socket", path) as process:
        for client in list(asyncio.all_tasks()):
            if client.get_name() == "control-client":
                client.cancel()
        code, _, err = await rest(process)
    assert code == 3
    assert "hung up" in err


async def test_ctrl_c_stops_the_watching_only_and_says_so() -> None:
    """Whoever presses it in a fright must know what it does not do."""
    async with daemon({"shutdown": start}) as (_, path), running("shutdown", "--yes", "--socket", path) as process:
        process.send_signal(signal.SIGINT)
        code, out, err = await rest(process)
    assert (code, err) == (130, "")
    assert "the shutdown goes on" in out
    assert "upsctl abort" in out


@pytest.mark.parametrize(("command", "code"), [(("shutdown", "--yes"), 1), (("abort",), 0)])
async def test_both_end_when_the_shutdown_is_called_off(command: tuple[str, ...], code: int) -> None:
    """For the one that is its failure, for the other its success."""
    async with daemon({command[0]: start}) as (board, path), running(*command, "--socket", path) as process:
        board.emit(Event("abort_finished", Severity.INFO, {"outage": "o1", "not_done": None}), AT)
        assert (await rest(process))[0] == code


async def test_an_abort_says_what_could_not_be_undone() -> None:
    """A node that stays cordoned is a person's business."""
    async with daemon({"abort": start}) as (board, path), running("abort", "--socket", path) as process:
        board.emit(Event("abort_finished", Severity.CRITICAL, {"outage": "o1", "not_done": "uncordon"}), AT)
        code, out, _ = await rest(process)
    assert code == 1
    assert "Not undone yet: uncordon" in out


async def test_a_person_shuts_the_rack_down_or_thinks_again(tmp_path: Path) -> None:
    """On mains, with the real daemon: to the end; undone; and past the point of no return."""
    await together(_shut_down(tmp_path / "down"), _called_off(tmp_path / "off"))


async def _shut_down(directory: Path) -> None:
    async with scene(directory) as played:
        await played.start_daemon()
        await played.on_line()
        code, said = await played.upsctl("shutdown")
        assert code == 1
        assert f"{MASTER} in order" in said
        assert played.moments == []

        watching = asyncio.create_task(played.upsctl("shutdown", "--yes"))
        await played.heard("point_of_no_return")
        code, said = await played.upsctl("abort")
        assert code == 1
        assert "the point of no return is passed" in said
        await played.master_off()
        code, said = await watching
        assert (code, played.event_names.count("shutdown_aborted")) == (0, 0), said
        assert "step_started step=host-poweroff" in said
        _assert_off_in_order(played)
        assert {machine.clean for machine in played.rack.machines.values()} == {True}
        started = await played.heard("shutdown_started")
        assert started["fields"]["reason"] == "requested"


async def _called_off(directory: Path) -> None:
    """Killed in between and started again: still wanted; then called off, and the cluster is as it was."""
    cluster = cluster_with_an_administrators_cordon()
    environment = {"UPSD_KUBERNETES__DRAIN_LIMIT": "60s", "UPSD_RECOVERY__WORKLOADS_LIMIT": "8s"}
    async with scene(directory, environment, cluster=cluster) as played:
        await played.start_daemon()
        await played.on_line()
        watching = asyncio.create_task(played.upsctl("shutdown", "--yes"))
        await played.heard("step_started", step="drain pi4-a")
        await played.rack.kill_daemon()
        assert (await watching)[0] == 3

        await played.start_daemon()
        await played.heard("shutdown_resumed")
        await until(lambda: played.state.get("phase") == "shutting-down", DEADLINE_S)
        assert "upsctl abort would undo" in (await played.upsctl("status"))[1]
        await until(lambda: any(map(objects.is_terminating, cluster.pods_on("pi3"))), DEADLINE_S)
        code, said = await played.upsctl("abort")
        assert code == 1
        assert "Everything is undone, but not as many pods are Ready as before" in said  # pi3 takes none back
        assert played.cordoned() == {"pi3"}
        assert played.marked() == set()
        assert played.moments == []
        assert (await played.report())["ending"] == "aborted"
        assert (await played.upsctl("abort"))[1].endswith("no shutdown is under way")


def _assert_off_in_order(played: Scene) -> None:
    assert {machine.state for machine in played.rack.machines.values()} == {MachineState.OFF}
    assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled
    assert played.moment(MASTER, MachineState.STOPPING).workers_on == ()
    assert all(played.moment(name, MachineState.STOPPING).pods == () for name in WORKERS)
    assert played.cordoned() == ALL
