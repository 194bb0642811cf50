"""The steps of the bench test: each finds out one thing about a UPS, in the order from harmless to laborious.

The questions are those that the protocol's documents leave open: pauses, flags that may never be set, whether a cycle
is honoured and what its restore waits for, when the battery counts as low.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from upsd.ups import battery_test, gpser
from upsd.ups.bench import RETURNS_WITHIN_S, SHOWS_WITHIN_S, SPARE_S, Step
from upsd.ups.errors import Fault, UpsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upsd.domain.power import Reading
    from upsd.ups.bench import Bench

_PAUSES_S: Final = (0.1, 0.08, 0.06, 0.04, 0.02, 0.0)
_REPEATS: Final = 20
_LONGEST_REQUEST: Final = gpser.Command("RX", b"0" * 8)
"""A command that no UPS knows, as long as the longest that it knows: refused as unknown, it has arrived undamaged."""

_TEST_LASTS_S: Final = 60.0
_CANCELLED_DELAY_S: Final = 30
_SHORT_DELAY_S: Final = 20
_DELAYS_S: Final = (65535, 9999, 3600, 999, 600, 255)
_RESTORE_S: Final = 60.0
_LONGEST_DISCHARGE_S: Final = 4 * 3600.0


async def _pace(bench: Bench) -> Mapping[str, Any]:
    """The shortest pause between pieces at which nothing is lost."""
    if bench.send_with_pause is None:
        return {}
    shortest: float | None = None
    for pause_s in _PAUSES_S:
        bench.send_with_pause(pause_s)
        arrived = 0
        while arrived < _REPEATS and await _arrives(bench):
            arrived += 1
        bench.person.tell(f"  {1000 * pause_s:.0f} ms: {arrived} requests arrived, until one did not or it was enough")
        if arrived < _REPEATS:
            break
        shortest = pause_s
    bench.send_with_pause(None)
    return {} if shortest is None else {"packet_pause_s": shortest}


async def _arrives(bench: Bench) -> bool:
    try:
        await bench.send(_LONGEST_REQUEST)
    except UpsError as error:
        if error.fault is Fault.NOT_POSSIBLE:
            raise
        return error.fault is Fault.REFUSED
    return True


async def _test(bench: Bench) -> Mapping[str, Any]:
    """Whether a battery test shows, and how long it takes."""
    before = await bench.reading()
    await bench.driver.command(lambda dialect, ask: dialect.test_battery(ask))
    seen: list[Reading] = []
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + _TEST_LASTS_S
    while loop.time() < ends_at and (reading := await bench.reading()):
        if battery_test.is_running(reading):
            seen.append(reading)
        elif seen:
            break
    beeps = {reading.beeper_on for reading in (*seen, *((before,) if before else ()))}
    return {
        "shows_test": any(reading.test_in_progress for reading in seen),
        "test_s": round(seen[-1].at - seen[0].at, 1) if seen else None,
        "shows_beeper": len(beeps) > 1,
    }


async def _load(bench: Bench) -> Mapping[str, Any]:
    """Whether its load figure means anything."""
    await bench.person.does("Put a load of at least 60 W on the outlets, and switch it on.")
    shown = await bench.until(lambda reading: bool(reading.load_percent), SHOWS_WITHIN_S)
    return {"reports_load": shown is not None}


async def _cancelling(bench: Bench) -> Mapping[str, Any]:
    """Whether a scheduled cycle shows, and can be called off."""
    await bench.cycle(_CANCELLED_DELAY_S, 1)
    shows = await bench.until(lambda reading: reading.shutdown_active, SHOWS_WITHIN_S) is not None
    await bench.cancel()
    bench.person.tell(f"  called off; waiting {_CANCELLED_DELAY_S + SPARE_S:.0f} s to see that the lamp stays on")
    if await bench.until(lambda reading: not reading.output_powered, _CANCELLED_DELAY_S + SPARE_S) is not None:
        raise UpsError(Fault.NOT_POSSIBLE, "the outlets went off although that was called off: go no further")
    if not await bench.person.agrees("Is the lamp on?"):
        raise UpsError(Fault.NOT_POSSIBLE, "the outlets went off although that was called off: go no further")
    return {"shows_shutdown": shows}


async def _delays(bench: Bench) -> Mapping[str, Any]:
    """Which delays it takes, and whether a second command takes the place of the first."""
    longest = 0
    for delay_s in _DELAYS_S:
        if await bench.accepts(partial(bench.cycle, delay_s, 1)):
            longest = delay_s
            break
    replaces = await bench.accepts(partial(bench.cycle, longest, 2)) if longest else None
    await bench.cancel()
    return {"longest_delay_s": longest or None, "replaces_pending": replaces}


async def _cycle_on_mains(bench: Bench) -> Mapping[str, Any]:
    """Whether CR cycles the outlets, and what it counts the restore delay in."""
    await bench.cycle(_SHORT_DELAY_S, 1)
    if await bench.off_within(_SHORT_DELAY_S) is None:
        return {"cycles_outlets": False}
    restored_s = await bench.on_within(RETURNS_WITHIN_S)
    if restored_s is None:
        await bench.press_the_button()
    minute = restored_s is not None and abs(restored_s - _RESTORE_S) <= SPARE_S
    return {"cycles_outlets": restored_s is not None, "restore_unit_s": _RESTORE_S if minute else restored_s}


async def _off_on_mains(bench: Bench) -> Mapping[str, Any]:
    """Whether the outlets return after CS while there is mains."""
    await bench.switch_off(_SHORT_DELAY_S)
    if await bench.off_within(_SHORT_DELAY_S) is None:
        return {}
    returned = await bench.on_within(RETURNS_WITHIN_S) is not None
    if not returned:
        await bench.press_the_button()
    return {"off_returns_on_mains": returned}


async def _cycle_without_mains(bench: Bench) -> Mapping[str, Any]:
    """Whether a restore waits for the mains."""
    await bench.person.does("Pull the UPS's mains plug.")
    await bench.cycle(_SHORT_DELAY_S, 1)
    if await bench.off_within(_SHORT_DELAY_S) is None:
        await bench.person.does("Put the mains plug back.")
        return {}
    waits = await bench.on_within(_RESTORE_S + SPARE_S) is None
    await bench.person.does("Put the mains plug back.")
    if waits and await bench.on_within(RETURNS_WITHIN_S) is None:
        await bench.press_the_button()
        return {"restore_waits_for_mains": None}
    return {"restore_waits_for_mains": waits}


async def _off_without_mains(bench: Bench) -> Mapping[str, Any]:
    """Whether the outlets return after CS with the mains."""
    await bench.person.does("Pull the UPS's mains plug.")
    await bench.switch_off(_SHORT_DELAY_S)
    went_off = await bench.off_within(_SHORT_DELAY_S) is not None
    await bench.person.does("Put the mains plug back.")
    if not went_off:
        return {}
    returned = await bench.on_within(RETURNS_WITHIN_S) is not None
    if not returned:
        await bench.press_the_button()
    return {"off_returns_with_mains": returned}


async def _discharge(bench: Bench) -> Mapping[str, Any]:
    """When it says that the battery is low, how long it lasts then, and whether it starts again."""
    await bench.person.does("Put about as much on the outlets as your rack draws, and pull the UPS's mains plug.")
    loop = asyncio.get_running_loop()
    low: Reading | None = None
    last_at, ends_at = loop.time(), loop.time() + _LONGEST_DISCHARGE_S
    while loop.time() < ends_at and (reading := await bench.reading()):
        if not reading.output_powered:
            break
        last_at = reading.at
        low = low or (reading if reading.battery_low else None)
    await bench.person.does("The battery is empty. Put the mains plug back.")
    starts = await bench.on_within(RETURNS_WITHIN_S) is not None
    if not starts:
        await bench.press_the_button()
    return {
        "low_battery_v": low and low.battery_voltage_v,
        "low_to_off_s": low and round(last_at - low.at, 1),
        "starts_after_run_out": starts,
    }


STEPS: Final = (
    Step("pace", "Requests are sent faster and faster, until some get lost. Nothing is switched.", _pace),
    Step("battery test", "The UPS tests its battery for some seconds. The lamp must stay on.", _test),
    Step("load", "You put a load on the outlets, and its load figure is looked at.", _load),
    Step("calling off", "An outlet cycle is scheduled and called off. The lamp must stay on.", _cancelling),
    Step("delays", "Long delays are scheduled and called off. The lamp must stay on.", _delays),
    Step("outlet cycle", "The lamp goes off after 20 s, and on again a minute later.", _cycle_on_mains),
    Step("switch-off", "The lamp goes off after 20 s, and perhaps stays off.", _off_on_mains),
    Step("outlet cycle without mains", "You pull the mains plug. The lamp goes off after 20 s.", _cycle_without_mains),
    Step("switch-off without mains", "You pull the mains plug. The lamp goes off after 20 s.", _off_without_mains),
    Step("discharge", "The battery is discharged until the UPS goes off. This takes up to hours.", _discharge),
)
