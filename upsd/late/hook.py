"""One short exchange with the UPS, a moment before the power is gone: does it count down? If not, it is told again.

Whatever the mains does meanwhile: the machines are off, and only a cycle of their outlets starts them.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from upsd.ups.errors import Fault, UpsError
from upsd.ups.gpser_dialect import GpserDialect

if TYPE_CHECKING:
    from upsd.ups.cycle_order import CycleOrder
    from upsd.ups.exchange import Exchange
    from upsd.ups.transport import Transport

STAGE_S: Final = 20
"""What is left to do now takes a few seconds; after this long the outlets may go off."""
_HOLDS_S: Final = 1800.0
"""A power-off so long after the order is another one, of somebody who does not want his outlets cycled."""
_LOOK_AGAIN_S = 0.25
_GIVES_UP_AFTER_S = 8.0


def is_current(order: CycleOrder, now_s: float) -> bool:
    """Whether this power-off is the one that the order was left for, by CLOCK_BOOTTIME (s)."""
    return 0 <= now_s - order.at_s <= order.off_after_s + _HOLDS_S


async def see_to_it(order: CycleOrder, transport: Transport, now_s: float, within_s: float = _GIVES_UP_AFTER_S) -> str:
    """See that the UPS will do what was ordered, in at most so many seconds; what became of it, for a person."""
    trouble = UpsError(Fault.NO_REPLY, "the UPS does not answer")
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    return await _see_to_it_once(order, transport, now_s)
                except UpsError as error:
                    trouble = error
                await asyncio.sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        known = "it took the command before" if order.accepted else "it has not taken the command, so they may stay off"
        return f"whether the outlets will be cycled is not known: {trouble}; {known}"


async def _see_to_it_once(order: CycleOrder, transport: Transport, now_s: float) -> str:
    _, _, wanted = order.port.partition(":")
    places = [place.path for place in await transport.places() if wanted in {"", place.path}]
    if len(places) != 1:
        raise UpsError(Fault.NOT_PRESENT, "no UPS is plugged in" if not places else "which UPS it is is not known")
    await transport.open(places[0], order.baud)

    async def ask(exchange: Exchange) -> bytes:
        return exchange.proven((await transport.exchange(exchange)).data)

    dialect = GpserDialect()
    await dialect.identify(ask)
    reading = await dialect.read(ask, asyncio.get_running_loop().time)
    if reading.shutdown_active or reading.shutdown_imminent:
        left_s = max(0, round(order.at_s + order.off_after_s - now_s))
        return f"the UPS counts down; the outlets go off in about {left_s} s"
    if order.restore_after is None:
        send = partial(dialect.switch_off, ask, STAGE_S)
    else:
        send = partial(dialect.cycle, ask, STAGE_S, order.restore_after)
    try:
        await send()
    except UpsError as error:
        if error.fault is not Fault.REFUSED:
            raise
        if order.accepted and not order.shown:
            return "the UPS took the command before, never shows what it counts, and takes no second one"
        # Something is in the way that it does not show; by the document there is nothing to lose.
        await dialect.cancel(ask)
        await send()
    return f"the UPS did not count down, and was told again; the outlets go off in {STAGE_S} s"


def transport_to(order: CycleOrder) -> Transport:
    """The way to the UPS; each kind of cable brings in only its own library."""
    kind, _, path = order.port.partition(":")
    if kind == "serial":
        from upsd.ups.serial_port import SerialTransport  # noqa: PLC0415

        return SerialTransport(path)
    from upsd.ups.pacing import PiecePause  # noqa: PLC0415
    from upsd.ups.usb_port import UsbPort, UsbTransport, load_backend  # noqa: PLC0415

    return UsbTransport(
        UsbPort(
            load_backend=partial(load_backend, None),
            pause=PiecePause(),
            clock=time.monotonic,  # noqa: TID251  # the USB thread has no event loop to ask
            sleep=time.sleep,  # noqa: TID251  # it blocks on USB anyway
        )
    )
