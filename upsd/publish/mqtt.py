"""How does the state of the UPS get to the MQTT broker, and stay right there?

Topics under `<prefix>/<ups>/`: `availability` (online, offline; last will), `state` and `shutdown` are retained,
`event` is not; all with QoS 1, one message at a time, so that order holds. The broker may be away whenever it
likes: events wait in line meanwhile, and of state and shutdown only the latest matters.

The protocol is MQTT 3.1.1, which every broker speaks. Nothing is subscribed to: commands over MQTT would let
anyone on the broker stop the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomqtt
import structlog

from upsd.publish.client_identifier import MACHINE_ID_FILE, client_identifier

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from upsd.status import StatusBoard, Subscription, Update

CONNECT_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 2.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
LASTING_S = 30.0
"""A session that was shorter does not count as success: the pauses go on growing."""
SUSPICIOUS_SESSIONS = 3
"""So many short ones in a row look as if somebody else took over each of them."""
KEEPALIVE_S = 45
"""The state is repeated more often than this, so that pings are rarely needed."""
EVENTS_KEPT = 1000

BAD_CREDENTIALS = {4, 5, 134, 135}
"""CONNACK codes of MQTT 3.1.1, and what paho translates them to: bad user name or password, not authorised."""

log = structlog.get_logger()


class PublishError(Exception):
    """The publisher can't be set up; the text says what to change."""


class Trouble(NamedTuple):
    """Why there is no broker, and what a person can do about that."""

    reason: str
    advice: str


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What to trust: the CA certificates in the file (PEM), or the system's; `PublishError` if it can't be read."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise PublishError(
            f"mqtt.ca_file {ca_file}: {error.strerror or error}; it must be a readable PEM file with the certificate"
            " of the CA that signed the broker's"
        ) from error


