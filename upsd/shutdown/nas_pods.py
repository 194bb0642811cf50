"""Which pods have volumes on the NAS? Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.rack import Pod


def uses_nas(pod: Pod, nas: str, file_servers: Mapping[str, str]) -> bool:
    """Whether one of the pod's volumes is on the machine at this address; any file server's is if that is empty.

    `file_servers` are the addresses behind the claims. A server that is named where the NAS has a number, or the other
    way round, is taken for the NAS: a pod that is named for nothing does less harm than one that nobody hears of.
    """
    behind_claims = (file_servers[claim] for claim in pod.claims if claim in file_servers)
    return any(_may_be(server, nas) for server in (*pod.file_servers, *behind_claims))


def _may_be(server: str, nas: str) -> bool:
    return not nas or server.lower() == nas.lower() or _is_number(server) != _is_number(nas)


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
