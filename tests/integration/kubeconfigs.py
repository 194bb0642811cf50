"""Changing a kubeconfig by hand, as people do."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def editing(kubeconfig: Path) -> Iterator[Any]:
    """Change the kubeconfig by hand."""
    config = json.loads(kubeconfig.read_text())
    yield config
    kubeconfig.write_text(json.dumps(config))


def plain_kubeconfig(directory: Path, server: asyncio.Server) -> Path:
    """A kubeconfig for a server that speaks plain HTTP."""
    path = directory / "kubeconfig"
    SimulatedKubernetes(SimulatedCluster(), tls=False).write_kubeconfig(path)
    with editing(path) as config:
        config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return path
