from __future__ import annotations

import asyncio
import json
import re
import shlex
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
import trustme

from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from tests.integration.brokers import until
from tests.integration.outage import ALL, Scene, cluster_with_an_administrators_cordon, scene, together
from tests.integration.sshd import HOST, OpenSshServer

if TYPE_CHECKING:
    from pathlib import Path

    from hardware_sim.machines import SimulatedMachine

LOGIN = ("upsd", "a good password")


class SshdOfWorker:
    """OpenSSH's sshd for a worker whose power-off command writes down that it ran and stops that sshd, line and all."""

    def __init__(self, directory: Path, machine: SimulatedMachine, key: asyncssh.SSHKey) -> None:
        directory.mkdir()
        self.server = OpenSshServer(directory, key)
        self.machine = machine
        self._asked = directory / "asked"
        self._process_id = directory / "sshd.pid"
        script = directory / "poweroff.sh"
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$SSH_ORIGINAL_COMMAND" >> {shlex.quote(str(self._asked))}\n'
            f'kill "$(cat {shlex.quote(str(self._process_id))})" "$PPID"\n'
        )
        script.chmod(0o700)
        # Whatever the daemon asks for, the key is good for nothing but this script.
        forced = f'restrict,command="{script}" {key.export_public_key().decode()}'
        (directory / "authorized_keys").write_text(forced)

    @property
    def asked(self) -> list[str]:
        """What it was asked to do."""
        return self._asked.read_text().splitlines() if self._asked.exists() else []

    async def go_off_with_sshd(self) -> None:
        """Let the machine go off as soon as its sshd has been stopped."""
        process = self.server._process
        assert process
        self._process_id.write_text(str(process.pid))
        await process.wait()
        self.machine.shut_down()

    def settings(self) -> dict[str, object]:
        """The worker's settings."""
        return {
            "name": self.machine.name,
            "host": HOST,
            "port": self.server.port,
            "user": self.server.user,
            "watts": self.machine.watts,
            "poweroff_command": "upsd-poweroff",
            "poweroff_expected": "300ms",
        }


async def test_an_outage_shuts_the_rack_down_in_order_and_everybody_can_watch(tmp_path: Path) -> None:
    """The whole main job with real USB transfers at 1200 baud, MQTT over TLS, OpenSSH and an HTTPS API."""
    authority = trustme.CA()
    # The daemon runs as the unit starts it, without docstrings and assertions.
    as_a_unit = {"PYTHONOPTIMIZE": "2"}
    environment = {"UPSD_SHUTDOWN__ON_BATTERY": "3s", "UPSD_NAS__POWEROFF_LIMIT": "60s", **as_a_unit}
    async with (
        scene(tmp_path / "rack", environment, line_speed=1.0, authority=authority, login=LOGIN) as played,
        AsyncExitStack() as stack,
    ):
        rack = played.rack
        key = asyncssh.read_private_key(rack.directory / "ssh_key")
        workers = {name: SshdOfWorker(tmp_path / name, rack.machines[name], key) for name in WORKERS}
        for worker in workers.values():
            await stack.enter_async_context(worker.server)
            stack.push_async_callback(_cancel, asyncio.create_task(worker.go_off_with_sshd()))
        with (rack.directory / "known_hosts").open("a") as known_hosts:
            known_hosts.writelines(f"{worker.server.known_hosts_line}\n" for worker in workers.values())
        await played.start_daemon(
            {
                "UPSD_WORKERS": json.dumps([worker.settings() for worker in workers.values()]),
                "UPSD_MQTT__TLS": "true",
                "UPSD_MQTT__CA_FILE": str(played.broker.ca_file),
                "UPSD_MQTT__USERNAME": LOGIN[0],
                "UPSD_MQTT__PASSWORD": LOGIN[1],
            }
        )
        await played.on_line()
        assert (await played.upsctl("status"))[0] == 0

        await played.cut_mains()
        await played.heard("mains_lost")
        assert (await played.upsctl("status"))[0] == 1
        await played.heard("shutdown_started")
        assert (await played.upsctl("status"))[0] == 2
        await played.master_off()
        assert (await played.upsctl("status"))[0] == 3
        held = [line for line in rack.daemon_log.read_text().splitlines() if json.loads(line)["event"] == "line_held"]
        assert {json.loads(line)["machine"] for line in held} >= set(WORKERS)
        for worker in workers.values():
            logins = [line for line in worker.server.log if "Accepted publickey" in line]
            assert len(logins) == 1, "the line was opened when the outage began, and is the one that was used"
        await until(lambda: played.subscriber.payloads("/availability")[-1] == "offline")

        assert [worker.asked for worker in workers.values()] == [["upsd-poweroff"]] * len(WORKERS)
        _assert_order(played)
        await _assert_retained(played)
        _assert_events(played.event_names)


