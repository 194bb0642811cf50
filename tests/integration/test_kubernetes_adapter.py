"""The adapter to the Kubernetes API, over HTTPS and with a token, against the simulated cluster."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes, objects, reference_cluster
from hardware_sim.kubernetes.identity import ServerIdentity, fresh_identity
from tests.integration.kubeconfigs import plain_kubeconfig
from upsd.domain.rack import Attachment, EvictionAnswer, Pod, RackError, Workload
from upsd.rack.kubernetes import CORDON_MARK, KubernetesCluster

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.domain.rack import Cluster

TIMEOUT_S = 5.0


async def pod_named(rack: Cluster, name: str) -> Pod:
    """The pod on `pi4-a` whose name begins so."""
    return next(pod for pod in await rack.pods("pi4-a") if pod.name.startswith(name))


def patches(api: SimulatedKubernetes) -> int:
    """How many changes to objects were asked for."""
    return sum(request.method == "PATCH" for request in api.requests)


async def test_nodes_show_readiness_cordon_and_marks(api: SimulatedKubernetes, rack: Cluster) -> None:
    """What a plan needs to know of each node."""
    await rack.cordon("pi4-a", "outage-1")
    api.cluster.node_down("pi4-b")
    api.cluster.advance(3600.0)
    first, second = await rack.nodes()
    assert (first.name, first.ready, first.unschedulable) == ("pi4-a", True, True)
    assert first.annotations[CORDON_MARK] == "outage-1"
    assert (second.name, second.ready, second.unschedulable) == ("pi4-b", False, False)


async def test_a_heartbeat_changes_as_long_as_the_machine_runs(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Long before Kubernetes calls its node NotReady."""
    first = await rack.heartbeats()
    api.cluster.node_down("pi4-b")
    api.cluster.advance(api.cluster.now + 15.0)
    second = await rack.heartbeats()
    assert first.keys() == second.keys() == {"pi4-a", "pi4-b"}
    assert second["pi4-a"] > first["pi4-a"]
    assert second["pi4-b"] == first["pi4-b"]
    assert all(node.ready for node in await rack.nodes())


async def test_pods_are_those_of_the_node_with_what_a_drain_asks_of_them(rack: Cluster) -> None:
    """Of all namespaces, with the sorts that are left alone told apart."""
    pods = {pod.name.split("-")[0]: pod for pod in await rack.pods("pi4-a")}
    assert sorted(pods) == ["kube", "migrate", "nginx", "node", "postgres"]
    assert [name for name, pod in pods.items() if pod.daemonset] == ["node"]
    assert [name for name, pod in pods.items() if pod.mirror] == ["kube"]
    assert [name for name, pod in pods.items() if pod.finished] == ["migrate"]
    assert pods["postgres"].full_name == "data/postgres-0"
    assert pods["postgres"].grace_s == 90


async def test_workloads_are_counted_by_what_replaces_their_pods(rack: Cluster) -> None:
    """Neither what is bound to its node nor what ends by itself is waited for after an outage."""
    counts = await rack.workloads()
    assert sorted(name.rpartition("-")[0] or name for name in counts) == ["data/postgres", "web/nginx"]
    assert set(counts.values()) == {1}
    await rack.cordon("pi4-a", "outage-1")
    await rack.delete(await pod_named(rack, "postgres"), 0)
    assert "data/postgres" not in await rack.workloads()
    assert len(await rack.workloads()) == 1


async def test_lists_longer_than_a_page_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with more pods than fit into one answer is drained of all of them."""
    monkeypatch.setattr("upsd.rack.kubernetes.cluster.PAGE_SIZE", 3)
    cluster = reference_cluster()
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        pods = await KubernetesCluster(tmp_path / "kubeconfig", TIMEOUT_S).pods("pi3")
    assert len(pods) > 3
    assert {pod.uid for pod in pods} == {pod["metadata"]["uid"] for pod in cluster.pods_on("pi3")}


async def test_cordon_marks_the_node_in_the_same_change(api: SimulatedKubernetes, rack: Cluster) -> None:
    """There is no instant at which the node is cordoned by nobody."""
    assert await rack.cordon("pi4-a", "outage-1")
    assert patches(api) == 1
    assert api.cluster.is_cordoned("pi4-a")
    assert api.cluster.node("pi4-a")["metadata"]["annotations"] == {CORDON_MARK: "outage-1"}


async def test_a_second_cordon_changes_nothing(api: SimulatedKubernetes, rack: Cluster) -> None:
    """A daemon that was restarted may ask again, and the node is still ours."""
    await rack.cordon("pi4-a", "outage-1")
    assert await rack.cordon("pi4-a", "outage-1")
    assert patches(api) == 1


async def test_a_cordon_of_somebody_else_is_left_alone(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Neither marked in the outage nor lifted after it."""
    node = api.cluster.node("pi4-a")
    node["spec"]["unschedulable"] = True
    api.cluster.node_changed(node)
    assert not await rack.cordon("pi4-a", "outage-1")
    assert not await rack.uncordon("pi4-a")
    assert patches(api) == 0
    assert api.cluster.is_cordoned("pi4-a")


