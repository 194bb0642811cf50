"""The simulated UPS on all its cables at once, and as the program that people start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
import usbip

from hardware_sim.ups import actions, scenario
from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.descriptors import IN_ENDPOINT, OUT_ENDPOINT
from hardware_sim.ups.program import main
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.rig import PROFILES, Rig
from hardware_sim.ups.server import UpsServer
from hardware_sim.ups.usbip import UsbIpServer
from hardware_sim.usb_backend import SOCKET_VARIABLE
from tests.integration.simulated_ups import (
    ON_BATTERY,
    ON_LINE,
    RS_REPORTS,
    Control,
    PyusbReader,
    SerialReader,
    UsbIpReader,
    collected,
    controlled,
    in_thread,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

CR_REPORTS = tuple(
    map(bytes.fromhex, ("37 02 20 22 43 52 30 38", "37 30 30 37 38 30 30 30", "36 32 30 32 3D 30 03 30"))
)


async def test_one_ups_is_on_all_its_cables(tmp_path: Path) -> None:
    """The mains is cut by HTTP, and readers on USB, USB/IP and a serial port all see it, and the cable pulled."""
    rig = Rig(load_w=80.0)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(controlled(rig))
        usb_bridge, usbip_bridge = (bridge_to(rig.device, faults=rig.faults, line_speed=10) for _ in range(2))
        await stack.enter_async_context(UpsServer(rig.device, usb_bridge, tmp_path / "ups.sock", tick_s=0.01))
        server = await stack.enter_async_context(UsbIpServer(rig.device, usbip_bridge, port=0))
        path = await stack.enter_async_context(serial_port(rig.device, rig.faults, speed=10))
        readers: list[PyusbReader | UsbIpReader | SerialReader] = [
            await in_thread(PyusbReader, tmp_path / "ups.sock"),
            await in_thread(UsbIpReader, server.port),
            await in_thread(SerialReader, path),
        ]
        for reader in readers:
            stack.callback(reader.close)
        assert [await in_thread(reader.flags) for reader in readers] == 3 * [ON_LINE]
        assert (await control.post("cut"))[0] == 200
        assert [await in_thread(reader.flags) for reader in readers] == 3 * [ON_BATTERY]
        assert (await control.post("unplug"))[0] == 200
        for reader in readers:
            with pytest.raises((OSError, usbip.USBError)):
                await in_thread(reader.flags)


@dataclass
class Program:
    """`python -m hardware_sim ups`, running."""

    process: asyncio.subprocess.Process
    printed: str = ""

    async def until(self, pattern: str) -> str:
        """Wait until it prints this; the first group of it."""
        assert self.process.stdout
        async with asyncio.timeout(20):
            while (found := re.search(pattern, self.printed)) is None:
                line = await self.process.stdout.readline()
                assert line, self.printed
                self.printed += line.decode()
        return found[1] if found.groups() else found[0]

    async def end(self, by: signal.Signals) -> int | None:
        """Stop it; its exit code."""
        assert self.process.stderr
        self.process.send_signal(by)
        async with asyncio.timeout(20):
            assert await self.process.stderr.read() == b""
            return await self.process.wait()


@contextlib.asynccontextmanager
async def program(*options: str, stdout: int = PIPE) -> AsyncIterator[Program]:
    """The program with these options."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hardware_sim", "ups", *options, stdout=stdout, stderr=PIPE, stdin=DEVNULL
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_program_serves_what_it_prints(tmp_path: Path) -> None:
    """Each cable is where it says, it tells what happens, and after SIGTERM nothing is left."""
    link, path = tmp_path / "tty", tmp_path / "ups.sock"
    async with (
        program("--usbip=0", "--pty", str(link), "--socket", str(path), "--control=0", "--load", "100") as running,
        aiohttp.ClientSession() as session,
    ):
        port = int(await running.until(r"usbip --tcp-port (\d+) attach -r 127\.0\.0\.1 -b 1-1"))
        assert await running.until(r"Serial port (.+)") == str(link)
        assert await running.until(f"{SOCKET_VARIABLE}=(.+)") == str(path)
        control = Control(session, await running.until(r"curl (http://127\.0\.0\.1:\d+/)\n"))
        assert (await control.state())["outlets"]["load_w"] == 100.0
        assert (await control.post("cut"))[0] == 200
        assert await running.until("control: cut")
        assert await running.until("mains: 0 V, 0 Hz, not usable")
        assert await running.until("outlets: on battery")
        for reader in (await in_thread(PyusbReader, path), await in_thread(SerialReader, str(link))):
            with contextlib.closing(reader):
                assert await in_thread(reader.flags) == ON_BATTERY
        with contextlib.closing(await in_thread(UsbIpReader, port)) as host:
            assert await in_thread(host.ask, (RS_REPORTS[0], RS_REPORTS[1]))
            assert await in_thread(paced, host, CR_REPORTS)
            assert await running.until("command: outlets off in 120 s, and on again 2 min later")
        assert await running.end(signal.SIGTERM) == 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # no pathlib in a coroutine


