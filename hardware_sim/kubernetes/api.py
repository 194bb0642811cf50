"""The simulated cluster behind the Kubernetes API: HTTP routes, TLS, the bearer token, and faults.

Served as far as kubectl and the daemon use it: discovery, lists with selectors and pages, watches, tables, PATCH,
server-side apply, evictions and deletions of pods. Not served: creation of objects in any other way, lists as they were
at an older resource version, protobuf, and OpenAPI.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from hardware_sim.kubernetes import (
    apply,
    discovery,
    eviction,
    manifest,
    patch,
    protobuf,
    rbac,
    selectors,
    status,
    tables,
)
from hardware_sim.kubernetes.faults import Faults, LoggedRequest
from hardware_sim.kubernetes.identity import ServerIdentity, fresh_identity
from hardware_sim.kubernetes.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from hardware_sim.kubernetes.cluster import SimulatedCluster
    from hardware_sim.kubernetes.objects import Object
    from hardware_sim.kubernetes.rbac import Rights

ROOT = "/{root:" + "|".join(discovery.ROOTS) + "}"
BODY = web.RequestKey("body", object)
BOOKMARK_S = 60.0
"""From one bookmark to the next; a watch that is over ends with one."""
SHUTDOWN_S = 0.2
"""How long answers under way may still take when the server stops."""


class SimulatedKubernetes:
    """The API server; an asynchronous context manager that serves while it is open."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        *,
        tls: bool | ServerIdentity = True,
        token: str | None = "simulated-token",  # noqa: S107 -- it opens nothing but this simulation
        host: str = "127.0.0.1",
    ) -> None:
        """Serve the cluster on a free port.

        Args:
            cluster: Time passes in it by the event loop's clock, as long as the server runs.
            tls: HTTPS with a certificate of its own (or the given one), or plain HTTP.
            token: The bearer token that every request must carry, unless it comes with a client certificate that the
                identity asks for; `None` lets everyone in.
            host: The address of this machine to serve on.
        """
        self.cluster = cluster
        self.token = token
        self.rights: Rights | None = None
        """What whoever carries the token may do; everything, without."""
        self.faults = Faults()
        self.requests: list[LoggedRequest] = []
        self.connections: set[asyncio.Transport] = set()
        """Those on which a request came, also once they are closed."""
        self._identity = fresh_identity(host) if tls is True else tls or None
        self._host = host
        self._port = 0
        self._listeners: set[asyncio.Event] = set()
        self._running = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where it serves, or served last."""
        return f"{'https' if self._identity else 'http'}://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve; after a `stop` on the same port again."""
        self.cluster.store.compact()  # a server that starts knows nothing of what went before
        loop = asyncio.get_running_loop()
        offset = self.cluster.now - loop.time()
        self.cluster.clock = lambda: loop.time() + offset
        self.cluster.store.changed = self._notify
        self._running.callback(self._freeze)
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        self._running.push_async_callback(runner.cleanup)
        context = self._identity.context if self._identity else None
        await web.TCPSite(runner, self._host, self._port, ssl_context=context).start()
        self._port = runner.addresses[0][1]
        clock = asyncio.create_task(self._keep_time(), name="simulated cluster")
        self._running.push_async_callback(_cancelled, clock)

    async def stop(self) -> None:
        """Refuse connections from now on; time stands still in the cluster until the next `start`."""
        await self._running.aclose()
        self._running = AsyncExitStack()

    async def until(self, holds: Callable[[], bool], within_s: float = 10.0) -> None:
        """Wait for something to be true of the cluster, or of the requests that came in.

        Raises:
            TimeoutError: It did not become true in time.
        """
        with self._listening() as changed:
            async with asyncio.timeout(within_s):
                while not holds():
                    changed.clear()
                    await changed.wait()

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig with the CA and the token, readable by its owner only."""
        server: Object = {"server": self.url}
        if self._identity:
            server["certificate-authority-data"] = base64.b64encode(self._identity.ca_pem).decode()
        user = {"token": self.token} if self.token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "default", "cluster": server}],
            "users": [{"name": "default", "user": user}],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
            "current-context": "default",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2))  # every JSON document is a YAML document

    async def _keep_time(self) -> None:
        with self._listening() as changed:
            while True:
                self.cluster.advance(self.cluster.now)
                changed.clear()
                due = self.cluster.next_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else due - self.cluster.now):
                        await changed.wait()

    def _freeze(self) -> None:
        stopped_at = self.cluster.now
        self.cluster.clock = lambda: stopped_at

    def _notify(self) -> None:
        for listener in self._listeners:
            listener.set()

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Event]:
        """An event that is set by each request and by each change in the cluster."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            yield changed
        finally:
            self._listeners.discard(changed)

    # Routes

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        routes = application.router
        for path, answer in (
            ("/version", discovery.VERSION),
            ("/version/", discovery.VERSION),
            ("/api", discovery.CORE_VERSIONS),
            ("/apis", discovery.groups()),
        ):
            routes.add_get(path, _constant(answer))
        for path in ("/readyz", "/livez", "/healthz"):
            routes.add_get(path, _ok)
        for root in discovery.ROOTS:
            routes.add_get(f"/{root}", _constant(discovery.resources(root)))
        routes.add_get(ROOT + "/{plural}", self._list)
        routes.add_get(ROOT + "/namespaces/{namespace}/{plural}", self._list)
        for path in (ROOT + "/{plural}/{name}", ROOT + "/namespaces/{namespace}/{plural}/{name}"):
            routes.add_get(path, self._get)
            routes.add_patch(path, self._patch)
            routes.add_delete(path, self._delete)
        routes.add_post("/api/v1/namespaces/{namespace}/pods/{name}" + rbac.EVICTION, self._evict)
        routes.add_post(rbac.REVIEWS, self._review)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Record the request, let the faults and the token have their say, and turn refusals into answers."""
        try:
            body = await _decoded(request) if request.can_read_body else {}
        except ValueError:
            body = None
        request[BODY] = body
        if request.transport:
            self.connections.add(request.transport)
        logged = LoggedRequest(request.method, request.path, dict(request.query), body)
        self.requests.append(logged)
        self._notify()
        await asyncio.sleep(self.faults.latency_s)
        if self.faults.mute:
            await asyncio.Event().wait()
        self.cluster.advance(self.cluster.now)
        answer: web.StreamResponse
        try:
            self.faults.check(request.method, request.path)
            if self.faults.throttle():
                answer = _too_many_requests(self.faults.retry_after_s)
            else:
                self._authenticate(request)
                self._authorize(request)
                answer = await self._answer(request, handler)
        except status.Refused as refused:
            answer = _json(refused.status, refused.code, refused.headers)
        logged.code = answer.status
        return answer

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.match_info.get("plural") == "leases":
            self.cluster.renew_leases()
        try:
            found: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            code = error.status if error.status in status.REASONS else 404
            raise status.Refused(code, "the server could not find the requested resource") from error
        return found

    def _authenticate(self, request: web.Request) -> None:
        shown = request.get_extra_info("peercert")
        if shown and ssl.cert_time_to_seconds(shown["notAfter"]) > datetime.now(tz=UTC).timestamp():
            return
        if self.token and _token(request) != self.token and not apply.account_of(self.cluster, _token(request)):
            raise status.Refused(401, "Unauthorized")

    def _authorize(self, request: web.Request) -> None:
        found, rights = request.match_info, self._rights_of(request)
        right = rbac.asked_right(request.method, request.path, found, request.query)
        if rights and right:
            rights.check(right, found.get("namespace", ""), found.get("name", ""))

    def _rights_of(self, request: web.Request) -> Rights | None:
        """Those of the ServiceAccount whose token it carries, as the cluster's own roles say."""
        account = apply.account_of(self.cluster, _token(request))
        if account is None:
            return self.rights
        store = self.cluster.store
        return manifest.granted([*store.items("clusterroles"), *store.items("clusterrolebindings")], *account)

    async def _review(self, request: web.Request) -> web.Response:
        rights = self._rights_of(request) or rbac.EVERYTHING
        return _json(rights.review(_body(request)), 201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        resource, query, store = _resource(request), request.query, self.cluster.store
        namespace = request.match_info.get("namespace", "")
        if query.get("watch") in ("1", "true"):
            return await self._watch(request, Watch(store, resource, namespace, query))
        wanted = selectors.version_of(query)
        if wanted > store.version:
            raise status.future_version(wanted, store.version)
        selected = selectors.selected(store.items(resource.plural, namespace), query)
        items, token = selectors.page(selected, query, version=store.version, oldest=store.compacted)
        described = {"resourceVersion": str(store.version)} | ({"continue": token} if token else {})
        found: Object = {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.group_version,
            "items": items,
        }
        if _wants_table(request):
            found = tables.table(resource.plural, items, self.cluster.date())
        return _json(found | {"metadata": described})

    async def _watch(self, request: web.Request, watch: Watch) -> web.StreamResponse:
        """Stream the events until the query's `timeoutSeconds` are over, or until one says that it can't go on."""
        plural, tabular, header = _resource(request).plural, _wants_table(request), True
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)

        async def send(kind: str, item: Object) -> None:
            await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")

        loop = asyncio.get_running_loop()
        timeout_s = float(request.query.get("timeoutSeconds") or "inf")
        over_at, bookmark_at = loop.time() + timeout_s, loop.time() + BOOKMARK_S
        with self._listening() as changed:
            while loop.time() < over_at:
                changed.clear()
                for kind, item in watch.events():
                    if kind == "ERROR":
                        await send(kind, item)
                        return response
                    await send(
                        kind, tables.table(plural, [item], self.cluster.date(), header=header) if tabular else item
                    )
                    header = False
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(over_at, bookmark_at)):
                        await changed.wait()
                if watch.bookmarks and loop.time() >= min(over_at, bookmark_at):
                    bookmark_at = loop.time() + BOOKMARK_S
                    await send("BOOKMARK", watch.bookmark())
        return response

    async def _get(self, request: web.Request) -> web.Response:
        item = self._find(request)
        if _wants_table(request):
            return _json(tables.table(_resource(request).plural, [item], self.cluster.date()))
        return _json(item)

    async def _patch(self, request: web.Request) -> web.Response:
        plural = _resource(request).plural
        if request.content_type == apply.APPLY_TYPE:
            made, is_new = apply.applied(self.cluster, plural, *_full_name(request), _body(request))
            return _json(made, 201 if is_new else 200)
        result = patch.patched(plural, self._find(request), request.content_type, request[BODY])
        if request.query.get("dryRun") != "All":
            if plural == "nodes":
                self.cluster.node_changed(result)
            else:
                self.cluster.store.put(plural, result)
        return _json(result)

    async def _delete(self, request: web.Request) -> web.Response:
        if _resource(request).plural != "pods":
            raise status.Refused(405, "only pods can be deleted here")
        found = self._find(request)
        options = _options(_body(request), request.query)
        return _json(eviction.delete(self.cluster, *_full_name(request), options) or found)

    async def _evict(self, request: web.Request) -> web.Response:
        namespace, name = _full_name(request)
        body = _body(request)
        options = _options(body.get("deleteOptions") or {}, request.query)
        eviction.evict(self.cluster, namespace, name, body | {"deleteOptions": options})
        return _json(status.success(), 201)

    def _find(self, request: web.Request) -> Object:
        return self.cluster.store.get(_resource(request).plural, *_full_name(request))


