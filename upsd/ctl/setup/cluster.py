"""The third step: which nodes has the cluster?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.questions import ADMIN_KUBECONFIG
from upsd.domain.rack import RackError
from upsd.rack.kubernetes.administration import Administration

if TYPE_CHECKING:
    from upsd.ctl.setup.situation import Situation

K3S_KUBECONFIG: Final = Path("/etc/rancher/k3s/k3s.yaml")


def read_nodes(situation: Situation) -> Outcome:
    """Read the nodes with the administrator's kubeconfig, which nobody needs to be asked for on a k3s server."""
    there = K3S_KUBECONFIG.exists()
    answer = situation.interview.answer(ADMIN_KUBECONFIG, str(K3S_KUBECONFIG) if there else None, asks=not there)
    if answer is None:
        situation.left.append("there is no cluster in the settings, so no node is cordoned or drained")
        return Outcome(State.LEFT_OUT, "there is no cluster")
    kubeconfig = Path(str(answer))
    try:
        nodes = asyncio.run(Administration(kubeconfig).nodes())
    except RackError as error:
        raise SetupError(f"{error}. Mend that, and run upsctl setup again") from None
    if not nodes:
        raise SetupError(f"the cluster of {kubeconfig} has no nodes; is it the right one?")
    situation.admin_kubeconfig, situation.nodes = kubeconfig, nodes
    servers = [node.name for node in nodes if node.is_server]
    agents = [node.name for node in nodes if not node.is_server]
    return Outcome(State.FOUND, f"servers: {_names(servers)}; agents: {_names(agents)}")


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"
