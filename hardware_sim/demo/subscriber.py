"""What a subscriber of the MQTT broker sees: the demo shows nothing of the daemon that it does not learn here."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiomqtt

if TYPE_CHECKING:
    from collections.abc import Callable


class Subscriber:
    """Keeps the latest retained documents and every event, with the time since the demo began."""

    def __init__(self, port: int, heard: Callable[[float, dict[str, Any]], None]) -> None:
        self._port = port
        self._heard = heard
        self._changed = asyncio.Condition()
        self.state: dict[str, Any] = {}
        self.shutdown: dict[str, Any] = {}
        self.availability = "unknown"
        self.events: list[tuple[float, dict[str, Any]]] = []

    async def follow(self, began_at: float) -> None:
        """Subscribe to everything; for ever."""
        loop = asyncio.get_running_loop()
        async with aiomqtt.Client("127.0.0.1", self._port) as client:
            await client.subscribe("upsd/#", qos=1)
            async for message in client.messages:
                topic = message.topic.value.rsplit("/", 1)[-1]
                text = bytes(message.payload).decode() if isinstance(message.payload, bytes | bytearray) else ""
                async with self._changed:
                    self._take(topic, text, loop.time() - began_at)
                    self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was heard makes the condition true."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def _take(self, topic: str, text: str, after_s: float) -> None:
        match topic:
            case "availability":
                self.availability = text
            case "state":
                self.state = json.loads(text)
            case "shutdown":
                self.shutdown = json.loads(text)
            case "event":
                event = json.loads(text)
                self.events.append((after_s, event))
                self._heard(after_s, event)


def event_line(event: dict[str, Any]) -> str:
    """An event as one line: its name and its fields."""
    fields = " ".join(f"{name}={value}" for name, value in event["fields"].items() if value is not None)
    return f"{event['event_type']} {fields}".strip()
