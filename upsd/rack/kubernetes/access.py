"""The way to the API server: the credentials, read anew when they change, and one error for whatever goes wrong.

Nothing is tried again here but what was refused for credentials that may have been renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, TypeVar

import httpx2
from lightkube import AsyncClient, ConfigError, KubeConfig
from lightkube.config.client_adapter import verify_cluster

from upsd.domain.rack import RackError
from upsd.rack.kubernetes.objects import PodResource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from lightkube import SingleConfig
    from lightkube.models.meta_v1 import DeleteOptions

    from upsd.domain.rack import Pod

T = TypeVar("T")

MOST_CONNECTIONS = 32

HINTS = {
    401: "renew the credentials in {kubeconfig}",
    403: "config/k3s/upsd-rbac.yaml grants that right; apply it, as its first lines say",
    404: "compare the names in upsd.toml with those of `kubectl get nodes`",
}


class Access:
    """One API server, by a kubeconfig."""

    def __init__(self, kubeconfig: Path, request_timeout_s: float) -> None:
        """Read the kubeconfig if it is there; whatever is wrong with it is told by the calls.

        Args:
            kubeconfig: Read again when it changes, and when the server refuses what it said before.
            request_timeout_s: The most that one call takes, in seconds.
        """
        self._kubeconfig = kubeconfig
        self._request_timeout_s = request_timeout_s
        self._client: Client | None = None
        self._version: tuple[int, ...] = ()
        with contextlib.suppress(RackError):
            self._current_client()

    async def ask(self, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        """Send the request, in time; any failure becomes a `RackError` that says what to do."""
        client = self._current_client()
        server = f"the Kubernetes API at {client.config.cluster.server}"
        try:
            async with asyncio.timeout(self._request_timeout_s):
                try:
                    return await request(client)
                except httpx2.HTTPStatusError as error:
                    if error.response.status_code != httpx2.codes.UNAUTHORIZED:
                        raise
                self._version = ()
                return await request(self._current_client())
        except TimeoutError as error:
            seconds = f"{self._request_timeout_s:g} s"
            raise RackError(f"{server} did not answer within {seconds} to {what}: is k3s overloaded?") from error
        except httpx2.HTTPStatusError as error:
            raise RackError(f"{server} answered {self._refusal(error.response, what)}") from error
        except httpx2.HTTPError as error:
            raise RackError(f"{server} cannot be asked to {what} ({error}): {self._way_out(error)}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise RackError(
                f"{server} gave no Kubernetes answer to {what}: is that address in {self._kubeconfig} right?"
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

    def _current_client(self) -> Client:
        """The client for the kubeconfig as it is now; for what it was, while it is gone or half-written.

        Raises:
            RackError: There is none that can be used, and never was.
        """
        version = _version(self._kubeconfig)
        if self._client is None or version != self._version:
            try:
                self._client = _connected(self._kubeconfig)
                self._version = version
            except RackError:
                if self._client is None:
                    raise
        return self._client


class Client(AsyncClient):
    """lightkube's client, with the one request that it can't make."""

    async def delete_exactly(self, pod: Pod, options: DeleteOptions) -> None:
        """Delete the pod, if the preconditions hold, of which lightkube's own `delete` knows nothing."""
        request = self._client.prepare_request("delete", PodResource, name=pod.name, namespace=pod.namespace)
        request.data = options
        adapted = self._client.build_adapter_request(request)
        response = await self._client.send(adapted)  # type: ignore[no-untyped-call]  # lightkube left it bare
        self._client.handle_response("delete", response, request)


def _connected(kubeconfig: Path) -> Client:
    try:
        config = KubeConfig.from_file(kubeconfig).get()
        # A connection for each request: none to close, and none that outlived a restart of the server.
        limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=0)
        transport = httpx2.AsyncHTTPTransport(verify=_tls(config), trust_env=False, limits=limits)
        # The one deadline is that of `_ask`; environment variables such as HTTPS_PROXY are not for us.
        return Client(config, timeout=httpx2.Timeout(None), trust_env=False, transport=transport)
    except Exception as error:
        # A file that people write can be wrong in more ways than lightkube has errors for. Only the first line of what
        # is said of it: the YAML parser goes on with a piece of the file, which may be the token.
        reason = str(error).partition("\n")[0]
        wrong = f"{kubeconfig} cannot be used as a kubeconfig ({type(error).__name__}: {reason})"
        raise RackError(f"{wrong}: see config/k3s/ for how to write one") from error


def _tls(config: SingleConfig | None) -> ssl.SSLContext:
    """Trust the cluster's CA, as Kubernetes clients do.

    Since Python 3.13 a CA must carry extensions by default (`VERIFY_X509_STRICT`) that private CAs often lack. The
    one that the kubeconfig pins is trusted without them; signatures, names and dates are verified all the same.
    """
    if config is None or config.user is None:
        raise ConfigError("its current context names no user")
    context = verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
    if config.cluster.certificate_auth or config.cluster.certificate_auth_data:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size
