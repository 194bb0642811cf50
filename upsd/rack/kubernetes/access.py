"""The way to the API servers: the credentials, read anew when they change, and one error for whatever goes wrong.

Where several servers are named they are tried in turn, the one that answered last first. Nothing else is tried again
here but what was refused for credentials that may have been renewed. Connections are kept while anybody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import httpx2
import msgspec
from lightkube import AsyncClient

from upsd.domain.rack import RackError
from upsd.rack.kubernetes import kubeconfig as kubeconfigs
from upsd.rack.kubernetes.connections import Connections
from upsd.rack.kubernetes.objects import PodResource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from lightkube import SingleConfig
    from lightkube.models.meta_v1 import DeleteOptions

    from upsd.domain.rack import Pod

T = TypeVar("T")

CERTIFICATE_NOTICE = timedelta(days=30)
"""How long before a client certificate ends people are told."""

HINTS = {
    401: "renew the credentials in {kubeconfig}",
    403: "config/k3s/upsd-rbac.yaml grants that right; apply it, as its first lines say",
    404: "compare the names in upsd.toml with those of `kubectl get nodes`",
}


@dataclass(frozen=True, slots=True)
class _Unreached:
    """A server that could not be asked, for what reason, and what to do about that."""

    server: str
    why: str
    way_out: str


class Access:
    """The API servers of one cluster, by a kubeconfig."""

    def __init__(self, kubeconfig: Path, request_timeout_s: float, servers: Sequence[str] = ()) -> None:
        """Read the kubeconfig if it is there; whatever is wrong with it is told by the calls.

        Args:
            kubeconfig: Read again when it changes, or a file that it names, and when a server refuses what it said.
            request_timeout_s: The most that one call takes, in seconds, however many servers are tried.
            servers: The addresses to try, such as `https://192.168.7.10:6443`; none: the one in the kubeconfig.
        """
        self._kubeconfig = kubeconfig
        self._request_timeout_s = request_timeout_s
        self._servers = tuple(servers)
        self._clients: dict[str, Client] = {}
        self._connections: list[Connections] = []
        self._asking = 0
        self._files: tuple[Path, ...] = (kubeconfig,)
        self._versions: kubeconfigs.Versions | None = None
        self._certificate_ends: datetime | None = None
        self._answered_last = ""
        with contextlib.suppress(RackError):
            self._current_clients()

    def warnings(self, now: datetime) -> list[str]:
        """What a person should mend before an outage comes, as of this date."""
        with contextlib.suppress(RackError):
            self._current_clients()
        ends = self._certificate_ends
        if ends is None or ends - now > CERTIFICATE_NOTICE:
            return []
        when = f"ends on {ends:%Y-%m-%d}" if ends > now else f"has ended on {ends:%Y-%m-%d}"
        renew = "restart k3s, which renews it, and copy its kubeconfig again"
        instead = "use the token of config/k3s/upsd-rbac.yaml, which does not end"
        return [f"the client certificate in {self._kubeconfig} {when}: {renew}; or {instead}"]

    async def ask(self, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        """Send the request, in time; any failure becomes a `RackError` that says what to do."""
        self._asking += 1
        try:
            return await self._ask_in_turn(what, request)
        finally:
            self._asking -= 1
            await self._close_unused()

    async def _close_unused(self) -> None:
        """Close all connections, also those for former credentials, unless somebody asks."""
        if not self._asking:
            await asyncio.sleep(0)  # where several were answered at once, those who have waited for them ask now
        for connections in self._connections.copy():
            if self._asking:
                return
            if len(self._connections) > len(self._clients):
                self._connections.remove(connections)  # the former ones come first
            await connections.aclose()

    async def _ask_in_turn(self, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        over_at = loop.time() + self._request_timeout_s
        servers = sorted(self._current_clients(), key=lambda server: server != self._answered_last)
        unreached: list[_Unreached] = []
        for number, server in enumerate(servers):
            share_s = (over_at - loop.time()) / (len(servers) - number)
            try:
                async with asyncio.timeout(share_s):
                    answer = await self._ask(server, what, request)
            except TimeoutError:
                why = f"did not answer within {share_s:.2g} s"
                unreached.append(_Unreached(server, why, "is k3s overloaded?"))
            except httpx2.TransportError as error:
                unreached.append(_Unreached(server, str(error), self._way_out(error)))
            else:
                self._answered_last = server
                return answer
        raise RackError(_nobody_answered(unreached, what))

    async def _ask(self, server: str, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        """Ask one server.

        Raises:
            httpx2.TransportError: It could not be asked.
            RackError: It was, and that is of no use.
        """
        named = f"the Kubernetes API at {server}"
        try:
            try:
                return await request(self._clients[server])
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != httpx2.codes.UNAUTHORIZED:
                    raise
            self._versions = None
            clients = self._current_clients()
            return await request(clients.get(server) or next(iter(clients.values())))
        except httpx2.HTTPStatusError as error:
            self._answered_last = server
            raise RackError(f"{named} answered {self._refusal(error.response, what)}") from error
        except httpx2.TransportError:
            raise
        except httpx2.HTTPError as error:
            raise RackError(f"{named} cannot be asked to {what} ({error}): {self._way_out(error)}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise RackError(
                f"{named} gave no Kubernetes answer to {what}: is that address in {self._kubeconfig} right?"
            ) from error

    def _refusal(self, response: httpx2.Response, what: str) -> str:
        hint = HINTS.get(response.status_code, "its reason stands in `journalctl -u k3s`")
        refused = f"{response.status_code} {response.reason_phrase} to {what}"
        return f"{refused}: {hint.format(kubeconfig=self._kubeconfig)}"

    def _way_out(self, error: BaseException | None) -> str:
        while error is not None:
            if isinstance(error, ssl.SSLError):
                return f"it must show a certificate of the CA in {self._kubeconfig}"
            error = error.__cause__ or error.__context__
        return "is k3s running?"

    def _current_clients(self) -> dict[str, Client]:
        """A client for each server by its address, for the credentials as they are now.

        While these are gone or half-written, for what they were.

        Raises:
            RackError: There are none that can be used, and never were.
        """
        versions = kubeconfigs.versions_of(self._files)
        if not self._clients or versions != self._versions:
            try:
                self._connect()
            except RackError:
                if not self._clients:
                    raise
        return self._clients

    def _connect(self) -> None:
        kubeconfig = self._kubeconfig
        try:
            version = kubeconfigs.versions_of((kubeconfig,))
            config, user, named = kubeconfigs.read(kubeconfig)
            versions = version + kubeconfigs.versions_of(named)
            tls, ends = kubeconfigs.tls_of(config, user), kubeconfigs.certificate_ends(config, user)
            servers = self._servers or (config.cluster.server,)
            current = {server: Connections(tls) for server in servers}
            self._clients = {server: _client(config, server, current[server]) for server in servers}
            self._connections += current.values()
        except Exception as error:
            # A file that people write can be wrong in more ways than lightkube has errors for. Only the first line of
            # what is said of it: the YAML parser goes on with a piece of the file, which may be the token.
            reason = str(error).partition("\n")[0]
            wrong = f"{kubeconfig} cannot be used as a kubeconfig ({type(error).__name__}: {reason})"
            raise RackError(f"{wrong}: see config/k3s/ for how to write one") from error
        self._files, self._versions, self._certificate_ends = (kubeconfig, *named), versions, ends


class Client(AsyncClient):
    """lightkube's client, with the one request that it can't make."""

    async def delete_exactly(self, pod: Pod, options: DeleteOptions) -> None:
        """Delete the pod, if the preconditions hold, of which lightkube's own `delete` knows nothing."""
        request = self._client.prepare_request("delete", PodResource, name=pod.name, namespace=pod.namespace)
        request.data = options
        adapted = self._client.build_adapter_request(request)
        response = await self._client.send(adapted)  # type: ignore[no-untyped-call]  # lightkube left it bare
        self._client.handle_response("delete", response, request)


def _client(config: SingleConfig, server: str, transport: Connections) -> Client:
    asked = config._replace(cluster=msgspec.structs.replace(config.cluster, server=server))
    # The one deadline is that of `ask`; environment variables such as HTTPS_PROXY are not for us.
    return Client(asked, timeout=httpx2.Timeout(None), trust_env=False, transport=transport)


def _nobody_answered(unreached: Sequence[_Unreached], what: str) -> str:
    if len(unreached) == 1:
        (one,) = unreached
        if one.why.startswith("did not answer"):
            return f"the Kubernetes API at {one.server} {one.why} to {what}: {one.way_out}"
        return f"the Kubernetes API at {one.server} cannot be asked to {what} ({one.why}): {one.way_out}"
    told = "; ".join(f"{one.server} ({one.why}): {one.way_out}" for one in unreached)
    return f"no Kubernetes API server can be asked to {what}: {told}"
