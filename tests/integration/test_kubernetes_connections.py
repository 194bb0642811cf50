"""Connections to the API are kept while anybody asks, and no longer; one that breaks costs no call."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from upsd.domain.rack import EvictionAnswer
from upsd.rack.kubernetes import KubernetesCluster
from upsd.rack.kubernetes.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from upsd.domain.rack import Pod

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """A server of which each connection answers so many requests, and breaks at the next one without a word."""

    answers: list[int]
    asked: list[str] = field(default_factory=list)
    """On which connection, by its number, what was asked."""
    opened: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection."""
        number, self.opened = self.opened, self.opened + 1
        try:
            for left in range(self.answers[number], -1, -1):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked.append(f"{number} {head.split()[0]}")
                if left:
                    writer.write(_ANSWER)
        except asyncio.IncompleteReadError:
            pass  # the client has closed it
        finally:
            writer.close()


@asynccontextmanager
async def asking(*answers: int) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    """A server, and a client that reaches it as lightkube's does."""
    served = Server([*answers])
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    transport = Connections(ssl.create_default_context())
    async with listening, httpx2.AsyncClient(transport=transport, base_url=address) as client:
        yield served, client


async def test_a_kept_connection_that_breaks_is_replaced_once() -> None:
    """By one that was never used before, also where others are kept."""
    async with asking(2, 1) as (server, client):
        for _ in range(3):
            assert (await client.post("/")).text == "ok"
    assert server.asked == ["0 POST", "0 POST", "0 POST", "1 POST"]


async def test_a_fresh_connection_that_breaks_is_the_answer() -> None:
    """Whether it was made for the first try or for the second one: no request is sent a third time."""
    async with asking(0) as (server, client):
        with pytest.raises(httpx2.TransportError):
            await client.post("/")
        assert server.asked == ["0 POST"]
    async with asking(1, 0) as (server, client):
        await client.post("/")
        with pytest.raises(httpx2.TransportError):
            await client.post("/")
    assert server.asked == ["0 POST", "0 POST", "1 POST"]


async def test_calls_side_by_side_share_connections_and_leave_none_behind(tmp_path: Path) -> None:
    """Far fewer handshakes than calls; and with the last answer every connection is closed."""
    cluster = SimulatedCluster()
    cluster.add_node("pi4-a")
    for number in range(60):
        cluster.add_pod("web", f"app-{number}", "pi4-a")
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        rack, limit = KubernetesCluster(tmp_path / "kubeconfig", 5.0), asyncio.Semaphore(6)

        async def evict(pod: Pod) -> None:
            async with limit:
                assert await rack.evict(pod) is EvictionAnswer.ACCEPTED

        pods = await rack.pods("pi4-a")
        await asyncio.gather(*map(evict, pods))
        assert len(api.requests) == 1 + len(pods) == 61
        assert len(api.connections) <= 1 + 2 * 6
        await api.until(lambda: all(connection.is_closing() for connection in api.connections))
