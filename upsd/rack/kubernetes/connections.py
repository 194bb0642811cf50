"""Connections to one API server, kept while others are in use: a drain makes many calls, each dear for a TLS handshake.

They are closed when nobody asks any more, so that none is there to go stale. One that breaks although it was good
before says nothing about the server: what was asked on it is asked once more on a fresh one. It may have been carried
out by then, and bears that: changes name the version that they change, evictions and deletions the UID of their pod.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    import ssl

MOST = 32
"""How many there are at once, at most."""


class Connections(httpx2.AsyncBaseTransport):
    """What lightkube's client sends its requests by; it can be used again after it was closed."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._kept, self._fresh = _pool(tls, kept=MOST), _pool(tls, kept=0)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it.

        Raises:
            httpx2.TransportError: There is no connection, or the one that was made for this request has broken.
        """
        made = False

        async def trace(event: str, _: Any) -> None:
            nonlocal made
            made = made or event == "connection.connect_tcp.started"

        request.extensions = {**request.extensions, "trace": trace}
        try:
            return await self._kept.handle_async_request(request)
        except httpx2.TransportError:
            if made:
                raise
        return await self._fresh.handle_async_request(request)

    async def aclose(self) -> None:
        """Close those that are kept."""
        await self._kept.aclose()
        await self._fresh.aclose()


def _pool(tls: ssl.SSLContext, *, kept: int) -> httpx2.AsyncHTTPTransport:
    limits = httpx2.Limits(max_connections=MOST, max_keepalive_connections=kept)
    return httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
