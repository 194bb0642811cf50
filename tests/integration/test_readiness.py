"""From a fresh installation to a rack that is ready: the real daemon, rehearsed, armed and disarmed with `upsctl`."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import objects
from hardware_sim.kubernetes.rack import WORKERS
from hardware_sim.machines import MachineState
from tests.integration.brokers import until
from tests.integration.outage import Scene, scene, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Something that is mounted on every machine, and an unmount that is there; no test lets it run.
MOUNTED = {"UPSD_NAS__MOUNT": "/proc", "UPSD_NAS__UNMOUNT_COMMAND": '["true"]'}


async def test_a_rack_is_rehearsed_and_armed_before_an_outage_shuts_it_down(tmp_path: Path) -> None:
    """The way that the README describes, and what happens on a rack that nobody has armed."""
    await together(_installed(tmp_path / "installed"), _not_armed(tmp_path / "unarmed"), _broken(tmp_path / "broken"))


async def _installed(directory: Path) -> None:
    async with _fresh(directory) as played:
        before = _untouched(played)
        code, said = await played.upsctl("rehearse")
        assert code == 0, said
        assert said.endswith("steps are proven; nothing was changed")
        assert all(f"poweroff {name} " in said and f"drain {name} " in said for name in WORKERS)
        assert _untouched(played) == before
        assert not (directory / "journal.jsonl").exists()

        code, said = await played.upsctl("arm")
        assert (code, said) == (0, "armed: an outage starts the shutdown, as late as it is safe")
        await played.heard("readiness_changed", ready=True)
        await until(lambda: played.state["readiness"]["because"] == [])
        assert "Ready yes: all" in (await played.upsctl("status"))[1]

        await played.rack.kill_daemon()
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("shutdown_started")


async def _not_armed(directory: Path) -> None:
    """It sees the outage, says what it would have done, and touches nothing; told to, it does it."""
    async with _fresh(directory) as played:
        before = _untouched(played)
        code, said = await played.upsctl("status")
        assert (code, "Warnings NOT ARMED: no outage starts a shutdown;" in said) == (0, True), said
        await played.cut_mains()
        told = await played.heard("shutdown_withheld", reason="on-battery")
        assert told["severity"] == "critical"
        assert (await played.upsctl("rehearse"))[0] == 1
        assert _untouched(played) == before
        assert played.state["warnings"][0].startswith("NOT ARMED")
        assert (await played.upsctl("arm", "--unproven"))[0] == 0
        await played.heard("shutdown_started", reason="on-battery")
        code, said = await played.upsctl("disarm", "--yes")
        assert (code, "a shutdown that has begun goes on" in said) == (0, True)
        await played.master_off()


async def _broken(directory: Path) -> None:
    """What would fail in an outage is named now, and keeps the rack from being armed by mistake."""
    async with _fresh(directory) as played:
        played.rack.ssh["pi3"].refuse_key = True
        played.rack.ssh["bananapi"].forced = True
        played.rack.kubernetes.faults.refuse(403, method="PATCH")
        code, said = await played.upsctl("rehearse", "--json")
        results = {step["step"]: step for step in json.loads(said)["results"]}
        failed = {name: step["detail"] for name, step in results.items() if step["state"] != "done"}
        assert code == 1
        assert set(failed) == {"cordon", "poweroff pi3", "poweroff bananapi"}
        assert "config/k3s/upsd-rbac.yaml grants that right" in failed["cordon"]
        assert "refused the key" in failed["poweroff pi3"]
        assert "forced command" in failed["poweroff bananapi"]
        assert played.rack.ssh["bananapi"].asked_to_power_off == 0
        code, said = await played.upsctl("arm")
        assert (code, "3 of" in said, "poweroff pi3" in said) == (1, True, True), said
        await until(lambda: played.state["readiness"]["proven_steps"] == len(results) - 3)
        assert not played.state["readiness"]["armed"]


@asynccontextmanager
async def _fresh(directory: Path) -> AsyncIterator[Scene]:
    """A rack with a daemon that reads the UPS and was never armed."""
    async with scene(directory, MOUNTED) as played:
        (directory / "armed.json").unlink()
        await played.start_daemon()
        await played.heard("readiness_changed", ready=False, armed=False)
        yield played


def _untouched(played: Scene) -> tuple[object, ...]:
    """What would show that anything was done to the rack."""
    rack = played.rack
    return (
        {name: machine.state for name, machine in rack.machines.items() if machine.state is not MachineState.RUNNING},
        sum(server.asked_to_power_off for server in rack.ssh.values()),
        # Kubelets renew their leases all the time.
        sum(change.plural != "leases" for change in rack.kubernetes.cluster.store.since(0)),
        sum(objects.is_terminating(pod) for pod in rack.kubernetes.cluster.store.items("pods")),
        rack.device.outlets.shutdown_at,
        played.cordoned(),
    )