def paced(host: UsbIpReader, reports: tuple[bytes, ...]) -> bytes:
    """A request that is longer than the bridge's buffer, with time for ten reports between its pieces; the reply."""
    first, *others = reports
    host.handle.interrupt_out(OUT_ENDPOINT, first)
    for report in others:
        host.handle.interrupt_in(IN_ENDPOINT, 80)
        host.handle.interrupt_out(OUT_ENDPOINT, report)
    return collected(lambda: host.handle.interrupt_in(IN_ENDPOINT, 8))


async def test_the_program_lives_on_when_nobody_reads_what_it_says(free_port: Callable[[], int]) -> None:
    """As behind `head`, which goes when it has enough."""
    port = free_port()
    ours, its = os.pipe()
    async with program("--pty", f"--control={port}", stdout=its) as running, aiohttp.ClientSession() as session:
        os.close(its)
        with os.fdopen(ours) as heard:
            await in_thread(lambda: next(line for line in heard if "restore" in line))
        control = Control(session, f"http://127.0.0.1:{port}/")
        for action in ("cut", "restore"):
            assert (await control.post(action))[0] == 200
        assert (await control.state())["mains"]["usable"]
        assert await running.end(signal.SIGTERM) == 0


async def test_the_program_plays_a_scenario_and_writes_one(tmp_path: Path) -> None:
    """A shipped one at a hundred times the speed; what the control did is in the file before the program ends."""
    recorded = tmp_path / "mine.toml"
    async with (
        program(
            "--pty", "--control=0", "--scenario", "flicker", "--speed", "100", "--record", str(recorded)
        ) as running,
        aiohttp.ClientSession() as session,
    ):
        control = Control(session, await running.until(r"curl (http://127\.0\.0\.1:\d+/)\n"))
        assert await running.until("scenario: over")
        assert running.printed.count("scenario: cut") == 3
        assert (await control.post("brown-out?volts=180"))[0] == 200
        (scene,) = scenario.load(str(recorded)).scenes
        assert str(scene.deed) == "brown-out volts=180"
        assert await running.end(signal.SIGINT) == 0
    assert scenario.load(str(recorded)).load_w == 80.0


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("option", ["--usbip", "--control"])
async def test_a_taken_port_is_told_in_one_line(option: str, taken: int) -> None:
    """Which option it was and what is the matter, and the exit code 1."""
    async with program("--pty", f"{option}={taken}") as running:
        output, errors = await running.process.communicate()
    message = errors.decode()
    assert message.startswith(f"hardware_sim ups: {option}=")
    assert f"{taken}: the port is in use, perhaps by another simulator; end that, or name another port" in message
    assert message.count("\n") == 1
    assert (output, running.process.returncode) == (b"", 1)


