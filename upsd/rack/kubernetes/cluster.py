"""What `upsd.domain.rack.Cluster` asks of a k3s cluster.

Every eviction and deletion carries the pod's UID, because the successor of a StatefulSet's pod has its name. Nothing is
tried again here but a change that another one overtook.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import httpx2
from lightkube import ALL_NS, ApiError
from lightkube.models.meta_v1 import DeleteOptions, ObjectMeta, Preconditions
from lightkube.operators import not_equal
from lightkube.resources.core_v1 import PodEviction
from lightkube.types import PatchType

from upsd.domain.rack import EvictionAnswer, ServerBusyError
from upsd.rack.kubernetes.access import Access
from upsd.rack.kubernetes.answers import eviction_answer, retry_after_s
from upsd.rack.kubernetes.attachments import AttachmentResource, attachment_of
from upsd.rack.kubernetes.leases import NODE_NAMESPACE, LeaseResource
from upsd.rack.kubernetes.objects import CORDON_MARK, NodeResource, PodResource, is_ready, node_of, pod_of, replaced_by
from upsd.rack.kubernetes.volumes import VolumeResource, file_server_of
from upsd.rack.kubernetes.workloads import REPLICAS_MARK, WORKLOAD_RESOURCES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from lightkube.operators import BinaryOperator, SequenceOperator

    from upsd.domain.rack import Attachment, Node, Pod, Workload
    from upsd.rack.kubernetes.access import Client
    from upsd.rack.kubernetes.objects import Metadata

T = TypeVar("T")

CORDON_ATTEMPTS = 3
PAGE_SIZE = 500


class KubernetesCluster:
    """A cluster that is reached by a kubeconfig; fits `upsd.domain.rack.Cluster`."""

    def __init__(self, kubeconfig: Path, request_timeout_s: float, servers: Sequence[str] = ()) -> None:
        """As of `Access`."""
        self._access = Access(kubeconfig, request_timeout_s, servers)
        self._dry_run = False

    def warnings(self, now: datetime) -> list[str]:
        """What a person should mend before an outage comes, as of this date."""
        return self._access.warnings(now)

    def rehearsed(self) -> KubernetesCluster:
        """The same, with every change a server-side dry run: judged as ever, and not kept."""
        cluster = copy.copy(self)
        cluster._dry_run = True  # noqa: SLF001 - it is one of us
        return cluster

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""

        async def ask(client: Client) -> list[Node]:
            return [node_of(found) async for found in client.list(NodeResource, chunk_size=PAGE_SIZE)]

        return await self._ask("list nodes", ask)

    async def heartbeats(self) -> Mapping[str, str]:
        """When each node's Lease was last renewed."""

        async def ask(client: Client) -> dict[str, str]:
            leases = client.list(LeaseResource, namespace=NODE_NAMESPACE, chunk_size=PAGE_SIZE)
            return {lease.metadata.name: lease.spec.renewTime async for lease in leases}

        return await self._ask("list leases", ask)

    async def pods(self, node: str | None = None) -> Sequence[Pod]:
        """The pods bound to the node, or to any node, of all namespaces.

        Pods that are bound to none are left out by the server: with every node cordoned there is one more of them for
        each that ends.
        """
        bound: dict[str, str | BinaryOperator | SequenceOperator] = {"spec.nodeName": node or not_equal("")}

        async def ask(client: Client) -> list[Pod]:
            pods = client.list(PodResource, namespace=ALL_NS, fields=bound, chunk_size=PAGE_SIZE)
            return [pod_of(found) async for found in pods]

        return await self._ask("list pods", ask)

    async def workloads(self) -> Mapping[str, int]:
        """How many pods are Ready, by the controller that replaces them, in the whole cluster."""

        async def ask(client: Client) -> Counter[str]:
            found = client.list(PodResource, namespace=ALL_NS, chunk_size=PAGE_SIZE)
            return Counter([name async for pod in found if is_ready(pod) and (name := replaced_by(pod))])

        return await self._ask("list pods", ask)

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark that as ours, in one change; `False` if somebody else had done so."""

        async def ask(client: Client) -> bool:
            found = await client.get(NodeResource, node)
            if found.spec.unschedulable:
                return CORDON_MARK in found.metadata.annotations
            await _change(client, found, mark=outage, unschedulable=True, dry_run=self._dry_run)
            return True

        return await self._ask("patch nodes", _until_settled(ask))

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable and take our mark away, in one change; `False` if it does not carry the mark."""

        async def ask(client: Client) -> bool:
            found = await client.get(NodeResource, node)
            if CORDON_MARK not in found.metadata.annotations:
                return False
            await _change(client, found, mark=None, unschedulable=None, dry_run=self._dry_run)
            return True

        return await self._ask("patch nodes", _until_settled(ask))

    async def evict(self, pod: Pod, grace_s: int | None = None) -> EvictionAnswer:
        """Ask for the pod's eviction; it ends within its own grace period, or within `grace_s`."""

        async def ask(client: Client) -> EvictionAnswer:
            eviction = PodEviction(
                metadata=ObjectMeta(name=pod.name, namespace=pod.namespace),
                deleteOptions=_delete_options(pod, grace_s, dry_run=self._dry_run),
            )
            try:
                await client.create(eviction, pod.name, namespace=pod.namespace, dry_run=self._dry_run)
            except ApiError as error:
                if error.status.code == httpx2.codes.CONFLICT:
                    # Either the UID is another one's by now, or the server lost a race with itself.
                    return EvictionAnswer.AGAIN if await _exists(client, pod) else EvictionAnswer.GONE
                answer = eviction_answer(error.status)
                if answer is None:
                    raise
                return answer
            return EvictionAnswer.ACCEPTED

        return await self._ask("evict pods", ask)

    async def delete(self, pod: Pod, grace_s: int) -> None:
        """Delete the pod past any budget; it has `grace_s` seconds left, or less if it is ending already."""

        async def ask(client: Client) -> None:
            try:
                await client.delete_exactly(pod, _delete_options(pod, grace_s, dry_run=self._dry_run))
            except ApiError as error:
                if error.status.code not in (httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT):
                    raise

        await self._ask("delete pods", ask)

    async def scale_to_zero(self, workload: Workload) -> bool:
        """Set its replicas to 0 and write them down, in one change."""

        async def ask(client: Client) -> bool:
            found = await client.get(WORKLOAD_RESOURCES[workload.kind], workload.name, namespace=workload.namespace)
            if REPLICAS_MARK in found.metadata.annotations or not found.spec.replicas:
                return REPLICAS_MARK in found.metadata.annotations
            mark = str(found.spec.replicas)
            await _scale(client, workload, found.metadata, mark=mark, replicas=0, dry_run=self._dry_run)
            return True

        return await self._ask(f"scale {workload.full_name} to zero", _until_settled(ask))

    async def scale_back(self, workload: Workload) -> bool:
        """Set its replicas to what was written down, and take that away, in one change."""

        async def ask(client: Client) -> bool:
            try:
                found = await client.get(WORKLOAD_RESOURCES[workload.kind], workload.name, namespace=workload.namespace)
            except ApiError as error:
                if error.status.code == httpx2.codes.NOT_FOUND:
                    return False
                raise
            mark = found.metadata.annotations.get(REPLICAS_MARK)
            if mark is None:
                return False
            replicas = found.spec.replicas or int(mark)
            await _scale(client, workload, found.metadata, mark=None, replicas=replicas, dry_run=self._dry_run)
            return True

        return await self._ask(f"scale {workload.full_name} back", _until_settled(ask))

    async def file_servers(self) -> Mapping[str, str]:
        """The address of the file server behind each claim that is on one, by the PersistentVolumes."""

        async def ask(client: Client) -> dict[str, str]:
            volumes = client.list(VolumeResource, chunk_size=PAGE_SIZE)
            return dict([known async for volume in volumes if (known := file_server_of(volume))])

        return await self._ask("list persistentvolumes", ask)

    async def attachments(self) -> Sequence[Attachment]:
        """The volumes that are attached to nodes."""

        async def ask(client: Client) -> list[Attachment]:
            return [attachment_of(found) async for found in client.list(AttachmentResource, chunk_size=PAGE_SIZE)]

        return await self._ask("list volumeattachments", ask)

    async def _ask(self, what: str, request: Callable[[Client], Awaitable[T]]) -> T:
        """Ask, and tell a server that is too busy from one that fails."""

        async def ask(client: Client) -> T:
            try:
                return await request(client)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
                    raise
                pause_s = retry_after_s(error)
                busy = f"the Kubernetes API at {client.config.cluster.server} is too busy to {what}"
                told = f"{busy} and wants to be left alone for {pause_s:g} s: is k3s overloaded?"
                raise ServerBusyError(told, pause_s) from error

        return await self._access.ask(what, ask)