async def test_a_supply_that_comes_back_in_time_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """A flicker and a battery test are no outage, and an outage that ends early is undone."""
    await together(_flicker_and_battery_test(tmp_path / "flicker"), _mains_back(tmp_path / "abort"))


async def _flicker_and_battery_test(directory: Path) -> None:
    """The UPS runs on its battery and comes back, and nobody's workload is touched."""
    async with scene(directory, {"UPSD_POWER__DEBOUNCE": "3s"}) as played:
        device = played.rack.device
        await played.start_daemon()
        await played.on_line()

        device.cut_mains()
        await played.heard("mains_lost")
        device.restore_mains()
        assert (await played.heard("mains_back"))["fields"]["flicker"] is True

        device.profile = replace(device.profile, test_s=5.0)
        device.test_battery()
        await played.heard("battery_test_started")
        status, text = await played.upsctl("status")
        assert status == 0
        assert "battery test in progress" in text
        await played.heard("battery_test_ended")

        assert played.event_names == ["mains_lost", "mains_back", "battery_test_started", "battery_test_ended"]
        _assert_untouched(played)


async def _mains_back(directory: Path) -> None:
    """Before the point of no return: all nodes are schedulable again but the one that an administrator cordoned.

    What ran only there can't start again, and that is told.
    """
    cluster = cluster_with_an_administrators_cordon()
    environment = {"UPSD_KUBERNETES__DRAIN_LIMIT": "60s", "UPSD_RECOVERY__WORKLOADS_LIMIT": "8s"}
    async with scene(directory, environment, cluster=cluster) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="drain pi4-a")
        assert played.cordoned() == ALL
        assert played.marked() == ALL - {"pi3"}

        played.rack.device.restore_mains()
        finished = await played.heard("abort_finished")

        assert finished["fields"]["not_done"] == "workloads"
        missing = played.steps["workloads"]["detail"]
        assert re.fullmatch(r"not as before: home/app-pi3-\w+ \(0 of 1\) Ready", missing)
        assert played.cordoned() == {"pi3"}
        assert played.marked() == set()
        assert played.moments == []
        assert "point_of_no_return" not in played.event_names
        assert (await played.report())["ending"] == "aborted"
        await until(lambda: played.state["phase"] == "idle")
        assert (await played.upsctl("status"))[0] == 0


def _assert_order(played: Scene) -> None:
    """What was seen at the machines, not what the daemon says of it."""
    requests = [(request.method, request.path) for request in played.rack.kubernetes.requests]
    cordons = [index for index, (method, _) in enumerate(requests) if method == "PATCH"]
    evictions = [index for index, (_, path) in enumerate(requests) if path.endswith("/eviction")]
    assert {requests[index][1].rpartition("/")[2] for index in cordons} == ALL
    assert max(cordons) < min(evictions)
    asked = {name: played.moment(name, MachineState.STOPPING) for name in WORKERS}
    assert {name: moment.pods for name, moment in asked.items()} == dict.fromkeys(WORKERS, ())
    last_off = next(moment for moment in played.moments if not moment.workers_on)
    assert last_off.on_disk == 0
    nas = played.moment("nas", MachineState.STOPPING)
    assert (nas.workers_on, nas.unflushed, nas.outlets_scheduled) == ((), 0, False)
    assert nas.on_disk > 0
    master = played.moment(MASTER, MachineState.STOPPING)
    assert master.outlets_scheduled
    assert played.rack.machines["nas"].state is MachineState.OFF
    assert played.rack.nas.lost == 0


async def _assert_retained(played: Scene) -> None:
    """What somebody learns who subscribes after it all."""
    topics = ("upsd/iplug/availability", "upsd/iplug/state", "upsd/iplug/shutdown", "upsd/iplug/event")
    async with played.broker.subscriber(*topics) as late:
        await until(lambda: len(late.messages) >= 4)
    retained = {message.topic: message.payload for message in late.messages if message.topic != "ready"}
    assert set(retained) == set(topics[:3])
    assert retained[topics[0]] == "offline"
    state, shutdown = json.loads(retained[topics[1]]), json.loads(retained[topics[2]])
    assert (state["power"], state["phase"]) == ("on_battery", "shutting-down")
    assert (shutdown["phase"], shutdown["reason"]) == ("shutting-down", "on-battery")
    assert shutdown["outage"] == state["outage"] == played.outage()
    states = {step["id"]: step["state"] for step in shutdown["steps"]}
    assert states.pop(f"host-poweroff {MASTER}") != "pending"
    assert set(states.values()) == {"done"}


def _assert_events(names: list[str]) -> None:
    milestones = ["mains_lost", "outage_confirmed", "shutdown_started", "shutdown_announced", "point_of_no_return"]
    milestones.append("outlet_cycle_scheduled")
    assert [name for name in names if not name.startswith("step_")] == milestones


def _assert_untouched(played: Scene) -> None:
    assert played.cordoned() == set()
    assert played.moments == []
    assert not (played.rack.directory / "journal.jsonl").exists()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
