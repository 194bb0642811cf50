"""`upsctl drill`: what a person types, sees and gets, with the real daemon and a machine that really goes off."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hardware_sim.machines import MachineState
from tests.integration.brokers import until
from tests.integration.outage import DEADLINE_S, Scene, scene, together
from tests.integration.test_requested_shutdown import AT, daemon, rest, running
from upsd.domain.power import Event, Severity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from upsd.status import Json, StatusBoard

# So slow that there is time to believe that a machine is off: three calls that stay unanswered take nine seconds.
SEEN_OFF_PACE = 0.15


async def test_a_worker_is_drilled_before_anybody_arms_the_rack(tmp_path: Path) -> None:
    """To the end, and with a daemon that is killed while the machine is off."""
    await together(_to_the_end(tmp_path / "end"), _killed(tmp_path / "killed"))


# What upsctl shows, by what a daemon tells it.

BEGUN: Json = {"drill": "d1", "worker": "pi3", "wakes": True, "expected_s": 140.0, "waits_s": 300.0}
ENDED = Event("step_ended", Severity.INFO, {"step": "poweroff pi3", "state": "forced", "seconds": 1.0, "detail": None})


async def begin(_request: Mapping[str, Json]) -> Json:
    """Take the command."""
    return BEGUN


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[StatusBoard, asyncio.subprocess.Process]]:
    """An upsctl that has begun a drill, and the board that it watches."""
    async with (
        daemon({"drill": begin}) as (board, path),
        running("drill", "pi3", "--yes", "--socket", path) as process,
    ):
        yield board, process


async def test_a_drill_that_went_wrong_is_exit_status_1_and_names_it() -> None:
    """A script that drills before it arms must notice."""
    async with watched() as (board, process):
        board.emit(ENDED, AT)
        board.emit(Event("drill_finished", Severity.WARNING, {"drill": "other", "not_done": None}), AT)
        board.emit(Event("drill_finished", Severity.WARNING, {"drill": "d1", "not_done": "confirm-off pi3"}), AT)
        code, out, err = await rest(process)
    assert (code, err) == (1, "")
    assert "forced    poweroff pi3" in out
    assert out.endswith("1 of 1 steps went wrong: confirm-off pi3\n")


async def test_a_drill_that_was_called_off_is_exit_status_1() -> None:
    """By an outage, or a person."""
    async with watched() as (board, process):
        board.emit(Event("drill_cancelled", Severity.WARNING, {"drill": "d1", "worker": "pi3"}), AT)
        code, out, _ = await rest(process)
    assert code == 1
    assert "called off: see upsctl status; pi3 comes back with the mains" in out


async def test_ctrl_c_ends_the_watching_only() -> None:
    """The machine may be off by now, and is brought back."""
    async with watched() as (_, process):
        process.send_signal(signal.SIGINT)
        code, out, err = await rest(process)
    assert (code, err) == (130, "")
    assert "the drill goes on" in out


async def _to_the_end(directory: Path) -> None:
    async with scene(directory, machine_pace=SEEN_OFF_PACE) as played:
        (directory / "armed.json").unlink()
        await played.start_daemon()
        await _judged(played)
        code, said = await played.upsctl("drill", "pi3")
        assert code == 1
        assert "it would power off pi3 for real, and no other machine" in said
        assert "somebody has to switch it on" in said
        assert said.endswith("say that you mean it with --yes")
        code, said = await played.upsctl("drill", "pi5", "--yes")
        assert (code, "there is no worker 'pi5'; the workers are: " in said) == (1, True), said
        assert played.moments == []

        watching = asyncio.create_task(played.upsctl("drill", "pi3", "--yes"))
        await played.heard("drill_started", worker="pi3")
        await _switched_on(played)
        code, said = await watching
        assert code == 0, said
        assert "NOW SWITCH pi3 ON: it can't be woken from here." in said
        assert "done poweroff pi3 " in said
        assert "port silent" in said
        assert said.endswith("steps are done: pi3 went off as in an outage, and is back as it was")
        _assert_as_before(played)
        finished = await played.heard("drill_finished", worker="pi3")
        assert finished["fields"]["not_done"] is None
        await until(lambda: played.state["readiness"]["proven_steps"] == 3, DEADLINE_S)

        report = await played.report()
        assert (report["ending"], report["drilled"], report["mains_away_s"]) == ("drilled", "pi3", 0.0)
        assert report["outage"].endswith("-drill")
        assert "drilled" in (await played.upsctl("outages"))[1]
    ledger = json.loads((directory / "ledger.json").read_text())["steps"]
    assert {name: step["proof"]["how"] for name, step in ledger.items()} == dict.fromkeys(
        ("drain pi3", "poweroff pi3", "confirm-off pi3"), "drilled"
    )


async def _killed(directory: Path) -> None:
    """The next start brings the worker back, and nobody else has gone off."""
    async with scene(directory, machine_pace=SEEN_OFF_PACE) as played:
        await played.start_daemon()
        await _judged(played)
        watching = asyncio.create_task(played.upsctl("drill", "pi3", "--yes"))
        await until(lambda: played.rack.machines["pi3"].state is MachineState.OFF, DEADLINE_S)
        await played.rack.kill_daemon()
        assert (await watching)[0] == 3
        assert played.cordoned() == {"pi3"}

        await played.start_daemon()
        await _switched_on(played)
        await played.heard("abort_finished", not_done=None)
        _assert_as_before(played)
        report = await played.report()
        assert (report["ending"], report["troubles"][-1]) == ("drilled", "upsd was started again once")


async def _judged(played: Scene) -> None:
    """Wait until the daemon is sure of the mains: one reading alone is none."""
    await until(lambda: played.state.get("readiness") is not None, DEADLINE_S)


async def _switched_on(played: Scene) -> None:
    """Switch the worker on as soon as the daemon waits for it."""
    await until(lambda: "no answer" in played.steps.get("wait-host pi3", {}).get("detail", ""), DEADLINE_S)
    assert {moment.machine for moment in played.moments} == {"pi3"}
    assert played.rack.machines["pi3"].clean
    played.rack.machines["pi3"].power(on=False)
    played.rack.machines["pi3"].power(on=True)
    played.rack.kubernetes.cluster.node_up("pi3")


def _assert_as_before(played: Scene) -> None:
    assert {machine.state for machine in played.rack.machines.values()} == {MachineState.RUNNING}
    assert {moment.machine for moment in played.moments} == {"pi3"}
    assert played.moment("pi3", MachineState.STOPPING).pods == ()
    assert played.cordoned() == set()
    assert played.marked() == set()