def _until_settled(ask: Callable[[Client], Awaitable[bool]]) -> Callable[[Client], Awaitable[bool]]:
    """The same, looked at anew and tried again while others change the object in between."""

    async def repeat(client: Client) -> bool:
        for _ in range(CORDON_ATTEMPTS - 1):
            try:
                return await ask(client)
            except ApiError as error:
                if error.status.code != httpx2.codes.CONFLICT:
                    raise
        return await ask(client)

    return repeat


async def _change(
    client: Client, node: NodeResource, *, mark: str | None, unschedulable: bool | None, dry_run: bool
) -> None:
    """One merge patch (`None` removes), refused if the node is no longer the one that was looked at."""
    patch = {
        "metadata": {"resourceVersion": node.metadata.resourceVersion, "annotations": {CORDON_MARK: mark}},
        "spec": {"unschedulable": unschedulable},
    }
    await client.patch(NodeResource, node.metadata.name, patch, patch_type=PatchType.MERGE, dry_run=dry_run)


async def _scale(
    client: Client, workload: Workload, found: Metadata, *, mark: str | None, replicas: int, dry_run: bool
) -> None:
    """One merge patch, refused if the workload is no longer the one that was looked at."""
    patch = {
        "metadata": {"resourceVersion": found.resourceVersion, "annotations": {REPLICAS_MARK: mark}},
        "spec": {"replicas": replicas},
    }
    resource = WORKLOAD_RESOURCES[workload.kind]
    await client.patch(
        resource, workload.name, patch, namespace=workload.namespace, patch_type=PatchType.MERGE, dry_run=dry_run
    )


def _delete_options(pod: Pod, grace_s: int | None = None, *, dry_run: bool) -> DeleteOptions:
    """For the pod with this UID and no other; in the body, where they count before what the address says."""
    return DeleteOptions(
        gracePeriodSeconds=grace_s,
        preconditions=Preconditions(uid=pod.uid),
        dryRun=["All"] if dry_run else None,
    )


async def _exists(client: Client, pod: Pod) -> bool:
    try:
        found = await client.get(PodResource, pod.name, namespace=pod.namespace)
    except ApiError as error:
        if error.status.code == httpx2.codes.NOT_FOUND:
            return False
        raise
    return found.metadata.uid == pod.uid
