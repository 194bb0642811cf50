"""The NAS itself, over SSH: have it write out what it caches, and measure that."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from upsd.domain.rack import CommandError, RackError
from upsd.rack.flush_figures import parse_flush
from upsd.rack.flush_script import flush_command

if TYPE_CHECKING:
    from upsd.domain.rack import RemoteHost
    from upsd.domain.storage import Flushed

# To log in to a small machine, and to bring its figures back.
_LOGIN_S = 3.0


@dataclass(frozen=True, slots=True)
class RemoteNas:
    """A NAS that can be told to write out.

    `host` must take a line that is cut before the command has ended for an error. Without a `command` of its own the
    flush is our script, or a plain `sync` where only that is let through. `unforced` is to run nothing where a forced
    command would run in its place.
    """

    host: RemoteHost
    command: str | None = None
    unforced: bool = False

    def rehearsed(self) -> RemoteNas:
        """The same, run only where what is asked for is sure to be what runs."""
        return replace(self, unforced=True)

    async def flush(self, within_s: float) -> Flushed:
        """Write out; what that has shown.

        Raises:
            RackError: It failed, or did not end within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s):
                return await self._flush(max(1, round(within_s - _LOGIN_S)))
        except TimeoutError:
            raise RackError(f"the NAS did not finish `{self.command or 'sync'}` in its time") from None

    async def _flush(self, limit_s: int) -> Flushed:
        if self.command is not None:
            return parse_flush(await self._run(self.command))
        script = flush_command(limit_s)
        try:
            return parse_flush(await self._run(script))
        except CommandError as error:
            # As with a forced command that lets only `sync` through: better unmeasured than not at all.
            await self._run("sync")
            return replace(parse_flush(""), remark=f"no figures: {str(error).replace(script, 'flush')}")
        except RackError as error:
            raise RackError(str(error).replace(script, "flush")) from error

    async def _run(self, command: str) -> str:
        return await (self.host.run_unforced if self.unforced else self.host.run)(command)