class MqttPublisher:
    """Keeps the broker up to date with the board."""

    def __init__(
        self,
        board: StatusBoard,
        *,
        host: str,
        port: int,
        prefix: str = "upsd",
        username: str | None = None,
        password: str | None = None,
        tls_context: ssl.SSLContext | None = None,
        machine_id_file: Path = MACHINE_ID_FILE,
    ) -> None:
        self.connected = False
        self._board = board
        self._host, self._port = host, port
        self._username, self._password = username, password
        self._tls_context = tls_context
        self._root = f"{prefix}/{board.ups}"
        self._identifier = client_identifier(self._root, machine_id_file)
        self._accepted_at: float | None = None
        self._short_sessions = 0
        self._in_hand: Update | None = None
        self._told: Trouble | None = None

    @property
    def trouble(self) -> str | None:
        """Why there is no broker and what to do, for a person; `None` while there is one."""
        return self._told and f"no MQTT broker at {self._host}:{self._port}: {self._told.reason}; {self._told.advice}"

    async def run(self) -> None:
        """Publish until cancelled; whatever happens to the broker is logged and tried again."""
        pause_s = FIRST_PAUSE_S
        with self._board.subscribe(events=EVENTS_KEPT) as inbox:
            while True:
                try:
                    await self._session(inbox)
                except Exception as error:  # noqa: BLE001 - no broker, host name or certificate may end the daemon
                    lasted = self._accepted_at is not None and _now() - self._accepted_at >= LASTING_S
                    if lasted:
                        self._short_sessions = 0
                    elif self._accepted_at is not None:
                        self._short_sessions += 1
                    self._tell(self._explain(error))
                    if lasted:
                        pause_s = FIRST_PAUSE_S
                    self.connected = False
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _session(self, inbox: Subscription) -> None:
        """One connection, from CONNECT until it is lost, which raises."""
        self._accepted_at = None
        await self._reach()
        client = self._client()
        await _connect(client)
        self._accepted_at = _now()
        try:
            await _until_either_fails(self._feed(client, inbox), _until_lost(client))
        except asyncio.CancelledError:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._farewell(client, inbox)
            self.connected = False
            raise
        finally:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await client.__aexit__(None, None, None)

    async def _reach(self) -> None:
        """See that somebody listens, and shows the right certificate, before the MQTT client tries.

        That one connects in the default executor, in a thread that nothing can end, and leaves the socket of a
        failed handshake open. Here a failure costs neither.
        """
        # The resolver has its own deadline; one of ours would leave its thread behind, and more at each attempt.
        await asyncio.get_running_loop().getaddrinfo(self._host, self._port)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls_context)
        writer.transport.abort()

    async def _feed(self, client: _Client, inbox: Subscription) -> None:
        await self._publish(client, "availability", "online")
        self.connected = True
        self._told = None
        log.info("broker_connected", host=self._host, port=self._port, tls=self._tls_context is not None)
        if self._in_hand is not None and self._in_hand[0] != "event":
            self._in_hand = None  # outdated: the latest follows
        inbox.refresh()
        while True:
            update = self._in_hand
            await self._publish_update(client, await anext(inbox) if update is None else update)

    async def _farewell(self, client: _Client, inbox: Subscription) -> None:
        """Send what is still in line, and `offline`, which a clean disconnect would keep the broker from saying."""
        while (update := self._in_hand or inbox.take(math.inf)) is not None:
            await self._publish_update(client, update)
        await self._publish(client, "availability", "offline")

    async def _publish_update(self, client: _Client, update: Update) -> None:
        self._in_hand = update  # until the broker has it, an event may have to be sent again
        topic, document = update
        await self._publish(client, topic, json.dumps(document), retain=topic != "event")
        self._in_hand = None

    async def _publish(self, client: _Client, topic: str, payload: str, *, retain: bool = True) -> None:
        try:
            # aiomqtt's own deadline goes through asyncio.wait_for, which on 3.11 can swallow the cancellation that
            # ends the daemon.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.publish(f"{self._root}/{topic}", payload, qos=1, retain=retain, timeout=math.inf)
        except TimeoutError:
            raise aiomqtt.MqttError("the broker does not confirm what it was sent") from None

    def _client(self) -> _Client:
        return _Client(
            self._host,
            self._port,
            username=self._username,
            password=self._password,
            tls_context=self._tls_context,
            identifier=self._identifier,
            will=aiomqtt.Will(f"{self._root}/availability", "offline", qos=1, retain=True),
            protocol=aiomqtt.ProtocolVersion.V311,
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_outgoing_messages=10,
        )

    def _tell(self, trouble: Trouble) -> None:
        if trouble != self._told:
            log.warning("broker_lost", host=self._host, port=self._port, **trouble._asdict())
        self._told = trouble

    def _explain(self, error: Exception) -> Trouble:
        where = f"{self._host}:{self._port}"
        # Who is thrown off right after the login may not have been told of as connected yet.
        if self.connected or (self._accepted_at is not None and isinstance(error, aiomqtt.MqttCodeError)):
            if self._short_sessions < SUSPICIOUS_SESSIONS:
                return Trouble("the connection ended", "nothing: upsd keeps trying, and keeps the events until then")
            return Trouble(
                f"the connection ended again and again, each time within {LASTING_S:g} s",
                "another upsd may have the same ups.name and mqtt.prefix: give each its own; if there is none, the"
                " broker's log says why",
            )
        match error:
            case aiomqtt.MqttCodeError() if _code(error) in BAD_CREDENTIALS:
                reason = "the broker refused the user name or password"
                advice = "check mqtt.username and its password, and that the broker lets this user in"
            case ssl.SSLCertVerificationError():
                reason = f"TLS: {error.verify_message}"
                advice = "mqtt.ca_file must hold the CA of the broker's certificate, which must name mqtt.host"
            case ssl.SSLError():
                reason = f"TLS: {error.reason or error}"
                advice = f"check that the broker speaks TLS on {where}"
            case socket.gaierror():
                reason = f"host name {self._host} not found"
                advice = "check mqtt.host, or give an IP address"
            case TimeoutError():
                reason = f"no connection within {CONNECT_TIMEOUT_S:g} s"
                advice = f"check the network between here and {where}"
            case OSError():
                reason = os.strerror(error.errno).lower() if error.errno else str(error)
                advice = f"check that the broker runs, listens on {where}, and speaks TLS only if mqtt.tls is set"
            case _:
                reason = str(error) or type(error).__name__
                advice = f"check that an MQTT broker answers on {where}, and speaks TLS only if mqtt.tls is set"
        return Trouble(reason, advice)


class _Client(aiomqtt.Client):
    def give_up(self) -> None:
        """Close what a failed attempt leaves open."""
        self._client.disconnect()


async def _connect(client: _Client) -> None:
    """Connect; a cancelled attempt is waited for, since its thread would go on and leave a socket open."""
    attempt = asyncio.create_task(client.__aenter__())
    try:
        await asyncio.shield(attempt)
    except BaseException:
        await asyncio.wait([attempt], timeout=STOP_TIMEOUT_S)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        client.give_up()
        raise


async def _until_lost(client: _Client) -> None:
    async for _ in client.messages:
        pass


async def _until_either_fails(*endless: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(work) for work in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _code(error: aiomqtt.MqttCodeError) -> int | None:
    return error.rc if isinstance(error.rc, int) or error.rc is None else error.rc.value
