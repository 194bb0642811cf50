"""The simulated UPS on a pseudo terminal, as a program meets it that was written for a serial port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import termios
from typing import TYPE_CHECKING

import pytest

from hardware_sim.ups import pty
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.line import byte_s, serial_line
from hardware_sim.ups.profiles import IPLUG_800, SENTRY_60K
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.server import let_time_pass
from hardware_sim.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hardware_sim.ups.line import SerialLine

GI = bytes.fromhex("02 20 22 47 49 30 30 30 31 33 32 03")
RS = bytes.fromhex("02 20 22 52 53 30 30 30 31 34 37 03")
GI_REPLY_BYTES, RS_REPLY_BYTES = 68, 48


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> SerialLine:
    """The line of the next port, ten times as fast as a real one."""
    made = serial_line(UpsDevice(), speed=10)
    monkeypatch.setattr(pty, "serial_line", lambda *_: made)
    return made


@contextlib.contextmanager
def opened(path: str, speed: int = termios.B1200) -> Iterator[int]:
    """The port, at this speed; reads and writes block."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        set_speed(port, speed)
        yield port
    finally:
        os.close(port)


def set_speed(port: int, speed: int) -> None:
    """As a program sets it."""
    attributes = termios.tcgetattr(port)
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(port, termios.TCSANOW, attributes)


def received(port: int, length: int) -> bytes:
    """Wait for so many bytes."""
    data = b""
    while len(data) < length:
        data += os.read(port, length - len(data))
    return data


def hung_up(port: int) -> bool:
    """Wait until a read ends without anything."""
    try:
        return os.read(port, 1) == b""
    except OSError as error:
        return error.errno == errno.EIO


async def ask(port: int, request: bytes, reply_bytes: int) -> bytes:
    """Send a request and wait for so many bytes."""
    os.write(port, request)
    async with asyncio.timeout(10):
        return await asyncio.to_thread(received, port, reply_bytes)


@contextlib.asynccontextmanager
async def living_port(link: Path, speed: float = 1.0) -> AsyncIterator[Faults]:
    """A port at this name, of a UPS for which time passes."""
    device, faults = UpsDevice(), Faults()
    living = asyncio.create_task(let_time_pass(device, 0.01))
    try:
        async with serial_port(device, faults, speed, link=link), asyncio.timeout(10):
            yield faults
    finally:
        living.cancel()


async def heard(line: SerialLine) -> None:
    """Wait until what was written to the port is on its line; no virtual time passes meanwhile."""
    while line.next_due() is None:  # noqa: ASYNC110  # the kernel has no event for it
        await asyncio.sleep(0)


async def test_the_ups_answers_at_its_own_speed() -> None:
    """GI and RS at 1200 baud, and no sooner than that speed allows."""
    loop = asyncio.get_running_loop()
    async with serial_port(UpsDevice(), speed=10) as path:
        with opened(path) as port:
            began_at = loop.time()
            assert (await ask(port, GI, GI_REPLY_BYTES))[:5] == b'\x02" GI'
            assert loop.time() - began_at >= (len(GI) + GI_REPLY_BYTES) * byte_s(1200) / 10
            assert (await ask(port, RS, RS_REPLY_BYTES))[7:8] == b"8"


async def test_a_program_at_another_speed_hears_nothing(line: SerialLine) -> None:
    """What is asked at 9600 baud, or at the speed that a port has at first, is never answered."""
    async with serial_port(UpsDevice()) as path, asyncio.timeout(10):
        for speed in (termios.B9600, termios.B38400):
            with opened(path, speed) as port:
                os.write(port, GI)
                await heard(line)
                set_speed(port, termios.B1200)
                # Had it been heard, its reply would come first.
                assert (await ask(port, RS, RS_REPLY_BYTES))[:5] == b'\x02" RS'


async def test_a_sentry_is_heard_at_9600_baud() -> None:
    """The port follows the profile: one byte asks, 103 answer."""
    async with serial_port(UpsDevice(SENTRY_60K)) as path:
        with opened(path, termios.B9600) as port:
            assert (await ask(port, b"\xc0", 103))[:2] == b"\xc0\x67"


async def test_pulling_the_cable_hangs_the_line_up(tmp_path: Path) -> None:
    """A read that waits ends, later ones find nothing, and the name is gone."""
    link = tmp_path / "ups"
    async with living_port(link) as faults:
        with opened(str(link)) as port:
            reading = asyncio.create_task(asyncio.to_thread(hung_up, port))
            faults.unplugged = True
            assert await reading
            with pytest.raises(OSError, match="Input/output error"):
                os.write(port, RS)
            assert not link.is_symlink()


