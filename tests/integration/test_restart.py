from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from tests.integration.brokers import until
from tests.integration.outage import (
    ALL,
    DEADLINE_S,
    Scene,
    cluster_with_an_administrators_cordon,
    scene,
    small_cluster,
    together,
)
from upsd.ups.cycle_order import FILE, read_order

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_daemon_that_is_killed_and_started_again_goes_on_where_it_was(tmp_path: Path) -> None:
    """With the shutdown, with its undoing if the mains came back meanwhile, or with the recovery after a boot."""
    await together(
        _killed_in_the_drain(tmp_path / "drain"),
        _killed_after_the_first_poweroff(tmp_path / "poweroff"),
        _mains_back_while_dead(tmp_path / "mains-back"),
        _booted_after_the_outage(tmp_path / "boot"),
    )


async def _killed_in_the_drain(directory: Path) -> None:
    async with scene(directory, cluster=small_cluster(stop_s={"pi3": 4.0})) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="drain pi3")
        outage = played.outage()
        await _kill(played)
        assert not any(played.rack.ssh[name].asked_to_power_off for name in WORKERS)

        await played.start_daemon()
        resumed = await played.heard("shutdown_resumed")
        assert resumed["fields"]["outage"] == outage
        assert (await played.upsctl("status"))[0] == 2
        await played.master_off()
        assert played.moment("pi3", MachineState.STOPPING).pods == ()
        _assert_one_clean_outage(played)


async def _killed_after_the_first_poweroff(directory: Path) -> None:
    """A worker that is off by then is neither asked again nor waited for in vain."""
    async with scene(directory, cluster=small_cluster(stop_s={"pi3": 4.0})) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        asked = {"record": "step", "step": "poweroff pi4-a", "state": "done"}
        await played.heard("step_ended", step="poweroff pi4-a")
        await until(lambda: any(asked.items() <= record.items() for record in played.journal()))
        await _kill(played)
        assert played.rack.ssh["pi3"].asked_to_power_off == 0

        await played.start_daemon()
        await played.heard("shutdown_resumed")
        await played.master_off()
        assert played.rack.ssh["pi4-a"].asked_to_power_off == 1
        assert played.steps["poweroff pi4-a"]["detail"] == "done before"
        assert played.moment("pi3", MachineState.STOPPING).pods == ()
        _assert_one_clean_outage(played)


async def _mains_back_while_dead(directory: Path) -> None:
    """What was begun is undone, but not what an administrator had done before."""
    cluster = cluster_with_an_administrators_cordon()
    environment = {"UPSD_KUBERNETES__DRAIN_LIMIT": "60s", "UPSD_RECOVERY__WORKLOADS_LIMIT": "8s"}
    async with scene(directory, environment, cluster=cluster) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="drain pi4-a")
        await _kill(played)
        assert played.cordoned() == ALL

        played.rack.device.restore_mains()
        await played.start_daemon()
        await played.heard("shutdown_aborted")
        finished = await played.heard("abort_finished")
        # What ran only on the administrator's node can't start again, if it was evicted before the kill.
        assert finished["fields"]["not_done"] in {None, "workloads"}
        assert played.cordoned() == {"pi3"}
        assert played.marked() == set()
        assert played.moments == []
        report = await played.report()
        assert report["ending"] == "aborted"
        assert "upsd was started again once" in report["troubles"]
        await until(lambda: played.state["phase"] == "idle")
        assert (await played.upsctl("status"))[0] == 0


async def _booted_after_the_outage(directory: Path) -> None:
    """The rack has power again, every machine has booted, and the daemon makes its nodes schedulable."""
    async with scene(directory) as played:
        rack = played.rack
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.master_off()
        await until(rack.outlets_cut.is_set, DEADLINE_S)
        assert played.cordoned() == played.marked() == ALL
        left = rack.control_socket.parent / FILE
        order = read_order(left)
        assert order
        assert (order.port.partition(":")[0], order.accepted, order.off_after_s) == ("usb", True, 8)

        rack.device.restore_mains()
        rack.device.press_button()
        await rack.kubernetes.start()
        for worker in WORKERS:
            rack.kubernetes.cluster.node_up(worker)
        await until(lambda: {machine.state for machine in rack.machines.values()} == {MachineState.RUNNING})
        _pretend_that_it_was_before_this_boot(directory / "journal.jsonl")
        # As after a boot the NAS is mounted: here that is a file system that always is.
        await played.start_daemon({"UPSD_NAS__MOUNT": "/proc", "UPSD_NAS__UNMOUNT_COMMAND": '["false"]'})

        await played.heard("recovery_started")
        finished = await played.heard("recovery_finished")
        assert finished["fields"]["not_done"] is None
        assert played.cordoned() == played.marked() == set()
        assert not left.exists()
        report = await played.report()
        assert report["ending"] == "recovered"
        assert not any("started again" in trouble for trouble in report["troubles"])
        assert {machine["machine"] for machine in report["machines"] if machine["back_at"]} == {*ALL, "nas"}
        await until(lambda: played.state["phase"] == "idle")
        assert (await played.upsctl("status"))[0] == 0
        assert {machine.state for machine in rack.machines.values()} == {MachineState.RUNNING}


async def _kill(played: Scene) -> None:
    """Kill the daemon, upon which the broker tells everybody."""
    await played.rack.kill_daemon()
    await until(lambda: played.subscriber.payloads("/availability")[-1] == "offline")
    assert (await played.upsctl("status"))[0] == 3


def _assert_one_clean_outage(played: Scene) -> None:
    """Nothing was undone, nothing was left, and all of it was one outage."""
    assert {machine.state for machine in played.rack.machines.values()} == {MachineState.OFF}
    assert all(machine.clean for machine in played.rack.machines.values())
    assert played.cordoned() == played.marked() == ALL
    assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled
    assert played.rack.nas.unflushed == played.rack.nas.lost == 0
    assert [record["record"] for record in played.journal()].count("outage") == 1
    assert "shutdown_aborted" not in played.event_names


def _pretend_that_it_was_before_this_boot(journal: Path) -> None:
    records = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert len({record["boot_id"] for record in records}) == 1
    for record in records:
        record["boot_id"] = "the boot before this one"
    journal.with_name("journal-spare.jsonl").unlink()  # which no boot leaves there
    journal.write_text("".join(f"{json.dumps(record)}\n" for record in records))
