"""The kubeconfig: missing, broken, renewed, and never in an error with its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from tests.integration.kubeconfigs import editing
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from upsd.domain.rack import Cluster

TIMEOUT_S = 5.0


@pytest.fixture
async def api() -> AsyncIterator[SimulatedKubernetes]:
    """A cluster of two nodes."""
    cluster = SimulatedCluster()
    cluster.add_node("pi4-a")
    cluster.add_node("pi4-b")
    async with SimulatedKubernetes(cluster) as running:
        yield running


@pytest.fixture
async def rack(kubeconfig: Path) -> Cluster:
    """The adapter, after a first call that worked."""
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    await rack.nodes()
    return rack


async def test_a_kubeconfig_that_is_missing_may_come_later(api: SimulatedKubernetes, tmp_path: Path) -> None:
    """The daemon starts before k3s has ever run, and the calls work as soon as the file is there."""
    path = tmp_path / "kubeconfig"
    rack = KubernetesCluster(path, TIMEOUT_S)
    with pytest.raises(RackError, match=r"kubeconfig cannot be used as a kubeconfig .* see config/k3s/"):
        await rack.nodes()
    api.write_kubeconfig(path)
    assert len(await rack.nodes()) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "clusters: 5", "apiVersion: v1\nclusters: []\ncontexts: []\ncurrent-context: default"]
)
async def test_a_kubeconfig_of_nonsense_is_told(tmp_path: Path, text: str) -> None:
    """By name, whatever is wrong with it."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(RackError, match="kubeconfig cannot be used as a kubeconfig"):
        await KubernetesCluster(path, TIMEOUT_S).nodes()


async def test_a_broken_kubeconfig_is_told_without_its_secrets(tmp_path: Path) -> None:
    """The error goes to the log and to MQTT."""
    path = tmp_path / "kubeconfig"
    path.write_text("users:\n- user: {token: geheim: geheim\n")
    with pytest.raises(RackError) as caught:
        await KubernetesCluster(path, TIMEOUT_S).nodes()
    assert "geheim" not in str(caught.value)


async def test_a_kubeconfig_without_a_user_is_told(api: SimulatedKubernetes, kubeconfig: Path) -> None:
    """Lightkube itself would end in an assertion."""
    with editing(kubeconfig) as config:
        del config["contexts"][0]["context"]["user"]
    with pytest.raises(RackError, match="its current context names no user"):
        await KubernetesCluster(kubeconfig, TIMEOUT_S).nodes()
    assert api.requests == []


async def test_a_renewed_token_is_taken_up(api: SimulatedKubernetes, rack: Cluster, kubeconfig: Path) -> None:
    """Without a restart of the daemon; until the file has it, the error says what is missing."""
    api.token = "renewed"
    with pytest.raises(RackError, match="401 Unauthorized to list nodes: renew the credentials in"):
        await rack.nodes()
    api.write_kubeconfig(kubeconfig)
    assert len(await rack.nodes()) == 2


async def test_credentials_in_files_of_their_own_are_read_again_when_refused(
    api: SimulatedKubernetes, kubeconfig: Path, tmp_path: Path
) -> None:
    """The kubeconfig itself does not change when the token file beside it does."""
    token = tmp_path / "token"
    token.write_text(api.token or "")
    with editing(kubeconfig) as config:
        config["users"][0]["user"] = {"tokenFile": str(token)}
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    await rack.nodes()
    api.token = "renewed"
    token.write_text(api.token)
    assert len(await rack.nodes()) == 2


def leave_half(kubeconfig: Path) -> None:
    """As a reader finds the file in the middle of its being written."""
    kubeconfig.write_text(kubeconfig.read_text()[:40])


@pytest.mark.parametrize("damage", [leave_half, Path.unlink])
async def test_a_kubeconfig_that_breaks_does_not_break_what_works(
    rack: Cluster, kubeconfig: Path, damage: Callable[[Path], None]
) -> None:
    """k3s rewrites the file at each start: meanwhile the old connection stays in use."""
    damage(kubeconfig)
    assert len(await rack.nodes()) == 2