async def test_the_cable_put_back_is_another_port_under_the_same_name(tmp_path: Path) -> None:
    """The link leads to the new terminal, and the UPS answers there; in the end there is no link."""
    link = tmp_path / "ups"
    async with living_port(link, speed=20) as faults:
        with opened(str(link)) as old:
            faults.unplugged = True
            faults.unplugged = False
            assert await asyncio.to_thread(hung_up, old)
            with opened(str(link)) as port:
                assert os.ttyname(port) == str(link.readlink())
                assert (await ask(port, RS, RS_REPLY_BYTES))[:5] == b'\x02" RS'
    assert not link.is_symlink()


async def test_a_link_that_was_left_behind_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    """A run that was killed leaves its link; somebody's file stays."""
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to("/dev/pts/nowhere")
    async with serial_port(UpsDevice(), link=link) as path:
        with opened(path):
            pass
    file.write_text("mine")
    with pytest.raises(FileExistsError):
        async with serial_port(UpsDevice(), link=file):
            pass
    assert file.read_text() == "mine"


async def test_a_link_that_leads_somewhere_is_refused(tmp_path: Path) -> None:
    """The second of two ports is told where it leads, and the first is reached as before."""
    link = tmp_path / "ups"
    async with serial_port(UpsDevice(), speed=20, link=link):
        first = link.readlink()
        with pytest.raises(FileExistsError, match=f"{link} leads to {first}, where another simulator may be; end that"):
            async with serial_port(UpsDevice(), link=link):
                pass
        with opened(str(link)) as port:
            assert (await ask(port, RS, RS_REPLY_BYTES))[:5] == b'\x02" RS'
    assert not link.is_symlink()


async def test_a_link_that_somebody_changed_is_left_alone(tmp_path: Path) -> None:
    """When the port ends it leads to another device, and goes on to do so."""
    link = tmp_path / "ups"
    async with serial_port(UpsDevice(), link=link):
        link.unlink()
        link.symlink_to("/dev/null")
    assert str(link.readlink()) == "/dev/null"


async def test_a_name_that_was_taken_while_the_cable_was_out_is_waited_for(tmp_path: Path) -> None:
    """The other keeps it as long as it is there; then the UPS is back under it."""
    link, device, faults, loop = tmp_path / "ups", UpsDevice(), Faults(), asyncio.get_running_loop()
    device.advance(loop.time())
    async with serial_port(device, faults, 20, link=link):
        faults.unplugged = True
        device.advance(loop.time())
        async with serial_port(UpsDevice(), link=link):
            others = link.readlink()
            faults.unplugged = False
            device.advance(loop.time())
            assert link.readlink() == others
        device.advance(loop.time())
        with opened(str(link)) as port:
            assert (await ask(port, RS, RS_REPLY_BYTES))[:5] == b'\x02" RS'
    assert not link.is_symlink()


async def test_replies_that_nobody_reads_are_lost_and_stop_nothing() -> None:
    """The terminal holds some ten thousand bytes; the loop goes on when it is full, and so does the UPS."""
    async with serial_port(UpsDevice(), speed=0) as path, asyncio.timeout(30):
        with opened(path) as port:
            for _ in range(100):
                os.write(port, 20 * GI)
                await asyncio.sleep(0.001)
            data = b""
            while b'\x02" RS' not in data:
                os.write(port, RS)
                data += await asyncio.to_thread(os.read, port, 65536)
    assert 0 < data.count(b'\x02" GI') < 2000


class CountingLoop(VirtualTimeLoop):
    """Counts how often it wakes."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]  # asyncio's own, which no stub has


def test_it_lives_on_the_loops_time_and_wakes_for_nothing_but_bytes(line: SerialLine) -> None:
    """In virtual time a reply takes just as long as its bytes do, and an hour without any wakes nobody."""
    takes_s = ((len(GI) + GI_REPLY_BYTES) * byte_s(1200) + IPLUG_800.thinking_s) / 10

    async def live() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        async with serial_port(UpsDevice()) as path:
            with opened(path) as port:
                os.write(port, GI)
                await heard(line)
                await asyncio.sleep(takes_s - 0.001)
                assert line.next_due() is not None
                await asyncio.sleep(0.002)
                assert line.next_due() is None
                assert received(port, GI_REPLY_BYTES)[:5] == b'\x02" GI'
                turns = loop.turns
                await asyncio.sleep(3600)
                return loop.turns - turns

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(live()) <= 2
