"""Wake-on-LAN as a machine's network port hears it: on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from upsd.domain.rack import RackError
from upsd.rack.wake import WakeOnLan, magic_packet

if TYPE_CHECKING:
    from collections.abc import Iterator

MAC = "dc:a6:32:01:02:03"


@contextlib.contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    """A socket that hears datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind((address, 0))
        heard.setblocking(False)  # noqa: FBT003 - the socket's own way to say it
        yield heard


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.255"])
async def test_the_machine_hears_its_magic_packet(address: str) -> None:
    """Six bytes of ones and its address sixteen times, also by broadcast."""
    with listener(address) as heard:
        await WakeOnLan(MAC, address, heard.getsockname()[1]).wake()
        async with asyncio.timeout(5):
            packet = await asyncio.get_running_loop().sock_recv(heard, 1000)
    assert packet == bytes.fromhex("ffffffffffff" + "dca632010203" * 16) == magic_packet(MAC)


async def test_a_network_that_is_not_there_is_said_with_what_to_set() -> None:
    """A person reads it while a machine stays off."""
    with pytest.raises(RackError, match=r"dc:a6:32:01:02:03 can't be woken.*recovery\.wake_address"):
        await WakeOnLan(MAC, "127.0.0.1", port=0).wake()
