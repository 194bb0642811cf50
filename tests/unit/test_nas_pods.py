"""Which pods have volumes on the NAS."""

from __future__ import annotations

import pytest

from upsd.domain.rack import Pod
from upsd.shutdown.nas_pods import uses_nas

NAS = "192.168.7.20"
SERVERS = {"web/photos": NAS, "web/books": "192.168.7.99", "web/films": "nas.lan"}


def mounting(*claims: str, servers: tuple[str, ...] = ()) -> Pod:
    """A pod with these volumes."""
    return Pod("web", "a", "a", claims=claims, file_servers=servers)


@pytest.mark.parametrize(
    ("pod", "uses"),
    [
        (mounting(), False),
        (mounting(servers=(NAS,)), True),
        (mounting(servers=("192.168.7.99",)), False),
        (mounting("web/photos"), True),
        (mounting("web/books"), False),
        (mounting("web/local"), False),
        (mounting("web/books", "web/photos"), True),
        (mounting("web/films"), True),
    ],
)
def test_a_pod_uses_the_nas_by_a_volume_of_its_own_or_by_a_claim(pod: Pod, *, uses: bool) -> None:
    """A name where a number was expected may be the same machine, and counts."""
    assert uses_nas(pod, NAS, SERVERS) is uses


def test_names_are_compared_as_names() -> None:
    """Whatever their case."""
    assert uses_nas(mounting(servers=("NAS.lan",)), "nas.lan", {})
    assert not uses_nas(mounting(servers=("other.lan",)), "nas.lan", {})


def test_every_file_server_counts_where_the_address_of_the_nas_is_not_known() -> None:
    """There is hardly another one in such a rack."""
    assert uses_nas(mounting("web/books"), "", SERVERS)
    assert not uses_nas(mounting(), "", SERVERS)
