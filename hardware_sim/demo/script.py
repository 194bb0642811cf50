"""The demo: start the rack and the real daemon, cut the mains, show what happens, and judge it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.live import Live

from hardware_sim.demo.screen import HEIGHT, WIDTH, draw
from hardware_sim.demo.subscriber import Subscriber, event_line
from hardware_sim.demo.verdict import judge
from hardware_sim.rack import WATTS, SimulatedRack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_CALM_S: Final = 2.0
_LIMIT_S: Final = 57.0
_AFTERMATH_S: Final = 1.0
_FRAME_S: Final = 0.25

SETTINGS: Final = """\
[ups]
backend = "hardware_sim.usb_backend"
outlet_off_delay = "10s"
[power]
debounce = "2s"
[shutdown]
on_battery = "4s"
[kubernetes]
kubeconfig = "{directory}/kubeconfig"
drain_expected = "10s"
drain_limit = "14s"
delete_grace = "2s"
budget_patience = "4s"
"""


def run(*, plain: bool) -> int:
    """Run the demo; 0 if its verdict is clean."""
    console = Console(highlight=False)
    if not plain and (console.width < WIDTH or console.height < HEIGHT):
        console.print(f"The picture needs {WIDTH} columns and {HEIGHT} rows; here are lines instead.")
        plain = True
    directory = Path(tempfile.mkdtemp(prefix="upsd-demo-"))
    console = Console(width=WIDTH, highlight=False, soft_wrap=plain)
    try:
        clean = asyncio.run(_play(directory, console, plain=plain))
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        console.print("stopped")
        return 130
    if clean:
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    console.print(f"The daemon's log and files are kept in {directory}.")
    return 1


async def _play(directory: Path, console: Console, *, plain: bool) -> bool:
    loop = asyncio.get_running_loop()
    began_at = loop.time()

    def tell(text: str) -> None:
        if plain:
            console.print(f"{loop.time() - began_at:5.1f} s  {text}")

    tell("starting the simulated rack and the daemon")
    async with SimulatedRack(directory, SETTINGS.format(directory=directory)) as rack:
        subscriber = Subscriber(rack.mqtt_port, lambda _, event: tell(f"mqtt: {event_line(event)}"))
        for machine in rack.machines.values():
            machine.on_change(lambda changed: tell(f"machine: {changed.name} {changed.state.value}"))
        following = asyncio.create_task(subscriber.follow(began_at))
        cut = False
        try:
            async with _screen(rack, subscriber, began_at, console, shown=not plain):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LIMIT_S):
                        await _outage(rack, subscriber, tell)
                        cut = True
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        verdict = judge(rack, outlets_cut=cut, full_load_w=sum(WATTS.values()))
    console.print()
    for good, line in verdict.lines:
        console.print(f"  {'ok ' if good else 'BAD'}  {line}", style=None if good else "bold red")
    word = "clean" if verdict.clean else "NOT CLEAN"
    console.print(f"\nVerdict: {word}, after {loop.time() - began_at:.0f} s.", style="bold")
    return verdict.clean


async def _outage(rack: SimulatedRack, subscriber: Subscriber, tell: Callable[[str], None]) -> None:
    await subscriber.until(lambda: subscriber.state.get("power") == "on_line")
    tell("the daemon reads the UPS: on line")
    tell(f"upsctl: {await _upsctl(rack, 'arm', '--unproven')}")
    await asyncio.sleep(_CALM_S)
    rack.device.cut_mains()
    tell("the mains is cut")
    await rack.outlets_cut.wait()
    tell("the UPS has cut its outlets")
    await asyncio.sleep(_AFTERMATH_S)


async def _upsctl(rack: SimulatedRack, *arguments: str) -> str:
    """The first line that it prints."""
    command = ("-m", "upsd.ctl.main", *arguments, "--socket", str(rack.control_socket))
    pipe, output = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=pipe, stderr=output)
    printed, _ = await process.communicate()
    return printed.decode().partition("\n")[0]


@contextlib.asynccontextmanager
async def _screen(
    rack: SimulatedRack, subscriber: Subscriber, began_at: float, console: Console, *, shown: bool
) -> AsyncIterator[None]:
    """Draw until the block ends; the last picture stays."""
    if not shown:
        yield
        return
    loop = asyncio.get_running_loop()

    def picture() -> Any:
        return draw(rack, subscriber, after_s=loop.time() - began_at)

    async def redraw(live: Live) -> None:
        while True:
            live.update(picture(), refresh=True)
            await asyncio.sleep(_FRAME_S)

    with Live(picture(), console=console, auto_refresh=False) as live:
        drawing = asyncio.create_task(redraw(live))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            live.update(picture(), refresh=True)
