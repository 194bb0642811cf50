"""Credentials that are renewed while the daemon runs, over real TLS: tokens in files, and client certificates."""

from __future__ import annotations

import base64
import datetime as dt
import os
import re
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from hardware_sim.kubernetes.identity import ServerIdentity
from tests.integration.brokers import until
from tests.integration.kubeconfigs import editing
from tests.integration.outage import scene
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TIMEOUT_S = 5.0
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which the module `ssl` has no name."""
NOW = dt.datetime.now(tz=dt.UTC)


class Authorities:
    """The two CAs of a k3s cluster, and a server that knows its clients by the second of them."""

    def __init__(self) -> None:
        self.servers, self.clients = trustme.CA(), trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.servers.issue_cert("127.0.0.1").configure_cert(self.context)
        self.clients.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        # Go's servers take any certificate in the handshake; the API server looks at it afterwards, and answers 401.
        self.context.verify_flags |= NO_CHECK_TIME

    def certificate(self, *, days: int = 365) -> tuple[bytes, bytes]:
        """A client's certificate and its key; with a negative number of days it has expired."""
        made = self.clients.issue_cert(
            "upsd@rack", not_before=NOW - dt.timedelta(400), not_after=NOW + dt.timedelta(days)
        )
        return made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()


@pytest.fixture
def authorities() -> Authorities:
    """Fresh ones."""
    return Authorities()


@pytest.fixture
async def api(authorities: Authorities) -> AsyncIterator[SimulatedKubernetes]:
    """A server that takes certificates as well as its token."""
    cluster = SimulatedCluster()
    cluster.add_node("pi4-a")
    identity = ServerIdentity(authorities.context, authorities.servers.cert_pem.bytes())
    async with SimulatedKubernetes(cluster, tls=identity) as running:
        yield running


def write_inside(kubeconfig: Path, certificate: tuple[bytes, bytes]) -> None:
    """Put the certificate into the kubeconfig, as k3s writes its k3s.yaml."""
    chain, key = (base64.b64encode(part).decode() for part in certificate)
    with editing(kubeconfig) as config:
        config["users"][0]["user"] = {"client-certificate-data": chain, "client-key-data": key}


def write_beside(kubeconfig: Path, certificate: tuple[bytes, bytes]) -> None:
    """Put it into files beside the kubeconfig, which names them by relative paths."""
    for name, part in zip(("client.crt", "client.key"), certificate, strict=True):
        renewed = kubeconfig.with_name(f"{name}.new")
        renewed.write_bytes(part)
        renewed.replace(kubeconfig.with_name(name))
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    if "client.crt" not in kubeconfig.read_text():
        with editing(kubeconfig) as config:
            config["users"][0]["user"] = user


WAYS = pytest.mark.parametrize("write", [write_inside, write_beside])


@WAYS
async def test_a_renewed_client_certificate_is_taken_up(
    api: SimulatedKubernetes,
    authorities: Authorities,
    tmp_path: Path,
    write: Callable[[Path, tuple[bytes, bytes]], None],
) -> None:
    """As k3s renews them each year; until it has, the error says what is wrong, and no restart is needed."""
    kubeconfig = tmp_path / "kubeconfig"
    api.write_kubeconfig(kubeconfig)
    write(kubeconfig, authorities.certificate(days=-1))
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    for _ in range(2):
        with pytest.raises(RackError, match="answered 401 Unauthorized to list nodes: renew the credentials in"):
            await rack.nodes()
    write(kubeconfig, authorities.certificate())
    assert len(await rack.nodes()) == 1


@WAYS
async def test_a_certificate_that_is_half_renewed_leaves_the_old_one_in_use(
    api: SimulatedKubernetes,
    authorities: Authorities,
    tmp_path: Path,
    write: Callable[[Path, tuple[bytes, bytes]], None],
) -> None:
    """The new certificate does not fit the old key, until that is renewed as well."""
    kubeconfig = tmp_path / "kubeconfig"
    api.write_kubeconfig(kubeconfig)
    old, new = authorities.certificate(), authorities.certificate()
    write(kubeconfig, old)
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    assert len(await rack.nodes()) == 1
    write(kubeconfig, (new[0], old[1]))
    assert len(await rack.nodes()) == 1
    write(kubeconfig, new)
    assert len(await rack.nodes()) == 1
    assert {call.code for call in api.requests} == {200}


