"""Two racks on one broker, or anything else that throws us off it again and again."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import upsd.publish.mqtt
from tests.integration.brokers import until
from tests.integration.test_mqtt import AT, publishing, troubles
from upsd.domain.power import Event
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration.test_mqtt import Logs, Mosquitto


BOARD = StatusBoard("iplug")
"""What both daemons show: by default they have the same name."""


def times_connected(logs: Logs) -> int:
    """How often anybody came to the broker."""
    return [event["event"] for event in logs].count("broker_connected")


def machine(directory: Path, name: str) -> Path:
    """The file with the identity of a machine."""
    path = directory / name
    path.write_text(f"{uuid.uuid4().hex}\n")
    return path


async def test_two_that_throw_each_other_off_leave_ever_longer_pauses_and_say_why(
    mosquitto: Mosquitto, logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each would lose its line for ever, many times a second, and be told that nothing is to be done."""
    monkeypatch.setattr(upsd.publish.mqtt, "FIRST_PAUSE_S", 0.02)
    broker = await mosquitto()
    clone = machine(tmp_path, "clone")
    async with (
        publishing(BOARD, broker, machine_id_file=clone),
        publishing(BOARD, broker, machine_id_file=clone) as other,
    ):
        await until(lambda: any("the same ups.name and mqtt.prefix" in advice for _, advice in troubles(logs)))
        await until(lambda: "give each its own" in (other.trouble or ""))
        began, before = asyncio.get_running_loop().time(), times_connected(logs)
        await until(lambda: times_connected(logs) >= before + 8)
        # Without growing pauses it takes a fifth of a second.
        assert asyncio.get_running_loop().time() - began > 1.0
    assert not any("user name" in reason for reason, _ in troubles(logs))


async def test_after_a_session_that_lasted_the_next_one_begins_soon(
    mosquitto: Mosquitto, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is restarted now and then is no rival: nobody waits long for the state, or gets wrong advice."""
    monkeypatch.setattr(upsd.publish.mqtt, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(upsd.publish.mqtt, "LONGEST_PAUSE_S", 60.0)
    monkeypatch.setattr(upsd.publish.mqtt, "LASTING_S", 0.0)
    broker = await mosquitto()
    async with publishing(BOARD, broker) as publisher:
        await until(lambda: publisher.connected)
        for _ in range(7):
            await broker.stop()
            await until(lambda: not publisher.connected)
            await broker.start()
            await until(lambda: publisher.connected, deadline_s=3.0)
    assert not any("give each its own" in advice for _, advice in troubles(logs))


async def test_another_machine_of_the_same_name_does_not_throw_us_off(
    mosquitto: Mosquitto, logs: Logs, tmp_path: Path
) -> None:
    """A second rack that was never given a name of its own costs the first one not its line."""
    broker = await mosquitto()
    async with (
        publishing(BOARD, broker, machine_id_file=machine(tmp_path, "here")) as ours,
        publishing(BOARD, broker, machine_id_file=machine(tmp_path, "there")) as theirs,
    ):
        await until(lambda: ours.connected and theirs.connected)
        async with broker.subscriber("upsd/iplug/event") as subscriber:
            BOARD.emit(Event("mains_lost"), AT)
            await until(lambda: len(subscriber.payloads("/event")) == 2)
    assert times_connected(logs) == 2
    assert troubles(logs) == []
