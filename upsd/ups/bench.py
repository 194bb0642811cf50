"""What does this UPS really do? A guided test that answers what no document settles, and makes a profile of it.

Each step says what will happen and is done only if the person agrees; what it finds goes into the record at once, and
into the profile in the end. A lamp on the outlets shows what the flags may not. Nothing but the lamp may hang on them,
and this machine must have its power from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from upsd.ups.errors import Fault, UpsError
from upsd.ups.gpser_dialect import GpserDialect
from upsd.ups.profile import DeviceProfile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from upsd.domain.power import Reading, UpsIdentity
    from upsd.ups import gpser
    from upsd.ups.dialect import Dialect
    from upsd.ups.driver import UpsDriver
    from upsd.ups.exchange import Ask

SHOWS_WITHIN_S: Final = 5.0
"""How long a flag may take to show, and how long no reading is waited for."""
SPARE_S: Final = 15.0
MEETS_WITHIN_S: Final = 30.0
"""How long the UPS may take to answer at all, in whichever way it speaks."""
RETURNS_WITHIN_S: Final = 180.0
"""How long outlets are waited for that shall come on again."""


class Person(Protocol):
    """Who sits at the bench."""

    async def agrees(self, question: str) -> bool:
        """Whether the answer is yes."""

    async def does(self, instruction: str) -> None:
        """Returns once it has been done."""

    def tell(self, text: str) -> None:
        """Say something."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the test: what the person is told before it, and what it finds out."""

    title: str
    happens: str
    find: Callable[[Bench], Awaitable[Mapping[str, Any]]]


class Bench:
    """A UPS on the bench.

    Args:
        driver: reads it; its stream is followed here and nowhere else.
        person: who sits at it.
        record: is told whatever happens, as objects.
        send_with_pause: makes the pause between the pieces of a request so long (s), or as ever; `None` where there
            are no pieces.
    """

    def __init__(
        self,
        driver: UpsDriver,
        person: Person,
        *,
        record: Callable[[Mapping[str, Any]], None],
        send_with_pause: Callable[[float | None], None] | None,
    ) -> None:
        self.driver = driver
        self.person = person
        self.send_with_pause = send_with_pause
        self._record = record

    async def run(self, steps: Sequence[Step], today: str, before: DeviceProfile | None) -> DeviceProfile:
        """Do the steps that the person agrees to; the profile, with what an earlier test of this unit found.

        Raises:
            UpsError: there is no UPS, or it was lost for good.
        """
        following = asyncio.create_task(self._follow(), name="bench-readings")
        try:
            identity = await self._meet()
            profile = DeviceProfile(model=identity.model, firmware=identity.firmware, measured_on=today)
            if before and before.fits(identity):
                profile = replace(before, measured_on=today)
            for number, step in enumerate(steps, start=1):
                profile = replace(profile, **await self._do(step, f"Step {number} of {len(steps)}: {step.title}"))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return profile

    async def send(self, command: gpser.Command) -> bytes:
        """Any command; the data of its reply."""

        async def work(dialect: Dialect, ask: Ask) -> bytes:
            if not isinstance(dialect, GpserDialect):
                raise UpsError(Fault.NOT_POSSIBLE, "this UPS does not speak GPSER")
            return await dialect.send(ask, command)

        return await self.driver.command(work)

    async def reading(self, within_s: float = SHOWS_WITHIN_S) -> Reading | None:
        """The next reading; `None` if none comes in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self.driver.next_reading()
        return None

    async def until(self, wanted: Callable[[Reading], bool], within_s: float) -> float | None:
        """How long (s) it took until a reading said so; `None` if none did in time."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not wanted(await self.driver.next_reading()):
                    pass
                return loop.time() - began_at
        return None

    async def off_within(self, seconds: float) -> float | None:
        """How long it took until the outlets went off, by the UPS's flag or the person's eyes."""
        shown = await self.until(lambda reading: not reading.output_powered, seconds + SPARE_S)
        if shown is None and await self.person.agrees("The UPS does not show it. Is the lamp off?"):
            return seconds
        return shown

    async def on_within(self, seconds: float) -> float | None:
        """How long it took until the outlets came on."""
        shown = await self.until(lambda reading: reading.output_powered, seconds)
        if shown is None and await self.person.agrees("The UPS does not show it. Is the lamp on?"):
            return seconds
        return shown

    async def press_the_button(self) -> None:
        """Have the outlets switched on by hand."""
        await self.person.does("Switch the UPS on with its button, and wait until the lamp is on.")

    async def accepts(self, work: Callable[[], Awaitable[object]]) -> bool:
        """Whether the UPS takes a command."""
        try:
            await work()
        except UpsError as error:
            if error.fault not in {Fault.REFUSED, Fault.MISHEARD}:
                raise
            self._record({"refused": str(error)})
            return False
        return True

    async def cycle(self, off_after_s: int, restore_min: int) -> None:
        """CR."""
        await self.driver.command(lambda dialect, ask: dialect.cycle(ask, off_after_s, restore_min))

    async def switch_off(self, off_after_s: int) -> None:
        """CS."""
        await self.driver.command(lambda dialect, ask: dialect.switch_off(ask, off_after_s))

    async def cancel(self) -> None:
        """CD."""
        await self.driver.command(lambda dialect, ask: dialect.cancel(ask))

    async def _meet(self) -> UpsIdentity:
        reading = await self.reading(MEETS_WITHIN_S)
        identity = self.driver.identity
        if reading is None or identity is None:
            raise UpsError(Fault.NOT_PRESENT, self.driver.trouble or "the UPS does not answer")
        self.person.tell(f"This is a {identity.model}, firmware {identity.firmware or 'unknown'}.")
        return identity

    async def _follow(self) -> None:
        shown: Reading | None = None
        async for reading in self.driver.readings():
            if reading != shown:
                self._record({"reading": {name: value for name, value in asdict(reading).items() if value}})
                shown = reading

    async def _do(self, step: Step, title: str) -> Mapping[str, Any]:
        self.person.tell(f"\n{title}\n{step.happens}")
        if not await self.person.agrees("Do it?"):
            self._record({"step": step.title, "skipped": True})
            return {}
        self._record({"step": step.title})
        try:
            found = await step.find(self)
        except UpsError as error:
            self.person.tell(f"It could not be done: {error}")
            self._record({"step": step.title, "failed": str(error)})
            return {}
        for name, value in found.items():
            shown = {True: "yes", False: "no", None: "not known"}.get(value, value)
            self.person.tell(f"  {name.replace('_', ' ')}: {shown}")
        if not found:
            self.person.tell("  There is nothing to find out on this cable.")
        self._record({"step": step.title, "found": dict(found)})
        return found
