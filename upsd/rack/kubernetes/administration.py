"""What a cluster's administrator does once for upsd: look at the nodes, grant the rights, and take the token.

The daemon has no right to any of this. It is asked for with the administrator's own kubeconfig, by `upsctl setup`.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, ConfigError
from lightkube.codecs import load_all_yaml
from lightkube.core.resource import ApiInfo, GlobalResource, NamespacedResourceG, ResourceDef

from upsd.domain.rack import RackError
from upsd.rack.kubernetes import kubeconfig as kubeconfigs
from upsd.rack.kubernetes.access import Access
from upsd.rack.kubernetes.objects import Metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from upsd.rack.kubernetes.access import Client

T = TypeVar("T")

FIELD_MANAGER = "upsctl-setup"
NAMESPACE, ACCOUNT, SECRET = "upsd", "upsd", "upsd-token"
_REQUEST_S = 10.0
_TOKEN_S = 20.0
_TOKEN_PAUSE_S = 0.2
_SERVER_ROLES = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as its kubelet describes it; `memory_mib` is 0 where it does not say."""

    name: str
    address: str
    is_server: bool
    architecture: str
    os_image: str
    kernel: str
    memory_mib: int


class _Address(msgspec.Struct, frozen=True):
    type: str
    address: str


class _System(msgspec.Struct, frozen=True):
    architecture: str = ""
    osImage: str = ""  # noqa: N815 -- the API's name
    kernelVersion: str = ""  # noqa: N815


class _Description(msgspec.Struct, frozen=True):
    addresses: list[_Address] = []
    capacity: dict[str, str] = {}
    nodeInfo: _System = _System()  # noqa: N815


class _Node(GlobalResource, msgspec.Struct, frozen=True):
    metadata: Metadata
    status: _Description = _Description()

    _api_info = ApiInfo(ResourceDef("", "v1", "Node"), "nodes", ["list"])


class _Secret(NamespacedResourceG, msgspec.Struct, frozen=True):
    metadata: Metadata
    data: dict[str, str] = {}

    _api_info = ApiInfo(ResourceDef("", "v1", "Secret"), "secrets", ["get"])


class Administration:
    """The cluster, as the holder of this kubeconfig may treat it. Every method raises `RackError`."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._access = Access(kubeconfig, _REQUEST_S)

    async def nodes(self) -> tuple[ClusterNode, ...]:
        """All nodes, the servers first, each kind by name."""

        async def ask(client: Client) -> list[ClusterNode]:
            return [_node_of(found) async for found in client.list(_Node)]

        found = await self._ask("list nodes", ask)
        return tuple(sorted(found, key=lambda node: (not node.is_server, node.name)))

    async def apply(self, manifest: str) -> tuple[str, ...]:
        """Apply the objects (YAML) from the first to the last; what was made or changed, such as `ClusterRole upsd`."""
        objects: list[Any] = load_all_yaml(manifest)  # of classes that only lightkube knows
        named = [(f"{item.kind} {item.metadata.name}", item) for item in objects]
        return tuple([name for name, item in named if await self._ask(f"apply the {name}", _applying(item))])

    async def token(self) -> str:
        """The token of the manifest's ServiceAccount, as soon as the cluster has made it."""

        async def ask(client: Client) -> str:
            secret = await client.get(_Secret, SECRET, namespace=NAMESPACE)
            return base64.b64decode(secret.data.get("token", "")).decode()

        loop = asyncio.get_running_loop()
        over_at = loop.time() + _TOKEN_S
        while loop.time() < over_at:
            if token := await self._ask(f"get the Secret {SECRET}", ask):
                return token
            await asyncio.sleep(_TOKEN_PAUSE_S)
        raise RackError(
            f"the cluster made no token for the Secret {NAMESPACE}/{SECRET} within {_TOKEN_S:.0f} s: is its controller"
            " manager running? See `journalctl -u k3s`"
        )

    def kubeconfig_for(self, token: str) -> str:
        """A kubeconfig (YAML) for the ServiceAccount, with the same server and its CA."""
        try:
            config, _, _ = kubeconfigs.read(self._kubeconfig)
            authority = config.cluster.certificate_auth_data
            if config.cluster.certificate_auth and not authority:
                certificate = Path(config.abs_file(config.cluster.certificate_auth))
                authority = base64.b64encode(certificate.read_bytes()).decode()
        except (ConfigError, OSError) as error:
            raise RackError(f"{self._kubeconfig} cannot be used as a kubeconfig any more: {error}") from error
        lines = [f"    certificate-authority-data: {authority}"] if authority else []
        return "\n".join(
            [
                "# The way into the cluster of upsd alone, made by `upsctl setup`: see docs/kubernetes.md.",
                "apiVersion: v1",
                "kind: Config",
                "current-context: upsd",
                "contexts:",
                "- name: upsd",
                "  context: {cluster: k3s, user: upsd}",
                "clusters:",
                "- name: k3s",
                "  cluster:",
                f"    server: {config.cluster.server}",
                *lines,
                "users:",
                "- name: upsd",
                "  user:",
                f"    token: {token}",
                "",
            ]
        )

    async def _ask(self, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        async def judged(client: Client) -> T:
            try:
                return await request(client)
            except ApiError as error:
                if error.response.status_code != httpx2.codes.FORBIDDEN:
                    raise
                raise RackError(
                    f"the Kubernetes API answered 403 Forbidden to {what}: {self._kubeconfig} is not the"
                    " administrator's; name the one that k3s makes on a server, /etc/rancher/k3s/k3s.yaml"
                ) from error

        return await self._access.ask(what, judged)


def _applying(item: Any) -> Callable[[Client], Awaitable[bool]]:
    """A request that applies the object and says whether that changed anything."""

    async def apply(client: Client) -> bool:
        kind, name, namespace = type(item), item.metadata.name, item.metadata.namespace
        where = {"namespace": namespace} if namespace else {}
        try:
            before = (await client.get(kind, name, **where)).metadata.resourceVersion
        except ApiError as error:
            if error.response.status_code != httpx2.codes.NOT_FOUND:
                raise
            before = None
        applied: Any = await client.apply(item, field_manager=FIELD_MANAGER, force=True)
        return bool(applied.metadata.resourceVersion != before)

    return apply


def _node_of(found: _Node) -> ClusterNode:
    addresses = {entry.type: entry.address for entry in reversed(found.status.addresses)}
    system = found.status.nodeInfo
    return ClusterNode(
        name=found.metadata.name,
        address=addresses.get("InternalIP") or addresses.get("Hostname") or found.metadata.name,
        is_server=any(role in found.metadata.labels for role in _SERVER_ROLES),
        architecture=system.architecture,
        os_image=system.osImage,
        kernel=system.kernelVersion,
        memory_mib=_mebibytes(found.status.capacity.get("memory", "")),
    )


def _mebibytes(quantity: str) -> int:
    """Of a quantity as kubelets write it, such as `3884364Ki`."""
    return int(quantity.removesuffix("Ki")) // 1024 if quantity.removesuffix("Ki").isdecimal() else 0
