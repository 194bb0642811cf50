"""The machines of the rack and the few things that a plan asks of them, as protocols.

The adapters in `upsd/rack/` and the simulated ones in the tests fit these protocols by shape. Every method
may raise `RackError`, whose text a person can act on, and may be cancelled at any await.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from upsd.domain.storage import Flushed, WrittenOut


class RackError(Exception):
    """A machine of the rack, or the way to it, did not do what was asked."""


class CommandError(RackError):
    """The machine was reached and let us in, and the command failed there."""


class ServerBusyError(RackError):
    """The server has too much to do, and says for how long (s) it wants to be left alone."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes node, as far as a shutdown cares."""

    name: str
    ready: bool
    unschedulable: bool
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod bound to a node.

    `file_servers` are the addresses in its own NFS volumes, `claims` its PersistentVolumeClaims (`namespace/name`).
    `ends_by` is when its grace is over, if it is being deleted.
    """

    namespace: str
    name: str
    uid: str
    node: str = ""
    daemonset: bool = False
    stateful_set: bool = False
    mirror: bool = False
    finished: bool = False
    terminating: bool = False
    ends_by: datetime | None = None
    grace_s: int = 30
    priority_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    file_servers: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """`namespace/name`, as people write it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PersistentVolume that is attached to a node."""

    volume: str
    node: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A `Deployment` or `StatefulSet`."""

    kind: str
    namespace: str
    name: str

    @property
    def full_name(self) -> str:
        """`namespace/name`, as people write it."""
        return f"{self.namespace}/{self.name}"


class EvictionAnswer(enum.Enum):
    """What the API server said to an eviction."""

    ACCEPTED = "accepted"
    GONE = "gone"
    """No such pod, or another one under its name."""
    AGAIN = "again"
    """Another change to the pod came in between."""
    BUDGET = "budget"
    """A disruption budget has none to give right now."""
    TWO_BUDGETS = "two-budgets"
    """More than one budget selects the pod, which no eviction gets past."""
    NAMESPACE = "namespace"
    """Its namespace is being deleted, and takes no eviction any more."""


class Cluster(Protocol):
    """The Kubernetes API, as far as a shutdown needs it."""

    async def nodes(self) -> Sequence[Node]:
        """All nodes."""

    async def heartbeats(self) -> Mapping[str, str]:
        """The date of each node's last report, as its own clock writes it: it changes while its kubelet lives."""

    async def cordon(self, node: str, outage: str) -> bool:
        """Make the node unschedulable and mark that as ours; `False`, and no mark, if it was so before."""

    async def uncordon(self, node: str) -> bool:
        """Make the node schedulable again if it carries our mark; `False`, and no change, if it does not."""

    async def pods(self, node: str | None = None) -> Sequence[Pod]:
        """The pods bound to the node, or to any node."""

    async def evict(self, pod: Pod, grace_s: int | None = None) -> EvictionAnswer:
        """Ask for the pod's eviction (`policy/v1`, with its UID as a precondition), with another grace than its own.

        Raises:
            ServerBusyError: it says nothing about the pod, and wants to be left alone for a while.
        """

    async def delete(self, pod: Pod, grace_s: int) -> None:
        """Delete the pod, past any disruption budget; a pod that is gone already is no error."""

    async def workloads(self) -> Mapping[str, int]:
        """How many pods are Ready, by the controller (`namespace/name`) that puts another in the place of each.

        What is bound to its node (DaemonSets, mirror pods), what ends by itself (Jobs) and pods that nobody replaces
        are not counted.
        """

    async def scale_to_zero(self, workload: Workload) -> bool:
        """Have it run no pods, and write down there how many it ran; `False`, and no change, if it ran none."""

    async def scale_back(self, workload: Workload) -> bool:
        """Have it run as many pods as we wrote down; `False`, and no change, if we did not or it is no more.

        Where somebody else has scaled it meanwhile, that stays, and only what we wrote down goes.
        """

    async def file_servers(self) -> Mapping[str, str]:
        """The address of the file server (NFS or SMB) behind each PersistentVolumeClaim (`namespace/name`) on one."""

    async def attachments(self) -> Sequence[Attachment]:
        """The volumes that are attached to nodes."""

    def rehearsed(self) -> Cluster:
        """The same cluster, asked the same, which answers as ever and changes nothing (a server-side dry run)."""


