from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import trustme

import upsd.publish.mqtt
from tests.integration.brokers import Broker, Subscriber, until
from upsd.domain.power import Event
from upsd.publish.mqtt import MqttPublisher, PublishError, tls_context
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Mosquitto = Callable[..., Awaitable[Broker]]
    Logs = list[Any]

AT = "2026-11-23T19:00:00Z"
LOGIN = ("upsd", "correct horse")

PUBLISHER_PROGRAM = """
import asyncio, sys
from upsd.publish.mqtt import MqttPublisher
from upsd.status import StatusBoard
asyncio.run(MqttPublisher(StatusBoard("iplug"), host="127.0.0.1", port=int(sys.argv[1])).run())
"""


@pytest.fixture
def board() -> StatusBoard:
    """What the daemon shows."""
    return StatusBoard("iplug")


@pytest.fixture
def road(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The way to the broker: cleared, it lets no new connection through, so that a subscriber can be there first."""
    passable = asyncio.Event()
    passable.set()
    reach = MqttPublisher._reach

    async def reach_on_the_road(publisher: MqttPublisher) -> None:
        await passable.wait()
        await reach(publisher)

    monkeypatch.setattr(MqttPublisher, "_reach", reach_on_the_road)
    return passable


@contextlib.asynccontextmanager
async def publishing(board: StatusBoard, broker: Broker, **options: Any) -> AsyncIterator[MqttPublisher]:
    """A running publisher, stopped at the end as the daemon stops it."""
    publisher = MqttPublisher(board, host=broker.host, port=broker.port, **options)
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not running.done(), "the publisher ended by itself"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def publisher_process(broker: Broker) -> AsyncIterator[asyncio.subprocess.Process]:
    """A daemon reduced to its publisher, in a process of its own, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PUBLISHER_PROGRAM, str(broker.port), cwd=Path(upsd.__file__).parents[1]
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def phase(board: StatusBoard, name: str) -> None:
    """Show a new phase in state and shutdown."""
    board.set_state({**board.state, "phase": name})
    board.set_shutdown({**board.shutdown, "phase": name})


def event_types(subscriber: Subscriber) -> list[str]:
    """The names of the events received, oldest first."""
    return [json.loads(payload)["event_type"] for payload in subscriber.payloads("/event")]


def phases(subscriber: Subscriber, topic: str) -> list[str]:
    """The phases received on a topic, oldest first."""
    return [json.loads(payload)["phase"] for payload in subscriber.payloads(topic)]


def troubles(logs: Logs) -> list[tuple[str, str]]:
    """What was logged of the broker being lost: reason and advice."""
    return [(event["reason"], event["advice"]) for event in logs if event["event"] == "broker_lost"]


async def test_a_subscriber_sees_availability_state_shutdown_and_events(
    mosquitto: Mosquitto, board: StatusBoard
) -> None:
    """The four topics, with what belongs on each."""
    broker = await mosquitto()
    async with broker.subscriber("upsd/#") as subscriber, publishing(board, broker):
        await until(lambda: subscriber.payloads("/shutdown"))
        phase(board, "shutting-down")
        board.emit(Event("mains_lost", fields={"input_voltage": 0}), AT)
        await until(lambda: event_types(subscriber) == ["mains_lost"])
        assert subscriber.payloads("upsd/iplug/availability") == ["online"]
        assert phases(subscriber, "upsd/iplug/state") == ["idle", "shutting-down"]
        assert phases(subscriber, "upsd/iplug/shutdown") == ["idle", "shutting-down"]
        assert json.loads(subscriber.payloads("upsd/iplug/event")[0])["fields"] == {"input_voltage": 0}


async def test_who_subscribes_later_finds_everything_but_the_events(mosquitto: Mosquitto, board: StatusBoard) -> None:
    """State is retained; an old event would be taken for a new one, so it is not."""
    broker = await mosquitto()
    async with publishing(board, broker):
        async with broker.subscriber("upsd/#") as early:
            board.emit(Event("mains_lost"), AT)
            await until(lambda: event_types(early))
        async with broker.subscriber("upsd/#") as late:
            await until(lambda: late.payloads("/shutdown") and late.payloads("/state"))
            ours = {message.topic: message.retained for message in late.messages if "upsd" in message.topic}
    assert ours == {"upsd/iplug/availability": True, "upsd/iplug/state": True, "upsd/iplug/shutdown": True}


async def test_a_clean_stop_sends_what_is_left_and_says_offline(mosquitto: Mosquitto, board: StatusBoard) -> None:
    """The last words of a shutdown arrive, and nobody believes afterwards that we are still there."""
    broker = await mosquitto()
    async with broker.subscriber("upsd/#") as subscriber:
        async with publishing(board, broker) as publisher:
            await until(lambda: publisher.connected)
            phase(board, "finished")
            for number in range(20):
                board.emit(Event(f"last_words_{number}"), AT)
        await until(lambda: "offline" in subscriber.payloads("/availability"))
        assert event_types(subscriber) == [f"last_words_{number}" for number in range(20)]
        assert phases(subscriber, "/state")[-1] == "finished"
        assert subscriber.messages[-1].payload == "offline"


async def test_the_broker_says_offline_for_a_daemon_that_was_killed(mosquitto: Mosquitto) -> None:
    """Home Assistant shows unavailable instead of the last state for ever."""
    broker = await mosquitto()
    async with broker.subscriber("upsd/iplug/availability") as subscriber:
        async with publisher_process(broker):
            await until(lambda: subscriber.payloads("/availability") == ["online"])
        await until(lambda: subscriber.payloads("/availability") == ["online", "offline"])


async def test_a_half_dead_older_connection_does_not_take_us_offline(mosquitto: Mosquitto, board: StatusBoard) -> None:
    """After a reconnect the broker must not bury us with the last will of the connection before."""
    broker = await mosquitto()
    async with broker.subscriber("upsd/iplug/availability") as subscriber, publisher_process(broker) as frozen:
        await until(lambda: subscriber.payloads("/availability") == ["online"])
        frozen.send_signal(signal.SIGSTOP)
        async with publishing(board, broker) as publisher:
            await until(lambda: publisher.connected)
            await until(lambda: len(subscriber.payloads("/availability")) == 3)
            assert subscriber.payloads("/availability") == ["online", "offline", "online"]


async def test_events_from_before_the_broker_was_there_arrive_in_order(
    mosquitto: Mosquitto, board: StatusBoard, logs: Logs, road: asyncio.Event
) -> None:
    """The daemon starts without a broker, says so once, and nothing that happened is lost."""
    broker = await mosquitto(started=False)
    async with publishing(board, broker) as publisher:
        await until(lambda: troubles(logs))
        road.clear()
        for number in range(5):
            board.emit(Event(f"event_{number}"), AT)
        phase(board, "shutting-down")
        await broker.start()
        async with broker.subscriber("upsd/#") as subscriber:
            road.set()
            await until(lambda: len(event_types(subscriber)) == 5)
            await until(lambda: phases(subscriber, "/state"))
            assert event_types(subscriber) == [f"event_{number}" for number in range(5)]
            assert phases(subscriber, "/state") == ["shutting-down"]
        assert publisher.connected is True
    assert [reason for reason, _ in troubles(logs)] == ["connection refused"]
    assert f"{broker.host}:{broker.port}" in troubles(logs)[0][1]
    assert [event["event"] for event in logs].count("broker_connected") == 1


async def test_a_broker_killed_in_mid_outage_gets_everything_when_it_is_back(
    mosquitto: Mosquitto, board: StatusBoard, logs: Logs, road: asyncio.Event
) -> None:
    """What happened meanwhile arrives once, in order, with the state as it is now."""
    broker = await mosquitto()
    async with publishing(board, broker) as publisher:
        await until(lambda: publisher.connected)
        road.clear()
        await broker.stop()
        for name in ("mains_lost", "plan_started", "step_done"):
            board.emit(Event(name), AT)
        phase(board, "shutting-down")
        await until(lambda: not publisher.connected)
        await broker.start()
        async with broker.subscriber("upsd/#") as subscriber:
            road.set()
            await until(lambda: len(event_types(subscriber)) >= 3)
            await until(lambda: subscriber.payloads("/availability") and phases(subscriber, "/shutdown"))
            assert event_types(subscriber) == ["mains_lost", "plan_started", "step_done"]
            assert phases(subscriber, "/shutdown")[-1] == "shutting-down"
    reasons = [reason for reason, _ in troubles(logs)]
    assert reasons[0] == "the connection ended"
    assert len(reasons) == len(set(reasons)), "the same trouble was logged again and again"
    assert [event["event"] for event in logs].count("broker_connected") == 2


async def test_a_broker_that_hangs_in_mid_outage_gets_everything_when_it_goes_on(
    mosquitto: Mosquitto, board: StatusBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection without answers is given up; an event that may have been lost with it is sent again."""
    monkeypatch.setattr(upsd.publish.mqtt, "CONNECT_TIMEOUT_S", 0.3)
    broker = await mosquitto()
    async with broker.subscriber("upsd/#") as subscriber, publishing(board, broker) as publisher:
        await until(lambda: publisher.connected)
        assert broker.process
        broker.process.send_signal(signal.SIGSTOP)
        for name in ("mains_lost", "plan_started", "step_done"):
            board.emit(Event(name), AT)
        await until(lambda: not publisher.connected)
        broker.process.send_signal(signal.SIGCONT)
        await until(lambda: "step_done" in event_types(subscriber))
        assert list(dict.fromkeys(event_types(subscriber))) == ["mains_lost", "plan_started", "step_done"]


async def test_too_many_events_without_a_broker_are_counted(
    mosquitto: Mosquitto, board: StatusBoard, road: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away for a week costs no memory, and its reader is told what is missing."""
    monkeypatch.setattr(upsd.publish.mqtt, "EVENTS_KEPT", 3)
    broker = await mosquitto(started=False)
    road.clear()
    async with publishing(board, broker):
        await asyncio.sleep(0)
        for number in range(10):
            board.emit(Event(f"event_{number}"), AT)
        await broker.start()
        async with broker.subscriber("upsd/#") as subscriber:
            road.set()
            await until(lambda: len(event_types(subscriber)) == 4)
            assert event_types(subscriber) == ["events_lost", "event_7", "event_8", "event_9"]
            assert json.loads(subscriber.payloads("/event")[0])["fields"] == {"count": 7}


async def test_a_broker_that_accepts_and_says_nothing_holds_up_nobody(
    free_port: Callable[[], int], board: StatusBoard, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt ends by itself, the loop runs on, and a stop is not delayed."""
    monkeypatch.setattr(upsd.publish.mqtt, "CONNECT_TIMEOUT_S", 0.2)
    port = free_port()
    accepted: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", port)
    running = asyncio.create_task(MqttPublisher(board, host="127.0.0.1", port=port).run())
    await until(lambda: troubles(logs))
    assert "an MQTT broker answers" in troubles(logs)[0][1]
    await until(lambda: len(accepted) == 2)
    running.cancel()
    async with asyncio.timeout(1.0):
        await asyncio.gather(running, return_exceptions=True)
    for writer in accepted:
        writer.transport.abort()
    silent.close()
    await silent.wait_closed()


async def test_a_name_and_password_are_sent(mosquitto: Mosquitto, board: StatusBoard) -> None:
    """A broker with a password file lets us in."""
    broker = await mosquitto(login=LOGIN)
    async with publishing(board, broker, username=LOGIN[0], password=LOGIN[1]) as publisher:
        await until(lambda: publisher.connected)
        async with broker.subscriber("upsd/#") as subscriber:
            await until(lambda: phases(subscriber, "/state") == ["idle"])


async def test_a_wrong_password_is_said_once_without_the_password(
    mosquitto: Mosquitto, board: StatusBoard, logs: Logs
) -> None:
    """The log names the settings to check, and the daemon goes on."""
    broker = await mosquitto(login=LOGIN)
    async with publishing(board, broker, username="upsd", password="battery staple") as publisher:
        await until(lambda: troubles(logs))
        assert publisher.connected is False
    ((reason, advice),) = troubles(logs)
    assert reason == "the broker refused the user name or password"
    assert "mqtt.username" in advice
    assert "battery staple" not in repr(logs)


async def test_tls_with_the_right_authority_works(mosquitto: Mosquitto, board: StatusBoard) -> None:
    """With `ca_file` the broker's certificate is checked and accepted."""
    broker = await mosquitto(authority=trustme.CA(), login=LOGIN)
    async with (
        publishing(
            board, broker, username=LOGIN[0], password=LOGIN[1], tls_context=tls_context(broker.ca_file)
        ) as publisher,
        broker.subscriber("upsd/#") as subscriber,
    ):
        await until(lambda: publisher.connected)
        board.emit(Event("mains_lost"), AT)
        await until(lambda: event_types(subscriber) == ["mains_lost"])


async def test_a_broker_with_a_certificate_of_a_stranger_gets_nothing(
    mosquitto: Mosquitto, board: StatusBoard, logs: Logs
) -> None:
    """No password is ever sent to somebody who can't show who they are; the log says what is wrong."""
    broker = await mosquitto(authority=trustme.CA())
    stranger = ssl.create_default_context()
    trustme.CA().configure_trust(stranger)
    async with publishing(board, broker, tls_context=stranger) as publisher:
        await until(lambda: troubles(logs))
        assert publisher.connected is False
    ((reason, advice),) = troubles(logs)
    assert reason.startswith("TLS: ")
    assert "mqtt.ca_file" in advice


async def test_a_certificate_for_another_name_is_refused(mosquitto: Mosquitto, board: StatusBoard, logs: Logs) -> None:
    """The right authority is not enough: the certificate has to be that host's."""
    broker = await mosquitto(authority=trustme.CA(), names=("another.example",))
    async with publishing(board, broker, tls_context=tls_context(broker.ca_file)) as publisher:
        await until(lambda: troubles(logs))
        assert publisher.connected is False
    ((reason, advice),) = troubles(logs)
    assert "IP address mismatch" in reason
    assert "mqtt.host" in advice


async def test_tls_to_a_port_without_tls_is_explained(mosquitto: Mosquitto, board: StatusBoard, logs: Logs) -> None:
    """The commonest mistake with TLS is the wrong port."""
    broker = await mosquitto()
    async with publishing(board, broker, tls_context=ssl.create_default_context()):
        await until(lambda: troubles(logs))
    assert "speaks TLS" in troubles(logs)[0][1]


async def test_a_host_name_that_does_not_exist_is_explained(board: StatusBoard, logs: Logs) -> None:
    """A typing error in the host is no reason to stop, and is easily found."""
    running = asyncio.create_task(MqttPublisher(board, host="broker.invalid", port=1883).run())
    await until(lambda: troubles(logs))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    ((reason, advice),) = troubles(logs)
    assert reason == "host name broker.invalid not found"
    assert "mqtt.host" in advice


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_can_not_be_used_is_said_before_anything_starts(tmp_path: Path, content: str | None) -> None:
    """Missing or not a certificate: the message names the key and what would be right."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PublishError, match=f"mqtt.ca_file {path}: .*PEM file"):
        tls_context(path)


async def test_a_stop_that_meets_the_brokers_confirmation_is_not_lost(
    mosquitto: Mosquitto, board: StatusBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that forgot that it was stopped would keep the machine from powering off."""
    broker = await mosquitto()
    publisher = MqttPublisher(board, host=broker.host, port=broker.port)
    confirm = aiomqtt.Client._on_publish

    def confirm_and_stop(*arguments: Any) -> None:
        confirm(*arguments)
        if publisher.connected:
            running.cancel()

    monkeypatch.setattr(aiomqtt.Client, "_on_publish", confirm_and_stop)
    running = asyncio.create_task(publisher.run())
    done, _ = await asyncio.wait({running}, timeout=10)
    running.cancel()
    assert done