async def test_a_second_program_leaves_the_first_one_as_it_is(tmp_path: Path) -> None:
    """Whichever of its names and ports they share: it says so, and the first is reached, recorded and removed."""
    link, path, record = tmp_path / "tty", tmp_path / "ups.sock", tmp_path / "mine.toml"
    names = (f"--pty={link}", f"--socket={path}")
    async with program(*names, "--control=0", "--record", str(record)) as first, aiohttp.ClientSession() as session:
        control = Control(session, await first.until(r"curl (http://127\.0\.0\.1:\d+/)\n"))
        terminal, port = os.readlink(link), control.url.split(":")[-1].strip("/")  # noqa: PTH115  # in a coroutine
        assert (await control.post("cut"))[0] == 200
        for options, message in (
            ((names[0], f"--control={port}", "--record", str(record)), f"--control={port}: the port is in use"),
            ((names[0], "--record", str(record)), f"--pty: {link} leads to {terminal}, where another simulator may be"),
            ((names[1],), f"--socket: at {path} another simulator is reached; end that, or name another path"),
        ):
            async with program(*options) as second:
                _, errors = await second.process.communicate()
            assert message in errors.decode()
            assert second.process.returncode == 1
        for reader in (await in_thread(PyusbReader, path), await in_thread(SerialReader, str(link))):
            with contextlib.closing(reader):
                assert await in_thread(reader.flags) == ON_BATTERY
        assert await first.end(signal.SIGTERM) == 0
    assert os.listdir(tmp_path) == [record.name]  # noqa: PTH208  # no pathlib in a coroutine
    assert [str(scene.deed) for scene in scenario.load(str(record)).scenes] == ["cut"]


async def test_what_is_for_usb_is_passed_over_on_a_serial_port(tmp_path: Path) -> None:
    """A scenario goes on, and one sees why nothing hangs."""
    played = tmp_path / "mine.toml"
    played.write_text('title = "Mine"\n[[do]]\nat = 0\naction = "hang"\n[[do]]\nat = 0\naction = "cut"\n')
    async with program("--pty", "--scenario", str(played)) as running:
        assert await running.until("scenario, passed over: hang is for USB, and this UPS is on no USB cable; ")
        assert await running.until("mains: 0 V, 0 Hz, not usable")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "how shall it be reached? there are --usbip, --pty and --socket"),
        (("--usbip", "70000"), 2, "a port is a number from 0 (any free one) to 65535, not '70000'"),
        (("--pty", "--charge", "80"), 2, "it is a number from 0 to 1, not '80'"),
        (("--pty", "--profile", "iplug"), 2, "invalid choice: 'iplug'"),
        (("--usbip", "--profile", "sentry"), 1, "a sentry speaks 9600 baud and has no USB: use --pty alone"),
        (("--pty", "--scenario", "none"), 1, "none: no such file, and there come along only brown-out, "),
        (
            ("--pty", "/dev/null"),
            1,
            "--pty: /dev/null is something else than a link to a serial port; name another path",
        ),
        (("--pty", "/nowhere/ups"), 1, "--pty: /nowhere is no directory; make it, or name another path"),
        (("--pty", "--record", "/nowhere/mine.toml"), 1, "--record: /nowhere is no directory; make it, or name "),
        (("--pty", "--record", "/dev"), 1, "--record: /dev is something else; name another path"),
        (("--socket", "/nowhere/ups.sock"), 1, "--socket: /nowhere is no directory; make it, or name another path"),
        (("--socket", "/etc/passwd"), 1, "--socket: /etc/passwd is something else; name another path"),
        (("--socket", "/tmp/" + 200 * "u"), 1, "--socket: AF_UNIX path too long"),
    ],
)
def test_what_can_not_be_started_is_told(
    options: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the command line, or in the way."""
    if code == 2:
        with pytest.raises(SystemExit) as ended:
            main(options)
        assert ended.value.code == code
    else:
        assert main(options) == code
    assert message in capsys.readouterr().err


def test_the_help_names_all_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Every profile, action and scenario, and nobody needs another page."""
    with pytest.raises(SystemExit):
        main(["--help"])
    words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    assert {*PROFILES, *actions.ACTIONS, *scenario.shipped()} <= words


def test_the_actions_are_printed_for_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, alone."""
    assert main(["--actions"]) == 0
    assert capsys.readouterr().out == actions.markdown_table() + "\n"
