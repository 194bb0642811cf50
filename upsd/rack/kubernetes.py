"""The Kubernetes API through lightkube: what `upsd.domain.rack.Cluster` asks of a k3s cluster.

Answers are told apart by code, reason and causes, never by their text. What they mean was read in the API server's
source and seen on a real one: a budget answers 429, two budgets 500 without a reason, a terminating namespace 403 with
a cause, a precondition 409. Every eviction and deletion carries the pod's UID, because the successor of a StatefulSet's
pod has its name. Nothing is tried again here but a change that another one overtook, and what was refused for
credentials that may have been renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ssl
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import httpx2
import msgspec
from lightkube import ALL_NS, ApiError, AsyncClient, ConfigError, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.resource import ApiInfo, GlobalResource, NamespacedResourceG, ResourceDef
from lightkube.models.meta_v1 import DeleteOptions, ObjectMeta, Preconditions
from lightkube.resources.core_v1 import PodEviction
from lightkube.types import PatchType

from upsd.domain.rack import EvictionAnswer, Node, Pod, RackError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from lightkube import SingleConfig
    from lightkube.models.meta_v1 import Status

T = TypeVar("T")

CORDON_MARK = "upsd.io/cordoned-by-outage"
"""Annotation on a node that we cordoned; its value is the outage."""

NOT_REPLACED = frozenset({"DaemonSet", "Job", "Node"})
"""Kinds of controllers whose pods stay on their node, or end by themselves."""

MIRROR_MARK = "kubernetes.io/config.mirror"
CORDON_ATTEMPTS = 3
PAGE_SIZE = 500
MOST_CONNECTIONS = 32

HINTS = {
    401: "renew the credentials in {kubeconfig}",
    403: "config/k3s/upsd-rbac.yaml grants that right; apply it, as its first lines say",
    404: "compare the names in upsd.toml with those of `kubectl get nodes`",
}


class Owner(msgspec.Struct, frozen=True):
    """An owner reference."""

    kind: str
    name: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True):
    """What is read of an object's metadata."""

    name: str
    uid: str
    resourceVersion: str  # noqa: N815 -- the API's name
    namespace: str = ""
    annotations: dict[str, str] = {}
    ownerReferences: list[Owner] = []  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815


class Condition(msgspec.Struct, frozen=True):
    """One condition of a node."""

    type: str
    status: str


class State(msgspec.Struct, frozen=True):
    """What is read of a node's or pod's status."""

    phase: str = ""
    conditions: list[Condition] = []


class Spec(msgspec.Struct, frozen=True):
    """What is read of a node's or pod's spec."""

    unschedulable: bool = False
    terminationGracePeriodSeconds: int = 30  # noqa: N815


class NodeResource(GlobalResource, msgspec.Struct, frozen=True):
    """A node in just as much detail as is used: lightkube's own model refuses a node that lacks any other field."""

    metadata: Metadata
    spec: Spec = Spec()
    status: State = State()

    _api_info = ApiInfo(ResourceDef("", "v1", "Node"), "nodes", ["get", "list", "patch"])


class PodResource(NamespacedResourceG, msgspec.Struct, frozen=True):
    """A pod, likewise."""

    metadata: Metadata
    spec: Spec = Spec()
    status: State = State()

    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["get", "global_list", "delete"])


