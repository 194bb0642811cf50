"""What the ServiceAccount of config/k3s/upsd-rbac.yaml may do: just what the daemon does, and no verb more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from hardware_sim.kubernetes.rack import WORKERS
from tests.integration.brokers import until
from tests.integration.kubectl import DRAIN, installed_kubectl
from tests.integration.outage import DEADLINE_S, manifest_rights, scene, small_cluster
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster

if TYPE_CHECKING:
    from pathlib import Path


MOUNTED = {"UPSD_NAS__MOUNT": "/proc", "UPSD_NAS__UNMOUNT_COMMAND": '["true"]'}


async def test_no_verb_of_the_manifest_is_unused(tmp_path: Path) -> None:
    """A rehearsal, an outage and its undoing need them all; each scene of a whole outage fails on the first 403.

    One eviction meets another change to its pod, for which the pod is looked at.
    """
    cluster = small_cluster(stop_s=dict.fromkeys(WORKERS, 50.0))
    environment = MOUNTED | {"UPSD_KUBERNETES__DRAIN_LIMIT": "60s", "UPSD_RECOVERY__WORKLOADS_LIMIT": "2s"}
    async with scene(tmp_path / "rack", environment, cluster=cluster) as played:
        api = played.rack.kubernetes
        rights = api.rights
        assert rights
        await played.start_daemon()
        await played.heard("readiness_changed")
        code, said = await played.upsctl("rehearse", "--json")
        assert code == 0, said
        results = {step["step"]: step for step in json.loads(said)["results"]}
        assert {results[name]["state"] for name in ("cordon", "drain pi3", "drain pi4-a")} == {"done"}

        api.faults.refuse(409, method="POST", path="/eviction")
        await played.cut_mains()
        await until(lambda: any(right.verb == "get" and right.resource == "pods" for right in rights.used), DEADLINE_S)
        api.faults.clear()
        await until(lambda: any(call.code == 201 for call in api.requests), DEADLINE_S)
        played.rack.device.restore_mains()
        await played.heard("abort_finished")
        assert played.cordoned() == played.marked() == set()
        assert rights.used == rights.granted()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("list", "nodes"), "yes"),
        (("patch", "nodes/pi4-a"), "yes"),
        (("delete", "nodes"), "no"),
        (("watch", "nodes"), "no"),
        (("create", "pods", "--subresource=eviction"), "yes"),
        (("create", "pods"), "no"),
        (("list", "daemonsets.apps"), "no"),
    ],
)
async def test_kubectl_auth_can_i_agrees(tmp_path: Path, question: tuple[str, ...], answer: str) -> None:
    """With what the manifest says; asking is nobody's use of a right."""
    async with SimulatedKubernetes(small_cluster()) as api:
        api.rights = manifest_rights()
        kubectl = installed_kubectl(tmp_path / "home")
        code, output = await kubectl.run(api, "auth", "can-i", *question, "--all-namespaces")
        assert output.splitlines()[-1] == answer
        assert (code == 0) is (answer == "yes")
        assert not api.rights.used


async def test_what_is_outside_the_rights_is_refused_in_a_real_servers_words(tmp_path: Path) -> None:
    """Kubectl's own drain has to look at DaemonSets, and gets nowhere; listing nodes is allowed."""
    async with SimulatedKubernetes(small_cluster()) as api:
        api.rights = manifest_rights()
        kubectl = installed_kubectl(tmp_path / "home")
        assert (await kubectl.run(api, "get", "nodes"))[0] == 0
        user = 'User "system:serviceaccount:upsd:upsd" cannot'
        for command, denied in (
            (("get", "deployments", "-n", "home"), f'{user} list resource "deployments" in API group "apps" in the'),
            (("get", "pdb", "-A"), f'{user} list resource "poddisruptionbudgets" in API group "policy" at the cluster'),
            (("drain", "pi3", *DRAIN), f'{user} get resource "daemonsets" in API group "apps" in the namespace'),
        ):
            code, output = await kubectl.run(api, *command)
            assert (code, "Forbidden" in output or "forbidden" in output, denied in output) == (1, True, True), output
        assert len(api.rights.denied) == len([call for call in api.requests if call.code == 403]) >= 3


async def test_a_right_that_is_missing_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    """As on a rack on which an older manifest was applied."""
    cluster = SimulatedCluster()
    cluster.add_node("pi3")
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        rights = manifest_rights()
        rights.rules = tuple(rule for rule in rights.rules if "nodes" not in rule.resources)
        api.rights = rights
        with pytest.raises(RackError, match=r"403 Forbidden to list nodes: config/k3s/upsd-rbac\.yaml grants"):
            await KubernetesCluster(tmp_path / "kubeconfig", 5.0).nodes()
