"""What a machine answers to a command over SSH, as far as it is kept.

A machine that is broken, or somebody else's by now, may answer without end. That must cost neither our memory nor the
journal, which has one line for each step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from asyncssh.session import DataType

KEPT_BYTES = 64 * 1024
"""The most that is taken of each stream; everything that we ask for is answered in far less."""
COMPLAINT_CHARACTERS = 300


class TooMuchSaidError(Exception):
    """The machine said more than is taken."""


class Answer(asyncssh.SSHClientSession[bytes]):
    """Gathers both streams of a command until it has ended or says too much."""

    def __init__(self) -> None:
        self._streams: dict[DataType, bytearray] = {None: bytearray(), asyncssh.EXTENDED_DATA_STDERR: bytearray()}
        self._over = asyncio.Event()
        self._too_much = False

    async def ended(self) -> None:
        """Wait until the command has ended, or the line was cut.

        Raises:
            TooMuchSaidError: It goes on and on; the connection is to be closed.
        """
        await self._over.wait()
        if self._too_much:
            raise TooMuchSaidError

    @property
    def output(self) -> str:
        """Its standard output."""
        return self._streams[None].decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The first line of its standard error, shortened; empty if there is none."""
        lines = self._streams[asyncssh.EXTENDED_DATA_STDERR].decode(errors="replace").splitlines()
        return shortened(next((line for line in lines if line.strip()), ""))

    def data_received(self, data: bytes, datatype: DataType) -> None:
        """Take it, if there is room."""
        stream = self._streams[datatype]
        if self._too_much or len(stream) + len(data) > KEPT_BYTES:
            self._too_much = True
            self._over.set()
        else:
            stream += data

    def eof_received(self) -> bool:
        """Leave it to the machine to close the channel: the exit code follows."""
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Take note of the end, of the command or of the line."""
        self._over.set()


def shortened(text: str) -> str:
    """The beginning of what a machine says, for a message to a person."""
    return text if len(text) <= COMPLAINT_CHARACTERS else f"{text[:COMPLAINT_CHARACTERS]}…"