async def test_uncordon_takes_cordon_and_mark_away_together(api: SimulatedKubernetes, rack: Cluster) -> None:
    """And a second one has nothing to do."""
    await rack.cordon("pi4-a", "outage-1")
    assert await rack.uncordon("pi4-a")
    assert patches(api) == 2
    assert not api.cluster.is_cordoned("pi4-a")
    assert api.cluster.node("pi4-a")["metadata"]["annotations"] == {}
    assert not await rack.uncordon("pi4-a")


async def test_a_change_that_was_overtaken_is_made_anew(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Somebody else's change to the node between our look and our patch costs one more try, and is kept."""
    api.faults.latency_s = 0.02
    cordoning = asyncio.create_task(rack.cordon("pi4-a", "outage-1"))
    await api.until(lambda: len(api.requests) == 2)
    node = api.cluster.node("pi4-a")
    node["metadata"]["labels"]["changed"] = "meanwhile"
    api.cluster.node_changed(node)
    assert await cordoning
    assert patches(api) == 2
    assert api.cluster.is_cordoned("pi4-a")
    assert api.cluster.node("pi4-a")["metadata"]["labels"]["changed"] == "meanwhile"


async def test_a_node_that_is_unknown_is_told_with_advice(rack: Cluster) -> None:
    """A misspelt worker in the settings."""
    with pytest.raises(RackError, match=r"404 Not Found to patch nodes: compare the names in upsd\.toml"):
        await rack.cordon("pi9", "outage-1")


async def test_an_eviction_begins_the_pods_own_grace_period(api: SimulatedKubernetes, rack: Cluster) -> None:
    """It carries the UID, and the pod shows as terminating from then on."""
    pod = await pod_named(rack, "postgres")
    assert await rack.evict(pod) is EvictionAnswer.ACCEPTED
    request = api.requests[-1]
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/data/pods/postgres-0/eviction")
    assert request.body["apiVersion"] == "policy/v1"
    assert request.body["deleteOptions"]["preconditions"] == {"uid": pod.uid}
    assert (await pod_named(rack, "postgres")).terminating
    assert api.cluster.pod("data", "postgres-0")["metadata"]["deletionGracePeriodSeconds"] == 90


async def test_a_pod_that_is_gone_needs_no_eviction(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Whether its name is free or has gone to a successor."""
    pod = await pod_named(rack, "postgres")
    assert await rack.evict(Pod("data", "other-0", "uid")) is EvictionAnswer.GONE
    api.cluster.delete_pod(api.cluster.pod("data", "postgres-0"), 0)
    assert await rack.evict(pod) is EvictionAnswer.GONE
    assert not objects.is_terminating(api.cluster.pod("data", "postgres-0"))


async def test_a_conflict_that_is_not_about_the_pod_is_worth_another_try(
    api: SimulatedKubernetes, rack: Cluster
) -> None:
    """The server may lose a race with itself over the same pod."""
    pod = await pod_named(rack, "postgres")
    api.faults.refuse(409, method="POST", path="/eviction")
    assert await rack.evict(pod) is EvictionAnswer.AGAIN


async def test_a_budget_says_so(api: SimulatedKubernetes, rack: Cluster) -> None:
    """And a deletion goes past it, with the grace that is left."""
    api.cluster.add_budget("data", "postgres", app="postgres")
    pod = await pod_named(rack, "postgres")
    assert await rack.evict(pod) is EvictionAnswer.BUDGET
    await rack.delete(pod, 7)
    assert api.cluster.pod("data", "postgres-0")["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_two_budgets_and_a_terminating_namespace_say_so(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Waiting does not mend either."""
    api.cluster.add_budget("data", "one", app="postgres")
    api.cluster.add_budget("data", "two", app="postgres")
    api.cluster.terminate_namespace("web")
    assert await rack.evict(await pod_named(rack, "postgres")) is EvictionAnswer.TWO_BUDGETS
    assert await rack.evict(await pod_named(rack, "nginx")) is EvictionAnswer.NAMESPACE


@pytest.mark.parametrize("code", [403, 500, 503])
async def test_a_refusal_that_says_nothing_about_the_pod_is_an_error(
    api: SimulatedKubernetes, rack: Cluster, code: int
) -> None:
    """Missing rights or a failing server must not be taken for a budget and escalate."""
    pod = await pod_named(rack, "postgres")
    api.faults.refuse(code, method="POST")
    with pytest.raises(RackError, match=rf"answered {code} .* to evict pods"):
        await rack.evict(pod)


async def test_a_deletion_spares_the_successor(api: SimulatedKubernetes, rack: Cluster) -> None:
    """A StatefulSet's new pod has the old one's name; deleting that would never end."""
    pod = await pod_named(rack, "postgres")
    await rack.delete(pod, 0)
    successor = api.cluster.pod("data", "postgres-0")
    assert successor["metadata"]["uid"] != pod.uid
    await rack.delete(pod, 0)
    assert api.cluster.pod("data", "postgres-0") is successor
    await rack.delete(Pod("data", "other-0", "uid"), 0)


async def test_missing_rights_are_told_with_the_manifest_that_gives_them(
    api: SimulatedKubernetes, rack: Cluster
) -> None:
    """The reader learns the server, the code, the verb and the way out."""
    api.faults.refuse(403, method="PATCH", path="/nodes/")
    with pytest.raises(RackError) as caught:
        await rack.cordon("pi4-a", "outage-1")
    advice = "config/k3s/upsd-rbac.yaml grants that right; apply it, as its first lines say"
    assert str(caught.value) == f"the Kubernetes API at {api.url} answered 403 Forbidden to patch nodes: {advice}"


async def test_a_failing_server_is_an_error_of_that_call_only(api: SimulatedKubernetes, rack: Cluster) -> None:
    """The next call works once the server does."""
    api.faults.refuse(500)
    with pytest.raises(RackError, match="500 Internal Server Error to list nodes"):
        await rack.nodes()
    api.faults.clear()
    assert len(await rack.nodes()) == 2


async def test_a_mute_server_costs_no_more_than_the_timeout(api: SimulatedKubernetes, kubeconfig: Path) -> None:
    """A server that accepts and never answers."""
    api.faults.mute = True
    rack = KubernetesCluster(kubeconfig, 0.2)
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(RackError, match=r"did not answer within 0\.2 s to list nodes"):
        await rack.nodes()
    assert asyncio.get_running_loop().time() - started_at < 1.0


async def test_a_server_that_was_away_is_found_again(api: SimulatedKubernetes, rack: Cluster) -> None:
    """k3s restarts; nothing of the old connections is in the way."""
    await rack.nodes()
    await api.stop()
    with pytest.raises(RackError, match=r"cannot be asked to list nodes .*: is k3s running\?"):
        await rack.nodes()
    await api.start()
    assert len(await rack.nodes()) == 2


async def test_a_server_that_is_no_kubernetes_is_told(tmp_path: Path) -> None:
    """Whatever answers there, the daemon gets a RackError."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/html\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        with pytest.raises(RackError, match="gave no Kubernetes answer to list nodes"):
            await KubernetesCluster(plain_kubeconfig(tmp_path, server), TIMEOUT_S).nodes()


async def test_the_certificate_of_another_ca_is_refused(api: SimulatedKubernetes, tmp_path: Path) -> None:
    """No token is shown to a server that the kubeconfig does not vouch for."""
    path = tmp_path / "kubeconfig"
    own, api._identity = api._identity, fresh_identity()
    api.write_kubeconfig(path)
    api._identity = own
    with pytest.raises(RackError, match="must show a certificate of the CA in"):
        await KubernetesCluster(path, TIMEOUT_S).nodes()
    assert api.requests == []


def plain_identity(folder: Path) -> ServerIdentity:
    """A CA as home-made as they come, without key usage and key identifiers, and a server that it vouches for."""
    now = dt.datetime.now(tz=dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    blank = (
        x509.CertificateBuilder()
        .issuer_name(ca_name)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        builder = blank.subject_name(name).public_key(public).serial_number(x509.random_serial_number())
        certificate = builder.add_extension(extension, critical=True).sign(ca_key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(key_pem + signed(x509.Name([]), key.public_key(), address))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    basic = x509.BasicConstraints(ca=True, path_length=None)
    return ServerIdentity(context, signed(ca_name, ca_key.public_key(), basic))


@pytest.fixture
def strict_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults of Python 3.13, on any Python."""
    relaxed = ssl.create_default_context

    def strict(**arguments: Any) -> ssl.SSLContext:
        context = relaxed(**arguments)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.mark.usefixtures("strict_tls")
async def test_a_private_ca_needs_no_extensions_under_strict_defaults(tmp_path: Path) -> None:
    """What Python 3.13 refuses by default in a CA is no reason not to shut the cluster down."""
    identity = plain_identity(tmp_path)
    async with SimulatedKubernetes(SimulatedCluster(), tls=identity) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        strict = ssl.create_default_context(cadata=identity.ca_pem.decode())
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", int(api.url.rsplit(":", 1)[1]), ssl=strict)
        assert await KubernetesCluster(tmp_path / "kubeconfig", TIMEOUT_S).nodes() == []


async def test_many_evictions_at_once_all_get_their_answer(tmp_path: Path) -> None:
    """A whole rack is drained in parallel."""
    cluster = reference_cluster()
    async with SimulatedKubernetes(cluster) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        rack = KubernetesCluster(tmp_path / "kubeconfig", TIMEOUT_S)
        nodes = await rack.nodes()
        await asyncio.gather(*(rack.cordon(node.name, "outage-1") for node in nodes))
        pods = [pod for pods in await asyncio.gather(*(rack.pods(node.name) for node in nodes)) for pod in pods]
        answers = await asyncio.gather(*(rack.evict(pod) for pod in pods))
    assert answers.count(EvictionAnswer.BUDGET) == 1
    assert answers.count(EvictionAnswer.ACCEPTED) == len(pods) - 1


def changed(api: SimulatedKubernetes) -> tuple[int, bool, int]:
    """What a change would show in: the version of the datastore, a cordon, pods that end."""
    ending = sum(objects.is_terminating(pod) for pod in api.cluster.store.items("pods"))
    return api.cluster.store.version, api.cluster.is_cordoned("pi4-a"), ending


async def test_a_rehearsal_sends_the_very_requests_of_an_outage_and_changes_nothing(
    api: SimulatedKubernetes, kubeconfig: Path
) -> None:
    """The same methods, paths and bodies, each marked as a dry run."""
    before, seen = changed(api), []
    adapter = KubernetesCluster(kubeconfig, TIMEOUT_S)
    for cluster in (adapter.rehearsed(), adapter):
        asked = len(api.requests)
        pod = await pod_named(cluster, "nginx")
        assert await cluster.cordon("pi4-a", "outage-1")
        assert await cluster.evict(pod) is EvictionAnswer.ACCEPTED
        await cluster.delete(pod, 5)
        assert await cluster.scale_to_zero(Workload("Deployment", "web", "nginx"))
        seen.append(api.requests[asked:])
        if len(seen) == 1:
            assert changed(api) == before
    rehearsed, real = seen
    assert [(request.method, request.path) for request in rehearsed] == [(r.method, r.path) for r in real]
    for request in (request for request in rehearsed if request.method != "GET"):
        options = request.body.get("deleteOptions", request.body)
        assert "All" in (request.query.get("dryRun"), *options.get("dryRun", ()))
    assert not any("dryRun" in str(request) for request in real)
    assert changed(api) != before


async def test_a_rehearsal_hears_of_budgets_and_missing_rights(api: SimulatedKubernetes, rack: Cluster) -> None:
    """A dry run is judged as the real thing is."""
    api.cluster.add_budget("data", "postgres", app="postgres")
    rehearsed = rack.rehearsed()
    assert await rehearsed.evict(await pod_named(rack, "postgres")) is EvictionAnswer.BUDGET
    assert await rehearsed.evict(Pod("default", "nobody", "uid")) is EvictionAnswer.GONE
    api.faults.refuse(403, method="DELETE")
    with pytest.raises(RackError, match=r"403 Forbidden to delete pods: config/k3s/upsd-rbac\.yaml grants that right"):
        await rehearsed.delete(Pod("default", "nobody", "uid"), 5)


async def test_what_may_be_left_over_is_told(api: SimulatedKubernetes, rack: Cluster) -> None:
    """Which volume is attached where, and when the grace of a pod is over that is being deleted."""
    api.cluster.attach_volume("pvc-1", "pi4-b")
    assert await rack.attachments() == [Attachment("pvc-1", "pi4-b")]
    (postgres,) = [pod for pod in await rack.pods("pi4-a") if pod.stateful_set]
    assert postgres.ends_by is None
    before = dt.datetime.now(dt.UTC)
    await rack.delete(postgres, 60)
    (ending,) = [pod for pod in await rack.pods("pi4-a") if pod.stateful_set]
    assert ending.ends_by is not None
    assert dt.timedelta(seconds=58) < ending.ends_by - before < dt.timedelta(seconds=70)
