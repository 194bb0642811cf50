"""Wake-on-LAN: switches a machine on that listens for its magic packet while it is off.

The packet is six bytes of ones and the machine's MAC address sixteen times (AMD's "Magic Packet Technology", 1995), in
a UDP broadcast. Nobody answers it.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from upsd.domain.rack import RackError

DISCARD_PORT = 9


@dataclass(frozen=True, slots=True)
class WakeOnLan:
    """Wakes the machine with this MAC address (`dc:a6:32:01:02:03`); fits `upsd.domain.rack.Waker`.

    `address` is the broadcast address (IPv4) of its network.
    """

    mac: str
    address: str
    port: int = DISCARD_PORT

    async def wake(self) -> None:
        """Send the packet once.

        Raises:
            RackError: this machine could not send it.
        """
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # noqa: FBT003 - the socket's own way to say it
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                target = self.address, self.port
                await asyncio.get_running_loop().sock_sendto(sender, magic_packet(self.mac), target)
        except OSError as error:
            raise RackError(
                f"{self.mac} can't be woken by way of {self.address}: {error.strerror}; set recovery.wake_address to"
                " the broadcast address of its network"
            ) from error


def magic_packet(mac: str) -> bytes:
    """What wakes the machine with this MAC address."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16
