"""From nodes, neighbours and mounts to the tables of the settings, with nobody asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from upsd.ctl.setup import neighbours, settings_step
from upsd.ctl.setup.interview import Interview
from upsd.ctl.setup.machines import machine_tables
from upsd.ctl.setup.outcome import SetupError
from upsd.ctl.setup.situation import Situation
from upsd.ctl.words import painter
from upsd.rack.kubernetes.administration import ClusterNode

if TYPE_CHECKING:
    from upsd.ctl.setup.answers import Answers
    from upsd.ctl.setup.document import Table


def _node(name: str, last: int, *, is_server: bool = False, architecture: str = "amd64") -> ClusterNode:
    return ClusterNode(
        name=name,
        address=f"192.168.7.{last}",
        is_server=is_server,
        architecture=architecture,
        os_image="Debian GNU/Linux 12 (bookworm)",
        kernel="6.6.31+rpt-rpi-v8" if architecture == "arm64" else "6.1.0-26-amd64",
        memory_mib=3793,
    )


NODES = (
    _node("first", 10, is_server=True),
    _node("second", 11, is_server=True),
    _node("pc", 12),
    _node("pi", 13, architecture="arm64"),
)


@pytest.fixture(autouse=True)
def _known_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel of this machine would say of the network."""
    arp, mounts = tmp_path / "arp", tmp_path / "mountinfo"
    lines = [f"192.168.7.{last} 0x1 0x2 dc:a6:32:01:02:{last} * eth0\n" for last in (11, 12, 13)]
    arp.write_text("IP address HW type Flags HW address Mask Device\n" + "".join(lines))
    mounts.write_text("71 29 0:52 / /mnt/nas rw - nfs4 nas.lan:/volume1 rw,addr=192.168.7.20\n")
    monkeypatch.setattr(neighbours, "ARP_TABLE", arp)
    monkeypatch.setattr(neighbours, "MOUNT_TABLE", mounts)


def _situation(answers: Answers) -> Situation:
    paint = painter(coloured=False)
    interview = Interview({("master", "name"): "first", **answers}, {}, attended=False, paint=paint)
    return Situation(Path("upsd.toml"), {}, interview, paint, "control.sock", nodes=NODES)


def _named(tables: list[Table]) -> dict[object, Table]:
    return {table.values.get("name", table.header): table for table in tables}


def test_every_node_but_this_one_is_a_worker_with_its_guess() -> None:
    """Only what can wake by Wake-on-LAN has its address for that; the NAS is what is mounted here."""
    tables = _named(machine_tables(_situation({})))
    assert list(tables) == ["first", "second", "pc", "pi", "[nas]"]
    assert tables["pc"].values == {
        "name": "pc",
        "host": "192.168.7.12",
        "port": None,
        "watts": 30,
        "role": None,
        "mac": "dc:a6:32:01:02:12",
    }
    assert tables["second"].values["role"] == "server"  # so that it goes off after all agents
    assert (tables["pi"].values["watts"], tables["pi"].values["mac"]) == (8, None)
    assert tables["[nas]"].values["host"] == "192.168.7.20"


def test_answers_come_before_what_was_found() -> None:
    """And a machine on another supply is left alone."""
    answers: Answers = {
        ("workers", "pc", "left_out"): True,
        ("workers", "pi", "watts"): 4.5,
        ("nas", "mount"): None,
        ("loads", "watts"): 8.0,
    }
    tables = _named(machine_tables(_situation(answers)))
    assert list(tables) == ["first", "second", "pi", "other"]
    assert (tables["pi"].values["watts"], tables["other"].values["watts"]) == (4.5, 8)


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({("master", "name"): "third"}, "master.name: the cluster has no node third; there are: first, second, pc, pi"),
        ({("workers", "pie", "watts"): 7.0}, "workers.pie: the cluster has no such worker; there are: second, pc, pi"),
    ],
)
def test_a_machine_that_the_cluster_does_not_have_is_an_error(answers: Answers, complaint: str) -> None:
    """As in a file of answers that was made for another rack."""
    with pytest.raises(SetupError) as caught:
        machine_tables(_situation(answers))
    assert str(caught.value) == complaint


def test_with_several_servers_the_api_is_asked_at_each() -> None:
    """On this machine first."""
    situation = _situation({})
    situation.admin_kubeconfig = Path("/etc/rancher/k3s/k3s.yaml")
    (table,) = settings_step._kubernetes(situation, "first")
    assert table.values == {"servers": ["https://127.0.0.1:6443", "https://192.168.7.11:6443"]}