class KubernetesCluster:
    """A cluster that is reached by a kubeconfig; fits `upsd.domain.rack.Cluster`."""

    def __init__(self, kubeconfig: Path, request_timeout_s: float) -> None:
        """Read the kubeconfig if it is there; whatever is wrong with it is told by the calls.

        Args:
            kubeconfig: Read again when it changes, and when the server refuses what it said before.
            request_timeout_s: The most that one call takes, in seconds.
        """
        self._kubeconfig = kubeconfig
        self._request_timeout_s = request_timeout_s
        self._client: _Client | None = None
        self._version: tuple[int, ...] = ()
        self._dry_run = False
        with contextlib.suppress(RackError):
            self._current_client()

    def rehearsed(self) -> KubernetesCluster:
        """The same, with every change a server-side dry run: judged as ever, and not kept."""
        cluster = copy.copy(self)
        cluster._dry_run = True  # noqa: SLF001 - it is one of us
        return cluster

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""

        async def ask(client: _Client) -> list[Node]:
            return [_node(found) async for found in client.list(NodeResource, chunk_size=PAGE_SIZE)]

        return await self._ask("list nodes", ask)

    async def pods(self, node: str) -> Sequence[Pod]:
        """The pods bound to the node, of all namespaces."""

        async def ask(client: _Client) -> list[Pod]:
            bound = client.list(PodResource, namespace=ALL_NS, fields={"spec.nodeName": node}, chunk_size=PAGE_SIZE)
            return [_pod(found) async for found in bound]

        return await self._ask("list pods", ask)

    async def workloads(self) -> Mapping[str, int]:
        """How many pods are Ready, by the controller that replaces them, in the whole cluster."""

        async def ask(client: _Client) -> Counter[str]:
            found = client.list(PodResource, namespace=ALL_NS, chunk_size=PAGE_SIZE)
            return Counter([name async for pod in found if _is_ready(pod) and (name := _replaced_by(pod))])

        return await self._ask("list pods", ask)

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark that as ours, in one change; `False` if somebody else had done so."""

        async def ask(client: _Client) -> bool:
            found = await client.get(NodeResource, node)
            if found.spec.unschedulable:
                return CORDON_MARK in found.metadata.annotations
            await _change(client, found, mark=outage, unschedulable=True, dry_run=self._dry_run)
            return True

        return await self._ask("patch nodes", _until_settled(ask))

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable and take our mark away, in one change; `False` if it does not carry the mark."""

        async def ask(client: _Client) -> bool:
            found = await client.get(NodeResource, node)
            if CORDON_MARK not in found.metadata.annotations:
                return False
            await _change(client, found, mark=None, unschedulable=None, dry_run=self._dry_run)
            return True

        return await self._ask("patch nodes", _until_settled(ask))

    async def evict(self, pod: Pod) -> EvictionAnswer:
        """Ask for the pod's eviction; it ends within its own grace period."""

        async def ask(client: _Client) -> EvictionAnswer:
            eviction = PodEviction(
                metadata=ObjectMeta(name=pod.name, namespace=pod.namespace),
                deleteOptions=_delete_options(pod, dry_run=self._dry_run),
            )
            try:
                await client.create(eviction, pod.name, namespace=pod.namespace, dry_run=self._dry_run)
            except ApiError as error:
                if error.status.code == httpx2.codes.CONFLICT:
                    # Either the UID is another one's by now, or the server lost a race with itself.
                    return EvictionAnswer.NOT_NOW if await _exists(client, pod) else EvictionAnswer.GONE
                answer = _eviction_answer(error.status)
                if answer is None:
                    raise
                return answer
            return EvictionAnswer.ACCEPTED

        return await self._ask("evict pods", ask)

    async def delete(self, pod: Pod, grace_s: int) -> None:
        """Delete the pod past any budget; it has `grace_s` seconds left, or less if it is ending already."""

        async def ask(client: _Client) -> None:
            try:
                await client.delete_exactly(pod, _delete_options(pod, grace_s, dry_run=self._dry_run))
            except ApiError as error:
                if error.status.code not in (httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT):
                    raise

        await self._ask("delete pods", ask)

    async def _ask(self, what: str, request: Callable[[_Client], Awaitable[T]]) -> T:
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

    def _current_client(self) -> _Client:
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


class _Client(AsyncClient):
    async def delete_exactly(self, pod: Pod, options: DeleteOptions) -> None:
        """Delete the pod, if the preconditions hold, of which lightkube's own `delete` knows nothing."""
        request = self._client.prepare_request("delete", PodResource, name=pod.name, namespace=pod.namespace)
        request.data = options
        adapted = self._client.build_adapter_request(request)
        response = await self._client.send(adapted)  # type: ignore[no-untyped-call]  # lightkube left it bare
        self._client.handle_response("delete", response, request)


