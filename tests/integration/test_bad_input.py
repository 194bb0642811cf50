from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Self

import asyncssh

from hardware_sim.kubernetes.rack import MASTER, WORKERS
from hardware_sim.machines import MachineState
from hardware_sim.ups.faults import FALSE_OFF, NONSENSE
from tests.integration.brokers import until
from tests.integration.outage import DEADLINE_S, SMALL_BATTERY, Scene, scene, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hardware_sim.kubernetes import SimulatedKubernetes
    from hardware_sim.ups.faults import Faults

MANY = 1_000_000
IMPOSSIBLE = {("figure_doubted", figure) for figure in NONSENSE}
HANGS = '["sleep", "97"]'


async def test_on_line_nothing_that_the_ups_says_or_omits_triggers_anything(tmp_path: Path) -> None:
    """One nonsense sample among good ones, a UPS that is absent at the start, and one that is pulled out."""
    await together(_nonsense(tmp_path / "nonsense"), _unplugged(tmp_path / "unplugged"))


async def test_an_outage_goes_on_whatever_is_heard_seen_or_written_of_it(tmp_path: Path) -> None:
    """Torn, damaged, endless and missing replies of the UPS, a broker that drops, a disk that is full or read-only."""
    await together(
        _bad_replies(tmp_path / "torn", "reply broke off", truncate_replies=MANY),
        _bad_replies(tmp_path / "damaged", "was damaged on the line", corrupt_replies=MANY),
        _bad_replies(tmp_path / "endless", "the UPS sends without end", babble=True),
        _bad_replies(tmp_path / "silent", "the UPS does not answer", silent=True),
        _bad_replies(tmp_path / "unplugged", "no UPS is plugged in", unplugged=True),
        _broker_drops(tmp_path / "drops"),
        _broker_away(tmp_path / "away"),
        _full_disk(tmp_path / "full"),
        _read_only_disk(tmp_path / "read-only"),
    )


async def test_who_does_not_do_what_is_asked_holds_nobody_else_up(tmp_path: Path) -> None:
    """Neither workers, NAS and UPS, nor a Kubernetes API that fails, refuses, never answers or is not there."""
    await together(
        _bad_workers(tmp_path / "workers"),
        _bad_nas(tmp_path / "nas"),
        _silent_ups(tmp_path / "ups"),
        _bad_api(tmp_path / "broken", "answered 500", lambda api: api.faults.refuse(500)),
        _bad_api(tmp_path / "forbidden", "answered 403", lambda api: api.faults.refuse(403)),
        _bad_api(tmp_path / "mute", "did not answer within 1 s", lambda api: setattr(api.faults, "mute", True)),
        _bad_api(tmp_path / "gone", "is k3s running?", None),
    )


async def _nonsense(directory: Path) -> None:
    """Charge 0, 4094 V, an OFF that lasts one poll, and a reply with a flipped bit: the rack goes on working."""
    async with scene(directory) as played:
        await played.start_daemon()
        await played.on_line()
        faults = played.rack.ups.faults
        for figures in (NONSENSE, FALSE_OFF, None, NONSENSE):
            if figures is None:
                faults.corrupt_replies = 1
            else:
                faults.override(figures)
            await until(lambda: faults.corrupt_replies == faults.override_statuses == 0)
        await until(lambda: len(played.events) == 2 * len(IMPOSSIBLE))

        assert {(event["event_type"], event["fields"]["figure"]) for event in played.events} == IMPOSSIBLE
        states = [json.loads(payload) for payload in played.subscriber.payloads("/state")]
        assert {state["power"] for state in states} <= {"unknown", "on_line"}
        assert {state["readings"]["input.voltage"] for state in states} <= {None, 230}
        assert (await played.upsctl("status"))[0] == 0
        assert played.cordoned() == set()


async def _unplugged(directory: Path) -> None:
    """Neither off nor on battery but unknown, and found again without anybody's help."""
    async with scene(directory, {"UPSD_POWER__SILENCE": "1500ms"}) as played:
        faults = played.rack.ups.faults
        faults.unplugged = True
        await played.start_daemon()
        await _is_missed(played)
        faults.unplugged = False
        await _is_found(played)
        faults.unplugged = True
        await _is_missed(played)
        faults.unplugged = False
        await _is_found(played)

        assert played.event_names == ["communication_lost", "communication_back"] * 2
        assert not any(event["fields"].get("on_battery") for event in played.events)
        assert played.cordoned() == set()


