"""The real daemon obeys an operator at the UPS, as long as that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.brokers import until
from tests.integration.outage import DEADLINE_S, scene

if TYPE_CHECKING:
    from pathlib import Path

# An outage goes on to the shutdown only when it is told to.
_PATIENT = {"UPSD_SHUTDOWN__ON_BATTERY": "1h", "UPSD_SHUTDOWN__AUTO": "false"}
_CYCLE = ("ups", "cycle", "--off-after", "600", "--restore-after", "2")


async def test_an_operator_commands_the_ups_while_it_is_safe(tmp_path: Path) -> None:
    """And is told why, while it is not."""
    async with scene(tmp_path / "rack", _PATIENT) as played:
        await played.start_daemon()
        await played.on_line()

        def scheduled() -> bool:
            return played.rack.device.outlets.shutdown_at is not None

        code, said = await played.upsctl("ups", "show")
        assert code == 0
        assert "protocol: gpser" in said
        code, said = await played.upsctl("ups", "test")
        assert (code, said.split(" (")[0]) == (0, "Done and passed: the battery held its voltage")
        assert "mains_lost" not in played.event_names
        await until(lambda: played.state["readings"]["ups.test.result"] == "Done and passed", DEADLINE_S)

        code, said = await played.upsctl("ups", "bench", "--config", str(played.rack.directory / "upsd.toml"))
        assert code == 1
        assert "stop it first: systemctl stop upsd" in said

        code, said = await played.upsctl(*_CYCLE)
        assert code == 1
        assert "--yes" in said
        assert not scheduled()
        code, said = await played.upsctl(*_CYCLE, "--yes")
        assert code == 0, said
        assert scheduled()
        await played.says("the UPS will cut its outlets, as it was told; call that off with: upsctl ups cancel")
        code, said = await played.upsctl("ups", "cancel")
        assert code == 0, said
        assert not scheduled()

        await played.cut_mains()
        code, said = await played.upsctl("ups", "test")
        assert code == 1
        assert "refused: the rack lives on its battery" in said
        played.rack.device.restore_mains()
        await until(lambda: played.state.get("power") == "on_line", DEADLINE_S)
        assert not played.moments


async def test_nobody_commands_the_ups_while_the_rack_goes_down(tmp_path: Path) -> None:
    """An outlet that is switched then would take a machine with it; a switch-off called off would leave it off."""
    async with scene(tmp_path / "rack") as played:
        await played.start_daemon()
        await played.on_line()
        played.rack.device.cut_mains()
        await played.heard("shutdown_started")
        code, said = await played.upsctl(*_CYCLE, "--yes")
        assert code == 1
        assert "refused: the daemon's own plan is under way" in said
        await played.heard("outlet_cycle_scheduled")
        code, said = await played.upsctl("ups", "cancel")
        assert code == 1
        await played.master_off()
        assert played.rack.device.outlets.shutdown_at is not None