class PortAnswer(enum.Enum):
    """What comes back when a machine's SSH port is called."""

    ACCEPTS = "accepts"
    REFUSES = "refuses"
    """Its kernel runs, and its sshd does not."""
    SILENT = "silent"
    """Nothing comes back, as from a machine without power."""


class RemoteHost(Protocol):
    """A machine that is reached over SSH."""

    async def run(self, command: str) -> str:
        """Run a command; its standard output. A line cut by a machine that goes off is no error."""

    async def run_unforced(self, command: str) -> str:
        """Run a command, unless its sshd would run another one in its place; then an error, and nothing is run.

        A key can be tied to one command in `authorized_keys`. Then that is what runs, whatever is asked for: the
        power-off itself, perhaps.
        """

    async def call_port(self) -> PortAnswer:
        """What its SSH port answers right now, within a few seconds."""


class Waker(Protocol):
    """What switches one machine on from afar, over its network port."""

    async def wake(self) -> None:
        """Send the signal once; nobody says whether it was heard, and a machine that is on does not mind."""


class Storage(Protocol):
    """The NAS, as the master sees it."""

    async def flush(self, within_s: float) -> Flushed:
        """Write out, within so many seconds, what is cached here, and on the NAS where it can be asked."""

    async def unmount(self) -> WrittenOut:
        """Write out and unmount it here, wherever it is mounted; not mounted is no error. What this machine wrote."""

    async def detach(self) -> Sequence[str]:
        """Have the kernel forget, within two seconds, the mounts that `unmount` could not take off; which they were."""

    async def is_mounted(self) -> bool:
        """Whether it is mounted and answers."""

    async def also_mounted(self) -> Sequence[str]:
        """Where it is mounted here besides: what `unmount` takes off too, and `mount` does not bring back."""

    async def mount(self) -> None:
        """Mount it here, where the settings say; mounted already is no error."""

    async def mount_also(self, place: str) -> None:
        """Mount it in another place, where it was mounted before; mounted already is no error."""

    def rehearsed(self) -> Storage:
        """The same, for a rehearsal: over SSH nothing runs that might be another command than the one it is asked."""

    async def check_unmount(self) -> str:
        """Find out what would keep `unmount` from working, as far as that can be told without doing it.

        Returns what was found, for a person.
        """


class Datastore(Protocol):
    """What the k3s server on this machine keeps its state in, and that server."""

    async def snapshot(self, outage: str) -> str:
        """Have a checked snapshot in its place, named after the outage; what there is now, for a person."""

    async def check_snapshot(self) -> str:
        """The same, and keep nothing of it."""

    async def give_up(self, outage: str) -> None:
        """Have the snapshot that is being taken ended at once; none is no error."""

    async def stop(self) -> None:
        """Stop the server; stopped already is no error."""

    async def start(self) -> None:
        """Start the server; started already is no error."""

    async def check_stop(self) -> None:
        """Find out what would keep `stop` from working, as far as that can be told without doing it."""


class Outlets(Protocol):
    """The outlets of the UPS."""

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Switch them off after the delay, and on again that many minutes later, once there is mains.

        Returns whether the UPS has since shown that it will.
        """

    async def check_cycle(self) -> str:
        """Find out whether the UPS answers and can do it; what is known of that, for a person. Schedules nothing."""


class LocalHost(Protocol):
    """The machine that we run on."""

    async def poweroff(self) -> None:
        """Begin its orderly power-off."""

    async def check_poweroff(self) -> str:
        """Find out whether it would be allowed to; who says so, for a person."""