async def _is_missed(played: Scene) -> None:
    await until(lambda: played.event_names[-1:] == ["communication_lost"], DEADLINE_S)
    await until(lambda: any("no UPS is plugged in" in warning for warning in played.state["warnings"]), DEADLINE_S)
    assert played.state["power"] == "unknown"
    status, text = await played.upsctl("status")
    assert status == 2
    assert "no UPS is plugged in" in text


async def _is_found(played: Scene) -> None:
    await until(lambda: played.event_names[-1:] == ["communication_back"], DEADLINE_S)
    await until(lambda: played.state["power"] == "on_line", DEADLINE_S)
    assert (await played.upsctl("status"))[0] == 0


async def _bad_replies(directory: Path, reason: str, **faults: bool | int) -> None:
    """The UPS is not understood from the first reading of the outage on until the workers are off."""
    async with scene(directory, SMALL_BATTERY) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        _turn(played.rack.ups.faults, faults)
        await played.says(reason)
        lost = await played.heard("communication_lost")
        assert lost["fields"]["on_battery"] is True
        await played.heard("step_started", step="unmount nas")
        _turn(played.rack.ups.faults, dict.fromkeys(faults, False))
        await played.master_off_in_time()
        _assert_all_off(played)
        assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled


async def _silent_ups(directory: Path) -> None:
    """Even the outlet cycle can't be scheduled: the master goes off without it, and the reason is told."""
    async with scene(directory, SMALL_BATTERY) as played:
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        played.rack.ups.faults.silent = True
        await played.says("the UPS does not answer")
        await played.says("the outlet cycle was not scheduled")
        await played.master_off_in_time()
        _assert_all_off(played)
        assert played.steps["outlet-cycle"]["state"] == "timed-out"


async def _bad_workers(directory: Path) -> None:
    """A refused key, a changed host key, and a host that accepts and hangs; the fourth worker can be asked."""
    async with scene(directory, SMALL_BATTERY) as played:
        rack = played.rack
        rack.ssh["pi4-a"].refuse_key = True
        stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        known_hosts = rack.directory / "known_hosts"
        lines = known_hosts.read_text().splitlines(keepends=True)
        mine = rack.ssh["pi4-b"].known_hosts_line
        where = mine.partition(" ")[0]
        known_hosts.write_text("".join(lines).replace(mine, f"{where} {stranger.strip()}"))
        rack.ssh["pi3"].hang = True
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="unmount nas")

        await played.says("refused the key")
        await played.says("host key changed")
        await played.says("did not answer within 1 s")
        await played.master_off_in_time()
        assert {name for name in WORKERS if rack.machines[name].state is MachineState.OFF} == {"bananapi"}
        assert rack.machines["nas"].state is MachineState.OFF
        assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled


async def _bad_nas(directory: Path) -> None:
    """A mount that can't be taken away, nor be detached, and a `sync` that never ends."""
    systemctl = directory / "bin" / "systemctl"
    systemctl.parent.mkdir(parents=True)
    systemctl.write_text('#!/bin/sh\necho "Access denied" >&2\nexit 1\n')
    systemctl.chmod(0o755)
    environment = {
        "PATH": f"{systemctl.parent}:{os.environ['PATH']}",
        # A file system that is always mounted; what "unmounts" it does nothing but hang.
        "UPSD_NAS__MOUNT": "/proc",
        "UPSD_NAS__UNMOUNT_COMMAND": HANGS,
        "UPSD_NAS__FLUSH_LIMIT": "1s",
    }
    async with scene(directory, SMALL_BATTERY | environment) as played:
        played.rack.nas.flush_s = 97.0
        await played.start_daemon()
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="poweroff nas")

        await played.says("hung; /proc can't be detached: ")
        await played.says("the NAS did not finish `sync` in its time")
        await played.master_off_in_time()
        assert played.steps["unmount nas"]["state"] == "failed"
        assert played.moment(MASTER, MachineState.STOPPING).outlets_scheduled