def _resource(request: web.Request) -> discovery.Resource:
    resource = discovery.RESOURCES.get(request.match_info["plural"])
    if resource is None or resource.root != request.match_info["root"]:
        raise status.Refused(404, "the server could not find the requested resource")
    return resource


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _full_name(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("namespace", ""), request.match_info["name"]


def _options(given: Object, query: Mapping[str, str]) -> Object:
    """DeleteOptions from the body and from the query, where kubectl puts some of them."""
    options = dict(given)
    if "gracePeriodSeconds" in query:
        options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    if "dryRun" in query:
        options["dryRun"] = [query["dryRun"]]
    return options


async def _decoded(request: web.Request) -> Object:
    if request.content_type == protobuf.MEDIA_TYPE:
        return protobuf.access_review(await request.read())
    found: Object = await request.json()
    return found


def _body(request: web.Request) -> Object:
    found = request[BODY]
    if not isinstance(found, dict):
        raise status.Refused(400, "the body of the request is no JSON object")
    return found


def _wants_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "")


def _json(found: Object, code: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    # A real server names no charset, and clients compare the type.
    return web.Response(body=json.dumps(found).encode(), status=code, content_type="application/json", headers=headers)


def _too_many_requests(retry_after_s: int) -> web.Response:
    # The filter that does this comes before everything that knows of Status objects: the body is plain text.
    text = "Too many requests, please try again later.\n"
    return web.Response(text=text, status=429, headers={"Retry-After": str(retry_after_s)})


def _constant(answer: Object) -> Any:
    async def handle(_: web.Request) -> web.Response:
        return _json(answer)

    return handle


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