def _connected(kubeconfig: Path) -> _Client:
    try:
        config = KubeConfig.from_file(kubeconfig).get()
        # A connection for each request: none to close, and none that outlived a restart of the server.
        limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=0)
        transport = httpx2.AsyncHTTPTransport(verify=_tls(config), trust_env=False, limits=limits)
        # The one deadline is that of `_ask`; environment variables such as HTTPS_PROXY are not for us.
        return _Client(config, timeout=httpx2.Timeout(None), trust_env=False, transport=transport)
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


def _until_settled(ask: Callable[[_Client], Awaitable[bool]]) -> Callable[[_Client], Awaitable[bool]]:
    """The same, looked at anew and tried again while others change the object in between."""

    async def repeat(client: _Client) -> bool:
        for _ in range(CORDON_ATTEMPTS - 1):
            try:
                return await ask(client)
            except ApiError as error:
                if error.status.code != httpx2.codes.CONFLICT:
                    raise
        return await ask(client)

    return repeat


async def _change(
    client: _Client, node: NodeResource, *, mark: str | None, unschedulable: bool | None, dry_run: bool
) -> None:
    """One merge patch (`None` removes), refused if the node is no longer the one that was looked at."""
    patch = {
        "metadata": {"resourceVersion": node.metadata.resourceVersion, "annotations": {CORDON_MARK: mark}},
        "spec": {"unschedulable": unschedulable},
    }
    await client.patch(NodeResource, node.metadata.name, patch, patch_type=PatchType.MERGE, dry_run=dry_run)


def _delete_options(pod: Pod, grace_s: int | None = None, *, dry_run: bool) -> DeleteOptions:
    """For the pod with this UID and no other; in the body, where they count before what the address says."""
    return DeleteOptions(
        gracePeriodSeconds=grace_s,
        preconditions=Preconditions(uid=pod.uid),
        dryRun=["All"] if dry_run else None,
    )


async def _exists(client: _Client, pod: Pod) -> bool:
    try:
        found = await client.get(PodResource, pod.name, namespace=pod.namespace)
    except ApiError as error:
        if error.status.code == httpx2.codes.NOT_FOUND:
            return False
        raise
    return found.metadata.uid == pod.uid


def _eviction_answer(status: Status) -> EvictionAnswer | None:
    """What a refusal means for the pod; `None` if it says nothing about the pod."""
    causes = {cause.reason for cause in (status.details and status.details.causes) or ()}
    match status.code:
        case httpx2.codes.NOT_FOUND:
            return EvictionAnswer.GONE
        case httpx2.codes.TOO_MANY_REQUESTS:
            return EvictionAnswer.NOT_NOW
        case httpx2.codes.FORBIDDEN if "NamespaceTerminating" in causes:
            return EvictionAnswer.NEVER
        case httpx2.codes.INTERNAL_SERVER_ERROR if not status.reason:
            # Two budgets: the server's other internal errors have the reason InternalError.
            return EvictionAnswer.NEVER
    return None


def _node(found: NodeResource) -> Node:
    return Node(
        name=found.metadata.name,
        ready=_is_ready(found),
        unschedulable=found.spec.unschedulable,
        annotations=found.metadata.annotations,
    )


def _is_ready(found: NodeResource | PodResource) -> bool:
    return any(entry.type == "Ready" and entry.status == "True" for entry in found.status.conditions)


def _replaced_by(pod: PodResource) -> str | None:
    """The controller (`namespace/name`) that puts another pod in the place of this one, on whichever node."""
    if pod.metadata.deletionTimestamp is not None:
        return None
    owners = (owner for owner in pod.metadata.ownerReferences if owner.controller and owner.kind not in NOT_REPLACED)
    return next((f"{pod.metadata.namespace}/{owner.name}" for owner in owners), None)


def _pod(found: PodResource) -> Pod:
    metadata = found.metadata
    return Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        daemonset=any(owner.controller and owner.kind == "DaemonSet" for owner in metadata.ownerReferences),
        mirror=MIRROR_MARK in metadata.annotations,
        finished=found.status.phase in ("Succeeded", "Failed"),
        terminating=metadata.deletionTimestamp is not None,
        grace_s=found.spec.terminationGracePeriodSeconds,
    )
