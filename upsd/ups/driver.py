"""From a transport to a stream of `Reading`s and a few commands: find, identify, poll, reconnect.

A device counts as the UPS only after a valid identification; anything else behind the same USB id is left alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from upsd.ups import gpser
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import Check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from upsd.domain.power import Reading, UpsIdentity
    from upsd.ups.transport import Transport

log = structlog.get_logger()

_RETRY_CONNECT_S = 1.0
_FAILURES_BEFORE_REOPEN = 3


class UpsDriver:
    """One UPS behind a transport.

    Args:
        transport: the way to it.
        device: where it is (a USB bus path); `None` takes the first that identifies itself.
        poll_interval_s: from the start of one status poll to the start of the next.
        exchange_timeout_s: for one request and its reply.
    """

    def __init__(
        self, transport: Transport, *, device: str | None, poll_interval_s: float, exchange_timeout_s: float
    ) -> None:
        self._transport = transport
        self._device = device
        self._poll_interval_s = poll_interval_s
        self._exchange_timeout_s = exchange_timeout_s
        self._check = Check.SUM
        self._turn = asyncio.Lock()
        self.identity: UpsIdentity | None = None
        self.trouble: str | None = None
        """Why there are no readings, for a person; `None` while there are."""

    async def readings(self) -> AsyncGenerator[Reading, None]:
        """Readings for ever. Trouble is logged once and kept in `trouble`; the stream is just silent."""
        loop = asyncio.get_running_loop()
        failures = _FAILURES_BEFORE_REOPEN
        while True:
            started = loop.time()
            try:
                if failures >= _FAILURES_BEFORE_REOPEN:
                    await self._connect()
                reading = await self._poll()
            except UpsError as error:
                failures = _FAILURES_BEFORE_REOPEN if error.closes_device else failures + 1
                self._note(error)
                if failures < _FAILURES_BEFORE_REOPEN:
                    continue  # one or two retries at once, before anybody misses a reading
                await asyncio.sleep(_RETRY_CONNECT_S)
            else:
                failures = 0
                self._note(None)
                yield reading
                await asyncio.sleep(max(0.0, started + self._poll_interval_s - loop.time()))

    async def cycle(self, off_after_s: int, restore_after_min: int) -> None:
        """Switch the outlets off after the delay (s), and on again that many minutes after.

        One that is pending already, such as of a run of ours that was killed, is replaced.
        """
        cycle = gpser.shutdown_and_restore(off_after_s, restore_after_min)
        try:
            await self.command(cycle)
        except UpsError as error:
            if error.fault is not Fault.REFUSED:
                raise
            await self.cancel()
            await self.command(cycle)

    async def cancel(self) -> None:
        """Call off a pending switch-off, or a pending restore (then the outlets stay off)."""
        await self.command(gpser.CANCEL)

    async def command(self, command: gpser.Command) -> bytes:
        """Send a command, between two polls; the reply's data.

        Raises:
            UpsError: not delivered, or refused.
        """
        async with self._turn:
            frame = await self._transport.exchange(command.request(self._check), self._exchange_timeout_s)
            return command.reply(frame, self._check)

    async def close(self) -> None:
        """Give the device back."""
        async with self._turn:
            await self._transport.close()

    async def _poll(self) -> Reading:
        data = await self.command(gpser.STATUS)
        return gpser.reading_from(gpser.decode_status(data), asyncio.get_running_loop().time())

    async def _connect(self) -> None:
        devices = [self._device] if self._device else await self._transport.devices()
        trouble = UpsError(Fault.NOT_PRESENT, "no UPS is plugged in; check its USB cable")
        for device in devices:
            try:
                await self._transport.open(device)
                await self._identify()
            except UpsError as error:
                trouble = error
                await self._transport.close()
            else:
                log.info("ups_connected", device=device, model=self.identity and self.identity.model)
                return
        # Whatever the reason, the next attempt starts from the list of devices.
        raise UpsError(Fault.NOT_PRESENT, str(trouble)) from trouble

    async def _identify(self) -> None:
        # GI is always summed, also by a device that uses the CRC for everything else.
        self._check = Check.SUM
        identification = gpser.decode_identification(await self.command(gpser.IDENTIFY))
        self._check = identification.check
        try:
            nominals = gpser.decode_nominals(await self.command(gpser.NOMINAL))
        except UpsError as error:
            if error.fault is not Fault.REFUSED:
                raise
            nominals = None
        self.identity = gpser.identity_from(identification, nominals)

    def _note(self, error: UpsError | None) -> None:
        trouble = None if error is None else str(error)
        if trouble is not None and trouble != self.trouble:
            log.warning("ups_exchange_failed", fault=error and error.fault.value, reason=trouble)
        self.trouble = trouble
