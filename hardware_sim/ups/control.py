"""A small HTTP control of a simulated UPS: `GET /` shows how it stands, `POST /ACTION` does something to it.

Arguments come in the query or as a JSON object; see `actions` for what there is. It is for tests and for people with
`curl`: whoever reaches its port may do everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from aiohttp import web

from hardware_sim.ups.actions import ArgumentError, UnknownActionError, deed_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hardware_sim.ups.actions import Deed
    from hardware_sim.ups.rig import Rig


@contextlib.asynccontextmanager
async def http_control(
    rig: Rig, *, host: str = "127.0.0.1", port: int = 0, told: Callable[[Deed], None] = lambda _: None
) -> AsyncIterator[str]:
    """The control's URL, while the block lasts; `told` hears of each deed first, and port 0 is any free one.

    Raises:
        OSError: the port is taken.
    """
    server = web.AppRunner(_application(rig, told), access_log=None)
    await server.setup()
    try:
        site = web.TCPSite(server, host, port)
        await site.start()
        address, free_port = server.addresses[0][:2]
        yield f"http://{address}:{free_port}/"
    finally:
        await server.cleanup()


def _application(rig: Rig, told: Callable[[Deed], None]) -> web.Application:
    loop = asyncio.get_running_loop()

    def state() -> web.Response:
        return web.json_response(rig.state(loop.time()), dumps=lambda state: json.dumps(state, indent=2) + "\n")

    async def show(_: web.Request) -> web.Response:
        return state()

    async def act(request: web.Request) -> web.Response:
        try:
            deed = deed_of(request.match_info["action"], {**request.query, **_arguments(await request.text())})
        except UnknownActionError as error:
            return web.Response(status=404, text=f"{error}\n")
        except ArgumentError as error:
            return web.Response(status=400, text=f"{error}\n")
        told(deed)
        deed.do(rig, loop.time())
        return state()

    application = web.Application()
    application.add_routes([web.get("/", show), web.post("/{action}", act)])
    return application


def _arguments(body: str) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        arguments = json.loads(body)
    except ValueError as error:
        raise ArgumentError(f"the body is no JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ArgumentError('the body is no JSON object, such as {"volts": 180}')
    return arguments