async def _bad_api(directory: Path, reason: str, spoil: Callable[[SimulatedKubernetes], None] | None) -> None:
    async with scene(directory, SMALL_BATTERY) as played:
        await played.start_daemon()
        await played.on_line()
        if spoil is None:
            await played.rack.kubernetes.stop()
        else:
            spoil(played.rack.kubernetes)
        await played.cut_mains()
        await played.heard("step_started", step="poweroff pi3")
        await played.says(reason)
        await played.master_off_in_time()
        _assert_all_off(played)
        assert {played.steps[f"drain {node}"]["state"] for node in (MASTER, *WORKERS)} == {"timed-out"}


async def _broker_drops(directory: Path) -> None:
    """Every event arrives in order, those from the time without a broker after it is back."""
    async with scene(directory) as played, Relay(played.rack.mqtt_port) as relay:
        await played.start_daemon({"UPSD_MQTT__PORT": str(relay.port)})
        await played.on_line()
        await played.cut_mains()
        await played.heard("step_started", step="drain pi3")
        await relay.close()
        await played.broker.stop()
        before = played.every_event
        await until(lambda: "unmount nas" in played.rack.daemon_log.read_text(), DEADLINE_S)
        status, text = await played.upsctl("status")
        assert status == 2
        assert "no MQTT broker" in text

        await played.broker.start()
        async with played.broker.subscriber("upsd/#") as subscriber:
            await relay.open()
            await played.master_off()
            await until(lambda: subscriber.payloads("/availability")[-1:] == ["offline"])
            after = [json.loads(payload) for payload in subscriber.payloads("/event")]
        if after[0] == before[-1]:
            del after[0]  # delivered, but the broker could not say so any more
        received = [(event["event_type"], event["fields"].get("step")) for event in (*before, *after)]
        assert received == _logged_events(played)
        assert ("step_ended", "confirm-off pi3") in received


async def _broker_away(directory: Path) -> None:
    async with scene(directory, SMALL_BATTERY) as played:
        await played.broker.stop()
        await played.start_daemon()
        await until(lambda: "ups_connected" in played.rack.daemon_log.read_text(), DEADLINE_S)
        played.rack.device.cut_mains()
        await until(lambda: "confirm-off pi3" in played.rack.daemon_log.read_text(), DEADLINE_S)
        assert "connection refused" in (await played.upsctl("status"))[1]
        await played.master_off()
        _assert_all_off(played)


async def _full_disk(directory: Path) -> None:
    async with scene(directory, SMALL_BATTERY) as played:
        await played.start_daemon()
        await played.on_line()
        (directory / "journal.jsonl").symlink_to("/dev/full")
        await played.cut_mains()
        await played.heard("journal_failed")
        await played.says("No space left on device")
        await played.master_off_in_time()
        _assert_all_off(played)


async def _read_only_disk(directory: Path) -> None:
    # Nobody can make a file there, not even root.
    async with scene(directory, SMALL_BATTERY | {"UPSD_STATE_DIRECTORY": "/sys"}) as played:
        await played.start_daemon()
        await played.on_line()
        code, said = await played.upsctl("arm", "--unproven")
        assert (code, "armed, but only until the next restart: /sys/armed.json" in said) == (0, True), said
        await played.cut_mains()
        await played.heard("journal_failed")
        await played.says("/sys/journal.jsonl")
        await played.master_off_in_time()
        _assert_all_off(played)


class Relay:
    """Stands before the broker, so that the daemon finds it back only once a subscriber is there to see it."""

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Let visitors through, on the same port as before."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Throw everybody out and refuse connections."""
        if self._server:
            self._server.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.create_task(self._carry(reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            await asyncio.gather(_pump(reader, broker_writer), _pump(broker_reader, writer))
        finally:
            writer.close()
            broker_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _turn(faults: Faults, knobs: dict[str, bool | int]) -> None:
    for knob, value in knobs.items():
        setattr(faults, knob, value)


def _logged_events(played: Scene) -> list[tuple[str, str | None]]:
    """The events as the daemon's log has them."""
    records = [json.loads(line) for line in played.rack.daemon_log.read_text().splitlines()]
    events = [record for record in records if "ups" in record and record["event"] != "daemon_started"]
    return [(record["event"], record.get("step")) for record in events]


def _assert_all_off(played: Scene) -> None:
    machines = played.rack.machines.values()
    assert {machine.name for machine in machines if machine.state is not MachineState.OFF} == set()
    assert all(machine.clean for machine in machines)
