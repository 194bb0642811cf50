"""What the cluster's administrator does for upsd, against the simulated API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes.rbac import Rights, Rule
from tests.integration.kubectl import installed_kubectl
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster, administration
from upsd.rack.kubernetes.administration import Administration

if TYPE_CHECKING:
    from hardware_sim.kubernetes import SimulatedKubernetes

MANIFEST = (Path(__file__).parents[2] / "config/k3s/upsd-rbac.yaml").read_text(encoding="utf-8")


async def test_nodes_are_as_their_kubelets_describe_them(api: SimulatedKubernetes, kubeconfig: Path) -> None:
    """The servers first, with the address that needs no name server."""
    server = {"node-role.kubernetes.io/control-plane": "true"}
    api.cluster.add_node("z-master", architecture="amd64", labels=server)
    nodes = await Administration(kubeconfig).nodes()
    assert [node.name for node in nodes] == ["z-master", "pi4-a", "pi4-b"]
    master, worker, _ = nodes
    assert (master.is_server, master.architecture, worker.is_server) == (True, "amd64", False)
    assert (worker.address, worker.memory_mib) == ("192.168.10.10", 3793)


async def test_the_rights_are_granted_once(api: SimulatedKubernetes, kubeconfig: Path, tmp_path: Path) -> None:
    """What is there already is not changed; what somebody has taken away comes back; the new kubeconfig works."""
    administrator = Administration(kubeconfig)
    assert await administrator.apply(MANIFEST) == (
        "Namespace upsd",
        "ServiceAccount upsd",
        "Secret upsd-token",
        "ClusterRole upsd",
        "ClusterRoleBinding upsd",
    )
    ours = tmp_path / "ours"
    ours.write_text(administrator.kubeconfig_for(await administrator.token()))
    assert {node.name for node in await KubernetesCluster(ours, 5.0).nodes()} == {"pi4-a", "pi4-b"}

    role = api.cluster.store.get("clusterroles", "", "upsd")
    role["rules"] = role["rules"][1:]
    api.cluster.store.put("clusterroles", role)
    with pytest.raises(RackError, match="403 Forbidden to list nodes"):
        await KubernetesCluster(ours, 5.0).nodes()
    assert await administrator.apply(MANIFEST) == ("ClusterRole upsd",)
    assert await administrator.apply(MANIFEST) == ()


async def test_kubectl_takes_the_kubeconfig(api: SimulatedKubernetes, kubeconfig: Path, tmp_path: Path) -> None:
    """It has the server and its CA of the administrator's, and the token of the account."""
    administrator = Administration(kubeconfig)
    await administrator.apply(MANIFEST)
    ours = tmp_path / "ours"
    ours.write_text(administrator.kubeconfig_for(await administrator.token()))
    kubectl = installed_kubectl(tmp_path / "home")
    code, said = await kubectl.run(api, "get", "nodes", f"--kubeconfig={ours}")
    assert (code, "pi4-a" in said) == (0, True), said
    code, said = await kubectl.run(api, "get", "secrets", "--all-namespaces", f"--kubeconfig={ours}")
    assert (code, 'User "system:serviceaccount:upsd:upsd" cannot list' in said) == (1, True), said


async def test_somebody_who_may_not_is_told_whose_kubeconfig_it_takes(
    api: SimulatedKubernetes, kubeconfig: Path
) -> None:
    """Not to apply the manifest, which is what he tries."""
    api.rights = Rights("alice", (Rule(frozenset([""]), frozenset(["nodes"]), frozenset(["get"])),))
    with pytest.raises(RackError, match=r"403 Forbidden to list nodes: .* is not the administrator's"):
        await Administration(kubeconfig).nodes()


async def test_a_token_that_never_comes_is_told(
    api: SimulatedKubernetes, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made by a controller, which may not run."""
    monkeypatch.setattr(administration, "_TOKEN_S", 0.5)
    administrator = Administration(kubeconfig)
    await administrator.apply(MANIFEST.replace("type: kubernetes.io/service-account-token", "type: Opaque"))
    with pytest.raises(RackError, match="made no token for the Secret upsd/upsd-token"):
        await administrator.token()
    assert api.cluster.store.get("secrets", "upsd", "upsd-token")["type"] == "Opaque"
