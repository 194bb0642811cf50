"""Which machines hang on the UPS, and what do they draw? Asked, with what was found out as the defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from upsd.ctl.setup import neighbours, questions
from upsd.ctl.setup.boards import NAS_W, board_of
from upsd.ctl.setup.document import Table
from upsd.ctl.setup.outcome import SetupError
from upsd.ctl.words import plain
from upsd.settings import NasSettings, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.ctl.setup.questions import Value
    from upsd.ctl.setup.situation import Situation
    from upsd.rack.kubernetes.administration import ClusterNode

_SSH_PORT = WorkerSettings.model_fields["port"].default
_NAS_USER = NasSettings.model_fields["user"].default
_LOADS = "other"


def machine_tables(situation: Situation) -> list[Table]:
    """The tables for the master, the workers, the NAS and what else there is."""
    master = _master(situation)
    workers = _workers(situation, str(master.values["name"]))
    return [master, *workers, *_nas(situation), *_loads(situation)]


def _master(situation: Situation) -> Table:
    interview, nodes = situation.interview, situation.nodes
    here = os.uname().nodename.partition(".")[0].lower()
    servers = [node for node in nodes if node.is_server]
    ours = [node for node in nodes if node.name.partition(".")[0].lower() == here]
    likely = [*ours, *servers, *nodes]
    name = interview.answer(
        questions.MASTER_NAME, likely[0].name if likely else here, asks=not ours and len(servers) != 1
    )
    if nodes and name not in {node.name for node in nodes}:
        raise SetupError(f"master.name: the cluster has no node {name}; {_choice(nodes)}")
    board = next((board_of(node) for node in nodes if node.name == name), None)
    watts = interview.answer(questions.MASTER_WATTS, board.watts if board else None, needed=board is None)
    return Table("[master]", "The machine that upsd runs on; it goes last.", {"name": name, "watts": watts})


def _workers(situation: Situation, master: str) -> list[Table]:
    nodes = [node for node in situation.nodes if node.name != master]
    if unknown := situation.interview.given_about("workers") - {node.name for node in nodes}:
        raise SetupError(f"workers.{min(unknown)}: the cluster has no such worker; {_choice(nodes)}")
    if not nodes:
        return []
    known = neighbours.mac_addresses(neighbours.text_of(neighbours.ARP_TABLE))
    macs = {node.name: known.get(node.address) for node in nodes}
    print("\n  The other nodes, and what they draw:")
    for node in nodes:
        print(plain(f"    {_line(situation, node)}"))
    asks = not situation.interview.confirms("Are these right? With no you are asked one by one.")
    if not asks and not all(situation.interview.knows(questions.WORKER_WATTS.about(node.name)) for node in nodes):
        situation.left.append("measure what the machines draw and correct the watts in the settings: these are guesses")
    found = [_worker(situation, node, macs[node.name], asks=asks) for node in nodes]
    return [table for table in found if table]


def _line(situation: Situation, node: ClusterNode) -> str:
    """What is proposed for the node, and why."""

    def proposal(question: questions.Question, default: Value) -> Value:
        return situation.interview.proposal(question.about(node.name), default)

    board, kind = board_of(node), "server" if node.is_server else "agent"
    described = f"{node.name:<16} {proposal(questions.WORKER_HOST, node.address):<16} {kind:<7}"
    if proposal(questions.WORKER_LEFT_OUT, default=False):
        return f"{described} left alone"
    answered = situation.interview.knows(questions.WORKER_WATTS.about(node.name))
    why = "as you answered" if answered else f"as {board.name} ({board.source})"
    return f"{described} {proposal(questions.WORKER_WATTS, board.watts):g} W {why}"


def _choice(nodes: Sequence[ClusterNode]) -> str:
    return f"there are: {', '.join(node.name for node in nodes) or 'none'}"


def _worker(situation: Situation, node: ClusterNode, mac: str | None, *, asks: bool) -> Table | None:
    board = board_of(node)

    def answer(question: questions.Question, default: Value, *, asks: bool = asks) -> Value:
        return situation.interview.answer(question.about(node.name), default, asks=asks)

    if answer(questions.WORKER_LEFT_OUT, default=False):
        return None
    host = answer(questions.WORKER_HOST, node.address)
    port = answer(questions.WORKER_PORT, _SSH_PORT, asks=False)
    watts = answer(questions.WORKER_WATTS, board.watts)
    wakes = answer(questions.WORKER_MAC, mac if board.wakes else None)
    return Table(
        "[[workers]]",
        "",
        {
            "name": node.name,
            "host": host,
            "port": None if port == _SSH_PORT else port,
            "watts": watts,
            "role": "server" if node.is_server else None,
            "mac": wakes,
        },
    )


def _nas(situation: Situation) -> list[Table]:
    interview = situation.interview
    mounts = neighbours.network_mounts(neighbours.text_of(neighbours.MOUNT_TABLE))
    for mount in mounts:
        print(plain(f"  Mounted here: {mount.source} at {mount.mount_point} ({mount.fs_type})"))
    mount_point = interview.answer(questions.NAS_MOUNT, str(mounts[0].mount_point) if mounts else None)
    if mount_point is None:
        return []
    servers = next((mount.servers for mount in mounts if str(mount.mount_point) == mount_point), frozenset[str]())
    host = interview.answer(questions.NAS_HOST, neighbours.best_address(servers))
    watts = interview.answer(questions.NAS_WATTS, NAS_W)
    values: dict[str, object] = {"mount": mount_point, "watts": watts, "host": host}
    if host is not None:
        port = interview.answer(questions.NAS_PORT, _SSH_PORT, asks=False)
        values["port"] = None if port == _SSH_PORT else port
        user = interview.answer(questions.NAS_USER, _NAS_USER)
        values["user"] = None if user == _NAS_USER else user
        if interview.agrees(questions.NAS_POWER_OFF):
            values["poweroff_command"] = "poweroff"
        # config/nas/upsd-nas knows both words; whoever has another program there changes them.
        values["rehearse_command"] = "check"
    return [Table("[nas]", "Unmounted and flushed once the workers are off.", values)]


def _loads(situation: Situation) -> list[Table]:
    watts = situation.interview.answer(questions.LOADS_WATTS, 0.0)
    if not watts:
        return []
    return [Table("[[loads]]", "What else draws power until the outlets go off.", {"name": _LOADS, "watts": watts})]
