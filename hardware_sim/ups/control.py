"""A small HTTP control of a simulated UPS: `GET /` shows how it stands, `POST /ACTION` does something to it.

Arguments come in the query, as a form or as a JSON object; see `actions` for what there is. It is for tests
and for people with `curl`: whoever reaches its port may do everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from hardware_sim.ups.actions import ACTIONS, ArgumentError, UnknownActionError, deed_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hardware_sim.ups.actions import Deed
    from hardware_sim.ups.rig import Rig

_RIGHT: Final = 'give arguments as in ?volts=190, or as a body such as volts=190 or {"volts": 190}'


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
        if hindrance := deed.hindrance(rig):
            return web.Response(status=409, text=f"{hindrance}\n")
        told(deed)
        deed.do(rig, loop.time())
        return state()

    application = web.Application()
    application.add_routes([web.get("/", show), web.post("/{action}", act), web.route("*", "/{path:.*}", _explain)])
    return application


async def _explain(request: web.Request) -> web.Response:
    """What to ask instead of this."""
    action = request.match_info["path"].strip("/")
    if action in ACTIONS:
        text = f"to do it, POST it: curl -X POST {request.url.origin()}/{action}\n"
        return web.Response(status=405, text=text, headers={"Allow": "POST"})
    text = f"GET / shows how everything stands, and POST /ACTION does something; actions are {', '.join(ACTIONS)}\n"
    return web.Response(status=404 if action else 405, text=text, headers={} if action else {"Allow": "GET"})


def _arguments(body: str) -> dict[str, object]:
    """Of a form, as `curl -d` sends it, or a JSON object; which it is, its content type need not tell."""
    body = body.strip()
    if not body:
        return {}
    try:
        if not body.startswith(("{", "[")):
            return dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
        arguments = json.loads(body)
    except ValueError as error:
        raise ArgumentError(f"the body can't be read: {error}; {_RIGHT}") from error
    if not isinstance(arguments, dict):
        raise ArgumentError(f"the body is no object; {_RIGHT}")
    return arguments