async def test_a_token_file_is_read_again_when_it_changes(api: SimulatedKubernetes, tmp_path: Path) -> None:
    """A bound token is renewed long before the old one ends; the path is relative to the kubeconfig."""
    kubeconfig, token = tmp_path / "kubeconfig", tmp_path / "token"
    api.write_kubeconfig(kubeconfig)
    token.write_text(f"{api.token}\n")
    with editing(kubeconfig) as config:
        config["users"][0]["user"] = {"tokenFile": "token"}
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    assert len(await rack.nodes()) == 1
    api.token = "renewed"
    renewed = tmp_path / "token.new"
    renewed.write_text(api.token)
    renewed.replace(token)
    assert len(await rack.nodes()) == 1
    assert [call.code for call in api.requests] == [200, 200], "the old token was shown once more"


async def test_a_token_file_that_keeps_its_date_is_read_again_when_it_is_refused(
    api: SimulatedKubernetes, tmp_path: Path
) -> None:
    """As on a file system with coarse dates; the request is sent once more."""
    kubeconfig, token = tmp_path / "kubeconfig", tmp_path / "token"
    api.write_kubeconfig(kubeconfig)
    token.write_text("token-1")
    with editing(kubeconfig) as config:
        config["users"][0]["user"] = {"tokenFile": str(token)}
    api.token = "token-1"
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    await rack.nodes()
    date = token.stat().st_mtime_ns
    api.token = "token-2"
    token.write_text("token-2")
    os.utime(token, ns=(date, date))
    assert len(await rack.nodes()) == 1
    assert [call.code for call in api.requests] == [200, 401, 200]


async def test_a_token_file_that_is_missing_is_told(api: SimulatedKubernetes, tmp_path: Path) -> None:
    """By name, and it may come later."""
    kubeconfig, token = tmp_path / "kubeconfig", tmp_path / "token"
    api.write_kubeconfig(kubeconfig)
    with editing(kubeconfig) as config:
        config["users"][0]["user"] = {"tokenFile": str(token)}
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    with pytest.raises(RackError, match=r"cannot be used as a kubeconfig .*No such file.*token"):
        await rack.nodes()
    token.write_text(api.token or "")
    assert len(await rack.nodes()) == 1


@WAYS
@pytest.mark.parametrize(
    ("days", "said"), [(31, None), (29, r"ends on \d{4}-\d\d-\d\d: restart k3s"), (-1, r"has ended on \d{4}-")]
)
def test_a_certificate_that_ends_soon_is_told(
    authorities: Authorities,
    tmp_path: Path,
    write: Callable[[Path, tuple[bytes, bytes]], None],
    days: int,
    said: str | None,
) -> None:
    """A month before; and no more when it has been renewed, which nobody had to ask the server for."""
    kubeconfig = tmp_path / "kubeconfig"
    SimulatedKubernetes(SimulatedCluster()).write_kubeconfig(kubeconfig)
    write(kubeconfig, authorities.certificate(days=days))
    rack = KubernetesCluster(kubeconfig, TIMEOUT_S)
    warnings = rack.warnings(NOW)
    assert len(warnings) == (said is not None)
    assert all(re.search(said or "", warning) for warning in warnings)
    write(kubeconfig, authorities.certificate())
    assert rack.warnings(NOW) == []


def test_a_token_has_no_end_that_is_known(tmp_path: Path) -> None:
    """Nor has a kubeconfig that is not there yet."""
    assert KubernetesCluster(tmp_path / "none", TIMEOUT_S).warnings(NOW) == []
    SimulatedKubernetes(SimulatedCluster()).write_kubeconfig(tmp_path / "kubeconfig")
    assert KubernetesCluster(tmp_path / "kubeconfig", TIMEOUT_S).warnings(NOW) == []


async def test_status_and_verdict_tell_of_a_certificate_that_ends(authorities: Authorities, tmp_path: Path) -> None:
    """As something that hinders a shutdown before long."""
    async with scene(tmp_path / "rack") as played:
        write_inside(tmp_path / "rack" / "kubeconfig", authorities.certificate(days=5))
        await played.start_daemon()
        await played.heard("readiness_changed")
        await played.says("the client certificate in")
        await until(lambda: any("client certificate" in why for why in played.state["readiness"]["because"]))
