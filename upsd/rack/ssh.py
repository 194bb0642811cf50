"""Machines that are reached over SSH, with one key and pinned host keys.

Everything that a connection needs is imported and read at the start of the daemon. Agents, passwords and OpenSSH's own
configuration are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import asyncssh

from upsd.domain.rack import CommandError, RackError
from upsd.rack.ssh_answer import KEPT_BYTES, Answer, TooMuchSaidError, shortened

if TYPE_CHECKING:
    from upsd.domain.rack import PortAnswer
    from upsd.rack.ssh_line import SshLine

# How long a line that is held may take to begin a command; then it is taken for dead.
_BEGIN_S = 2.0
# What sshd remarks of a key that is tied to config/worker/upsd-worker; it permits nothing there.
_HELPER_MARK = "permitlisten"
_UNSURE = (
    "nothing was run, since it might have been the power-off; make config/worker/upsd-worker the forced command, as"
    " `upsctl enroll` does, or set rehearse_command"
)


class SshHost:
    """One machine; fits `upsd.domain.rack.RemoteHost`."""

    def __init__(self, line: SshLine, *, cut_is_error: bool = False) -> None:
        """Say how it is reached.

        Args:
            line: The way there; several may share it.
            cut_is_error: Whether a line that is cut while a command runs is an error. It is not when the command
                powers the machine off; it is when the command must have finished, such as a `sync`.
        """
        self.line = line
        self._cut_is_error = cut_is_error

    def finishing(self) -> SshHost:
        """The same machine over the same line, whose commands must have finished."""
        return SshHost(self.line, cut_is_error=True)

    async def run(self, command: str) -> str:
        """Run a command and return its standard output; the deadline is the caller's.

        It goes over the line that is held, if there is one. Where that has died without a word, the command may have
        begun there before it is run over a new one.

        Raises:
            RackError: The machine could not be reached, did not let us in, said too much, or the command failed.
        """
        with self.line.borrowed() as held:
            if held is not None and (running := await self._begin_on(held, command)):
                return await self._end(running, command)
        async with self.line.opened() as connection:
            return await self._run(connection, command)

    async def run_unforced(self, command: str) -> str:
        """Run a command only where sshd has said that our key is tied to no other one, or to a worker's helper.

        OpenSSH says so of itself, right after the login (7.7 and newer; not of a `ForceCommand` in sshd_config).

        Raises:
            RackError: As `run`, or nothing was run, because another command might have run in its place.
        """
        remarks = _Remarks()
        async with self.line.opened(remarks) as connection:
            with contextlib.suppress(TimeoutError):
                # A slow machine logs in at once and gets to this much later; a rehearsal has time.
                async with asyncio.timeout(self.line.connect_timeout_s):
                    await remarks.heard.wait()
            if remarks.key_options is None:
                raise RackError(f"{self.line.label}: logged in; its sshd does not say what the key may run: {_UNSURE}")
            if "command" in remarks.key_options and _HELPER_MARK not in remarks.key_options:
                raise RackError(f"{self.line.label}: logged in; authorized_keys there has a forced command: {_UNSURE}")
            return await self._run(connection, command)

    async def call_port(self) -> PortAnswer:
        """What its SSH port answers within two seconds.

        An accepted connection counts even if no banner follows: a kernel that accepts is running, so a machine that
        hangs is not taken for one that is off.

        Raises:
            RackError: We can't tell, because its name has no address or this machine has no network.
        """
        return await self.line.call_port()

    async def _begin_on(self, held: asyncssh.SSHClientConnection, command: str) -> _Running | None:
        """The command, begun on the line that is held; none if that has turned out to be dead."""
        try:
            async with asyncio.timeout(_BEGIN_S):
                return await _begin(held, command)
        except (TimeoutError, asyncssh.Error, OSError):
            held.abort()
            return None

    async def _run(self, connection: asyncssh.SSHClientConnection, command: str) -> str:
        try:
            running = await _begin(connection, command)
        except (asyncssh.Error, OSError) as error:
            raise RackError(f"{self.line.label}: `{command}`: {shortened(str(error))}") from error
        return await self._end(running, command)

    async def _end(self, running: _Running, command: str) -> str:
        try:
            await running.answer.ended()
        except TooMuchSaidError:
            # Closing the channel alone would leave a machine that goes on sending with our line.
            running.connection.abort()
            raise RackError(
                f"{self.line.label}: `{command}` says too much, more than {KEPT_BYTES // 1024} KiB: the line was cut;"
                " run it there by hand to see what is wrong"
            ) from None
        finally:
            running.channel.close()
        return self._output(command, running)

    def _output(self, command: str, running: _Running) -> str:
        exit_status = running.channel.get_exit_status()
        if exit_status is None and self._cut_is_error:
            raise RackError(f"{self.line.label}: the line was cut before `{command}` had ended")
        if exit_status:
            exit_signal = running.channel.get_exit_signal()
            why = f"killed by SIG{shortened(exit_signal[0])}" if exit_signal else f"exit code {exit_status}"
            complaint = running.answer.complaint
            raise CommandError(f"{self.line.label}: `{command}` failed ({why}){complaint and f': {complaint}'}")
        return running.answer.output


class _Running(NamedTuple):
    """A command that was begun, and what it runs over."""

    connection: asyncssh.SSHClientConnection
    channel: asyncssh.SSHClientChannel[bytes]
    answer: Answer


class _Remarks(asyncssh.SSHClient):
    """What sshd remarks of our key; `key_options` are as in `authorized_keys`, without the values."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.key_options: frozenset[str] | None = None

    def debug_msg_received(self, msg: str, lang: str, always_display: bool) -> None:  # noqa: ARG002, FBT001
        _, found, options = msg.partition("key options:")
        if found:
            self.key_options = frozenset(options.split())
            self.heard.set()


async def _begin(connection: asyncssh.SSHClientConnection, command: str) -> _Running:
    answer = Answer()
    channel, _ = await connection.create_session(lambda: answer, command, encoding=None)
    channel.write_eof()  # so that a command that reads its input ends at once
    return _Running(connection, channel, answer)
