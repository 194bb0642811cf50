"""Several API servers: which of them is asked, how long one that is away may hold a request up, and what is said."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from hardware_sim.kubernetes import SimulatedCluster, SimulatedKubernetes
from hardware_sim.kubernetes.identity import fresh_identity
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TIMEOUT_S = 2.0


@dataclass
class Masters:
    """Two API servers with one CA and one token, and the adapter that knows both; the kubeconfig knows the first."""

    first: SimulatedKubernetes
    second: SimulatedKubernetes
    rack: KubernetesCluster
    kubeconfig: Path

    async def asked(self) -> list[int]:
        """How often a request for the nodes comes to each."""
        before = len(self.first.requests), len(self.second.requests)
        assert len(await self.rack.nodes()) == 1
        return [len(self.first.requests) - before[0], len(self.second.requests) - before[1]]


@pytest.fixture
async def masters(tmp_path: Path) -> AsyncIterator[Masters]:
    """Both running."""
    identity = fresh_identity()

    def cluster() -> SimulatedCluster:
        made = SimulatedCluster()
        made.add_node("pi4-a")
        return made

    async with (
        SimulatedKubernetes(cluster(), tls=identity) as first,
        SimulatedKubernetes(cluster(), tls=identity) as second,
    ):
        first.write_kubeconfig(tmp_path / "kubeconfig")
        rack = KubernetesCluster(tmp_path / "kubeconfig", TIMEOUT_S, (first.url, second.url))
        yield Masters(first, second, rack, tmp_path / "kubeconfig")


async def test_without_a_list_the_server_of_the_kubeconfig_is_asked(masters: Masters) -> None:
    """And no other."""
    masters.rack = KubernetesCluster(masters.kubeconfig, TIMEOUT_S)
    assert await masters.asked() == [1, 0]


async def test_the_next_server_is_asked_when_one_refuses_connections(masters: Masters) -> None:
    """Within the same request; and the one that answered stays the first to be asked when the other is back."""
    assert await masters.asked() == [1, 0]
    await masters.first.stop()
    assert await masters.asked() == [0, 1]
    await masters.first.start()
    assert await masters.asked() == [0, 1]
    await masters.second.stop()
    assert await masters.asked() == [1, 0]


async def test_a_server_that_is_silent_costs_its_share_of_the_request_once(masters: Masters) -> None:
    """Half of the time with two servers; the requests after that go to the other one at once."""
    masters.first.faults.mute = True
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    assert await masters.asked() == [1, 1]
    assert TIMEOUT_S / 2 <= loop.time() - started_at < TIMEOUT_S
    assert await masters.asked() == [0, 1]


async def test_a_server_that_is_somebody_else_is_passed_over(masters: Masters) -> None:
    """Its certificate is none of the CA in the kubeconfig, so it is not even shown the token."""
    async with SimulatedKubernetes(SimulatedCluster()) as stranger:
        masters.rack = KubernetesCluster(masters.kubeconfig, TIMEOUT_S, (stranger.url, masters.second.url))
        assert await masters.asked() == [0, 1]
        assert stranger.requests == []


async def test_requests_side_by_side_all_find_the_server_that_is_left(masters: Masters) -> None:
    """Each within its own time."""
    masters.first.faults.mute = True
    started_at = asyncio.get_running_loop().time()
    found = await asyncio.gather(*(masters.rack.nodes() for _ in range(20)))
    assert [len(nodes) for nodes in found] == [1] * 20
    assert asyncio.get_running_loop().time() - started_at < TIMEOUT_S


async def test_a_change_that_one_server_took_in_silence_is_not_made_twice(masters: Masters) -> None:
    """The second server shows the node as it is by then, ours; here the first takes the cordon and never says so."""
    masters.second.cluster = masters.first.cluster
    await masters.rack.cordon("pi4-a", "outage-1")
    masters.first.faults.mute = True
    assert await masters.rack.cordon("pi4-a", "outage-1")
    assert [call.method for call in masters.second.requests] == ["GET"]


async def test_a_refusal_is_an_answer(masters: Masters) -> None:
    """The other server would say the same."""
    masters.first.faults.refuse(403)
    with pytest.raises(RackError, match=f"the Kubernetes API at {masters.first.url} answered 403 Forbidden"):
        await masters.rack.nodes()
    assert masters.second.requests == []


async def test_an_error_names_all_servers_and_what_is_wrong_with_each(masters: Masters) -> None:
    """Within the time of one request."""
    await masters.first.stop()
    masters.second.faults.mute = True
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(RackError) as caught:
        await masters.rack.nodes()
    assert asyncio.get_running_loop().time() - started_at < TIMEOUT_S + 0.5
    said = str(caught.value)
    assert said.startswith("no Kubernetes API server can be asked to list nodes: ")
    assert f"{masters.first.url} (All connection attempts failed): is k3s running?" in said
    assert f"{masters.second.url} (did not answer within 2 s): is k3s overloaded?" in said
