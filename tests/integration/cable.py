"""A machine on the network without a machine: a network namespace, and a cable to it that is in a test's hands.

The cable is two network devices (TAP) whose frames go through here. So it can be pulled on either end, lose what it
carries, and be slow, by the same kernel's real TCP on both ends and without kernel modules that not everybody has.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import struct
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TUNSETIFF = 0x400454CA
_TUNSETCARRIER = 0x400454E2
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536
_NUMBERS = itertools.count()


class Cable:
    """From here (`near`) to a machine of its own (`far`).

    Attributes:
        here: our address.
        there: the machine's.
        inside: a command that runs another one on that machine.
        carries: whether what is sent arrives.
        delay_s: how long it takes in each direction.
    """

    def __init__(self, near: int, far: int, here: str, there: str, inside: tuple[str, ...]) -> None:
        """Carry from now on what comes out of the two devices; their file descriptors are ours then."""
        self.here, self.there, self.inside = here, there, inside
        self.carries = True
        self.delay_s = 0.0
        self._near, self._far = near, far
        loop = asyncio.get_running_loop()
        loop.add_reader(near, self._pass_on, near, far)
        loop.add_reader(far, self._pass_on, far, near)

    def pull(self) -> None:
        """Pull it out here: our device has no carrier any more."""
        self._plug(near=False, far=False)

    def plug_in(self) -> None:
        """Put it back."""
        self._plug(near=True, far=True)

    def switch_off_there(self) -> None:
        """Have the machine go off: a switch between us keeps our link up."""
        self._plug(near=True, far=False)

    def close(self) -> None:
        """Take it away, and with it both devices."""
        loop = asyncio.get_running_loop()
        for end in (self._near, self._far):
            loop.remove_reader(end)
            os.close(end)

    def _plug(self, *, near: bool, far: bool) -> None:
        self.carries = near and far
        for end, plugged in ((self._near, near), (self._far, far)):
            fcntl.ioctl(end, _TUNSETCARRIER, struct.pack("I", plugged))

    def _pass_on(self, source: int, target: int) -> None:
        with contextlib.suppress(OSError):
            frame = os.read(source, _FRAME)
            if self.carries:
                asyncio.get_running_loop().call_later(self.delay_s, self._deliver, target, frame)

    def _deliver(self, target: int, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # a device that is down takes nothing
            os.write(target, frame)


@contextlib.asynccontextmanager
async def cable() -> AsyncIterator[Cable]:
    """A machine and the cable to it, until the block ends; skips the test where that is not permitted."""
    number = next(_NUMBERS)
    # A range of RFC 2544, which is for tests.
    here, there = (f"198.18.{os.getpid() % 256}.{4 * (number % 63) + end}" for end in (1, 2))
    names = [f"upsd{end}{os.getpid() % 100000}-{number}" for end in "nf"]
    # It ends with us, however we end, and says so as soon as it has a network of its own.
    keeper = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "sh", "-c", "echo apart; exec cat"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert keeper.stdin
    assert keeper.stdout
    try:
        if not await keeper.stdout.readline():
            pytest.skip("needs the right to make a network namespace")
        try:
            near, far = (_tap(name) for name in names)
        except OSError as error:
            pytest.skip(f"needs the right to make network devices: {error}")
        inside = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
        made = Cable(near, far, here, there, inside)
        try:
            await _run("ip", "link", "set", names[1], "netns", str(keeper.pid))
            for place, name, address in (((), names[0], here), (inside, names[1], there)):
                await _run(*place, "ip", "address", "add", f"{address}/30", "dev", name)
                await _run(*place, "ip", "link", "set", name, "up")
            yield made
        finally:
            made.close()
    finally:
        keeper.stdin.close()
        await keeper.communicate()


def _tap(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return device


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, complained = await process.communicate()
    if process.returncode:
        pytest.skip(f"{' '.join(command)}: {complained.decode().strip()}")
