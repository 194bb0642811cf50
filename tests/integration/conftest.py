"""What the tests with real servers share."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes
from tests.integration.boards import planned
from tests.integration.brokers import Broker, until
from upsd.control import ControlServer
from upsd.rack.kubernetes import KubernetesCluster
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from upsd.domain.rack import Cluster

REQUEST_TIMEOUT_S = 5.0


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port of loopback on which nobody listens."""

    def give() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return give


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with capture_logs() as events:
        yield events


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    """A coroutine function that waits until a condition holds, ten seconds at most unless told."""
    return until


@pytest.fixture
async def mosquitto(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Callable[..., Awaitable[Broker]]]:
    """A factory of running brokers.

    `authority` (a `trustme.CA`) makes it speak TLS with a certificate for `names`, `login` (user and password)
    makes it ask for that; with `started=False` it only has its port.
    """
    brokers: list[Broker] = []

    async def make(*, started: bool = True, **options: Any) -> Broker:
        directory = tmp_path / f"mosquitto-{len(brokers)}"
        directory.mkdir()
        broker = Broker(directory, free_port(), **options)
        brokers.append(broker)
        if started:
            await broker.start()
        return broker

    yield make
    for broker in brokers:
        await broker.stop()


@pytest.fixture
def control_socket() -> Iterator[Path]:
    """Where a daemon's socket goes: a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="upsd-") as directory:
        yield Path(directory) / "control.sock"


@pytest.fixture
async def board(control_socket: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StatusBoard]:
    """The board of a daemon whose socket upsctl finds in its environment."""
    monkeypatch.setenv("UPSD_CONTROL__SOCKET", str(control_socket))
    shown = StatusBoard("iplug")
    async with ControlServer(shown, control_socket, extra={"plan": planned}):
        yield shown


@pytest.fixture
async def api() -> AsyncIterator[SimulatedKubernetes]:
    """Two nodes; on `pi4-a` a database, a web server, a DaemonSet's pod, a mirror and a finished pod."""
    cluster = SimulatedCluster(start_s=0.0)
    cluster.add_node("pi4-a")
    cluster.add_node("pi4-b")
    slow = PodTemplate(node="pi4-a", stop_s=600.0, grace_s=90)
    cluster.add_workload("StatefulSet", "data", "postgres", slow)
    cluster.add_workload("Deployment", "web", "nginx", slow)
    cluster.add_workload("DaemonSet", "monitoring", "node-exporter")
    cluster.add_mirror_pod("kube-system", "kube-vip", "pi4-a")
    cluster.add_finished_job("web", "migrate", "pi4-a")
    cluster.advance(1.0)
    async with SimulatedKubernetes(cluster) as running:
        yield running


@pytest.fixture
def kubeconfig(api: SimulatedKubernetes, tmp_path: Path) -> Path:
    """A kubeconfig for the running API."""
    path = tmp_path / "kubeconfig"
    api.write_kubeconfig(path)
    return path


@pytest.fixture
def rack(kubeconfig: Path) -> Cluster:
    """The adapter, as the plan sees it."""
    return KubernetesCluster(kubeconfig, REQUEST_TIMEOUT_S)
