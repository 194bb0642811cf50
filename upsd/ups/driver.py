"""From a transport to a stream of `Reading`s and a few commands: find, identify, poll, reconnect.

A device counts as the UPS only after a valid identification, and whatever goes wrong ends in readings again as soon as
the UPS answers. Trouble is one log line when the UPS is lost and one when it is back; in between `trouble` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from upsd.ups.errors import Fault, UpsError
from upsd.ups.exchange import Quiet
from upsd.ups.pacing import may_be_changing
from upsd.ups.selection import ambiguous
from upsd.ups.trust import Trust, sift

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from upsd.domain.power import Reading, UpsIdentity
    from upsd.ups.dialect import Dialect
    from upsd.ups.exchange import Ask, Exchange
    from upsd.ups.selection import Known, Selection
    from upsd.ups.transport import Place, Transport

log = structlog.get_logger()

_LOOK_AGAIN_S = 0.25
_FAILURES_BEFORE_TELLING = 3
_RESET_AFTER_S = 3.0
_RESET_AGAIN_S = 15.0
_ANOTHER_WAY_EVERY = 100
_QUIET_S = 1.0
_WIRE_S = 0.55  # a status poll takes as long at 1200 baud: whoever wants no fewer lets them follow each other

_NO_ANSWER = (
    "what is plugged in at {path} does not answer as a UPS would; pull its cable and put it back,"
    " or set ups.port if the UPS is elsewhere"
)

_Result = TypeVar("_Result")


class Probe(NamedTuple):
    """A way in which a UPS may speak: the protocol, and the speed of its line."""

    dialect: Dialect
    baud: int


class _Wait(NamedTuple):
    """Somebody waits for a reading of this poll or a later one."""

    reading: asyncio.Future[Reading]
    poll: int


class UpsDriver:
    """One UPS behind a transport.

    Args:
        transport: the way to it.
        probes: how it may speak, the likeliest first.
        selection: which one of several it is.
        poll_interval_s: from the start of one status poll to the start of the next, while all is calm.
        remember: is told which unit is ours, when that has changed.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        probes: Sequence[Probe],
        selection: Selection,
        poll_interval_s: float,
        remember: Callable[[Known], None] = lambda _: None,
    ) -> None:
        self._transport = transport
        self._probes = tuple(probes)
        self._selection = selection
        self._poll_interval_s = poll_interval_s
        self._back_to_back = poll_interval_s <= _WIRE_S
        self._remember = remember
        self._turn = asyncio.Lock()
        self._spoken: Probe | None = None
        self._connected = False
        self._failures = 0
        self._rounds = 0
        self._reset_at = 0.0
        self._place: Place | None = None
        self._met = self._lost = False
        self._trust = Trust()
        self._calm = False
        self._answered, self._answered_at = (b"", b""), 0.0
        self._hurried = 0
        self._waiting: list[_Wait] = []
        self._polls = 0
        self._wanted_now = asyncio.Event()
        self.identity: UpsIdentity | None = None
        self.trouble: str | None = None
        """Why there are no readings, for a person; `None` while there are."""

    @property
    def protocol(self) -> str | None:
        """Which protocol the UPS speaks, once that is known."""
        return self._spoken and self._spoken.dialect.name

    @property
    def line(self) -> tuple[str, int] | None:
        """Where our UPS is, or was last, and the speed of its line."""
        return (self._place.path, self._spoken.baud) if self._place and self._spoken else None

    async def readings(self) -> AsyncGenerator[Reading, None]:
        """Readings for ever; in trouble the stream is just silent."""
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            try:
                if not self._connected:
                    await self._connect()
                reading = await self._read()
            except UpsError as error:
                await self._stumble(error, began_at)
                continue
            self._recover()
            yield reading
            if self._calm:
                await self._rest(began_at + self._poll_interval_s)

    async def next_reading(self, *, asked_anew: bool = False) -> Reading:
        """The next reading of the stream, or the first for which the UPS is asked from now on.

        While somebody waits for it, the UPS is asked without a pause.
        """
        reading: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Wait(reading, self._polls + asked_anew))
        self._wanted_now.set()
        self._transport.hurry()
        return await reading

    async def command(self, work: Callable[[Dialect, Ask], Awaitable[_Result]]) -> _Result:
        """Have something done by the UPS, between two polls.

        Raises:
            UpsError: not delivered, refused, or there is no UPS now.
        """
        if not self._connected or self._spoken is None:
            raise UpsError(Fault.NOT_PRESENT, self.trouble or "no UPS has answered yet")
        return await work(self._spoken.dialect, self._ask)

    async def close(self) -> None:
        """Give the device back."""
        self._connected = False
        async with self._turn:
            await self._transport.close()

    async def _ask(self, exchange: Exchange) -> bytes:
        self._hurried += 1
        self._transport.hurry()
        try:
            # A command that comes meanwhile waits for one reply, not for a poll with its retries.
            async with self._turn:
                reply = await self._transport.exchange(exchange)
        finally:
            self._hurried -= 1
        return exchange.proven(reply.data)

    async def _ask_calmly(self, exchange: Exchange) -> bytes:
        """For a poll: while the UPS answers what it has answered last, nobody has to be woken each time."""
        async with self._turn:
            request, before = self._answered
            quiet = None
            nobody_waits = not (self._hurried or self._waiting)
            if self._calm and self._back_to_back and nobody_waits and request == exchange.request:
                quiet = Quiet(before, asyncio.get_running_loop().time() + _QUIET_S)
            reply = await self._transport.exchange(exchange, quiet)
        self._answered, self._answered_at = (exchange.request, reply.data), reply.at
        return exchange.proven(reply.data)

    async def _read(self) -> Reading:
        if self._spoken is None:
            raise UpsError(Fault.NOT_PRESENT, "no UPS has answered yet")
        before = self._trust.believed
        self._polls += 1
        poll = self._polls
        said = await self._spoken.dialect.read(self._ask_calmly, lambda: self._answered_at)
        self._trust, reading = sift(self._trust, said)
        self._calm = not may_be_changing(before, reading)
        answered = [wait for wait in self._waiting if wait.poll <= poll]
        self._waiting = [wait for wait in self._waiting if wait.poll > poll]
        for wait in answered:
            if not wait.reading.done():
                wait.reading.set_result(reading)
        return reading

    async def _rest(self, until: float) -> None:
        self._wanted_now.clear()
        if not self._waiting and asyncio.get_running_loop().time() < until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._wanted_now.wait()

    def _recover(self) -> None:
        """A reading came."""
        self._failures, self.trouble = 0, None
        if (self._lost or not self._met) and self._place and self.identity:
            self._lost, self._met = False, True
            log.info("ups_connected", place=self._place.path, model=self.identity.model, protocol=self.protocol)

    async def _stumble(self, error: UpsError, began_at: float) -> None:
        """After an attempt that failed: once more at once, by another opening, or a little later."""
        now = asyncio.get_running_loop().time()
        self.trouble = str(error)
        self._calm = False
        self._failures += 1
        if self._failures == 1:
            self._reset_at = now + _RESET_AFTER_S
        if not self._lost and (error.closes_device or self._failures >= _FAILURES_BEFORE_TELLING):
            self._lost = True
            log.warning("ups_unreachable", fault=error.fault.value, reason=str(error))
        out_of_sight = self._transport.loses_sight and self._failures > 1
        if not self._connected:
            await asyncio.sleep(max(0.0, began_at + _LOOK_AGAIN_S - now))
        elif error.closes_device or out_of_sight or now >= self._reset_at:
            await self._let_go(hangs=not error.closes_device and now >= self._reset_at)
        elif error.fault in {Fault.NO_REPLY, Fault.MISHEARD}:
            self._transport.slow_down()

    async def _let_go(self, *, hangs: bool) -> None:
        """Close the device, to look for it anew; one of ours that hangs is brought to its senses before."""
        self._connected = False
        with contextlib.suppress(UpsError):
            if hangs:
                self._reset_at = asyncio.get_running_loop().time() + _RESET_AGAIN_S
                await self._transport.reset()
            await self._transport.close()
            self._selection.lost(await self._transport.places())

    async def _connect(self) -> None:
        places = await self._transport.places()
        asking = self._selection.worth_asking(places, asyncio.get_running_loop().time())
        compare = self._selection.must_compare(asking)
        self._rounds += 1
        found: dict[Place, UpsIdentity] = {}
        trouble: UpsError | None = None
        for place in asking:
            try:
                identity = await self._identify(place)
            except UpsError as error:
                trouble = trouble or error
                await self._give_up(place, error)
                continue
            if not compare:
                self._take(place, identity, places)
                return
            found[place] = identity
        if len(found) == 1:
            (place,) = found
            self._take(place, await self._identify(place), places)
            return
        if found:
            trouble = ambiguous({place.path: identity for place, identity in found.items()})
            for place in found:
                await self._give_up(place, trouble)
        raise trouble or self._selection.absence(places)

    async def _identify(self, place: Place) -> UpsIdentity:
        """Who is at this place, asked in every way that it may speak."""
        if place == self._place and self._spoken and self.identity:
            # Not plugged in anew since it has said who it is: it need not say it again.
            await self._transport.open(place.path, self._spoken.baud)
            return self.identity
        trouble = UpsError(Fault.NO_REPLY, _NO_ANSWER.format(path=place.path))
        for probe in self._ways_to_ask(place):
            try:
                await self._transport.open(place.path, probe.baud)
                identity = await probe.dialect.identify(self._ask)
            except UpsError as error:
                if error.closes_device:
                    raise
                if error.fault is not Fault.NO_REPLY:
                    trouble = error
            else:
                self._selection.check(place, identity)
                self._spoken = probe
                return identity
        raise trouble

    def _ways_to_ask(self, place: Place) -> Sequence[Probe]:
        """All, but for the unit that was ours: as it spoke before, and only now and then in one other way.

        Not at all in another way where asking it would keep one that wakes up waiting: on a serial line.
        """
        if self._spoken is None:
            return self._probes
        others = [probe for probe in self._probes if probe != self._spoken]
        if self._selection.is_ours(place) and others:
            turn, between = divmod(self._rounds, _ANOTHER_WAY_EVERY)
            others = [] if between or self._transport.loses_sight else [others[turn % len(others)]]
        return (self._spoken, *others)

    async def _give_up(self, place: Place, error: UpsError) -> None:
        """Nobody of interest is there."""
        self._selection.failed(place, asyncio.get_running_loop().time(), error)
        with contextlib.suppress(UpsError):
            await self._transport.close()

    def _take(self, place: Place, identity: UpsIdentity, places: Sequence[Place]) -> None:
        before = self._selection.known
        known = self._selection.took(place, identity, places)
        if known != before:
            self._remember(known)
        if identity != self.identity:
            self._trust = Trust()
        self.identity = identity
        self._place = place
        self._rounds = 0
        self._connected = True
