"""The serial line to the simulated UPS: speed, silence at the wrong speed, half duplex."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.line import SerialLine, byte_s, serial_line
from hardware_sim.ups.profiles import BAUD_RATES, IPLUG_800, SENTRY_60K

GI_REQUEST = bytes.fromhex("02 20 22 47 49 30 30 30 31 33 32 03")
THINKING_S = 0.02


class Parrot:
    """Repeats each line that it hears."""

    def __init__(self) -> None:
        self.heard = b""

    def hear(self, byte: int, now: float) -> bytes:  # noqa: ARG002 - it has no clock
        """Take a byte; after a line feed say the line."""
        self.heard += bytes((byte,))
        return self.heard if byte == 0x0A else b""


def test_the_line_is_half_duplex() -> None:
    """What is sent while the UPS speaks is lost."""
    parrot = Parrot()
    line = SerialLine(parrot)
    line.feed(b"one\n", 0.0)
    beginning = line.available(0.06)
    assert beginning == b""
    line.feed(b"two", 0.06)
    assert line.available(2.0) == b"one\n"
    assert parrot.heard == b"one\n"


@pytest.mark.parametrize("baud", BAUD_RATES)
def test_a_byte_takes_ten_bits_at_every_speed(baud: int) -> None:
    """Four bytes there, the unit thinks, four bytes back; one byte before the end one byte lacks."""
    line = SerialLine(Parrot(), baud=baud)
    line.feed(b"one\n", 0.0)
    until = 8 * byte_s(baud) + THINKING_S
    assert byte_s(baud) == pytest.approx(10 / baud)
    assert line.available(until - 0.5 * byte_s(baud)) == b"one"
    assert line.available(until + 1e-9) == b"\n"


def test_bytes_that_are_not_through_are_the_backlog() -> None:
    """At 1200 baud a byte takes 8.3 ms."""
    line = SerialLine(Parrot())
    line.feed(b"seven..", 0.0)
    assert [line.backlog(now) for now in (0.0, 0.0084, 0.0251, 0.06)] == [7, 6, 4, 0]


@pytest.mark.parametrize("host_baud", [2400, 4800, 9600])
def test_at_the_wrong_speed_neither_understands_the_other(host_baud: int) -> None:
    """What is sent is lost for good; at the right speed all is well."""
    line = serial_line(UpsDevice())
    line.set_host_baud(host_baud)
    line.feed(GI_REQUEST, 0.0)
    assert line.available(2.0) == b""
    line.set_host_baud(1200)
    assert line.available(4.0) == b""
    line.feed(GI_REQUEST, 4.0)
    assert len(line.available(6.0)) == 68


def test_a_reply_is_lost_to_a_host_that_changed_its_speed() -> None:
    """It is noise at the moment when it arrives, and does not come again."""
    line = serial_line(UpsDevice())
    line.feed(GI_REQUEST, 0.0)
    line.set_host_baud(9600)
    assert line.available(2.0) == b""
    line.set_host_baud(1200)
    assert line.available(2.0) == b""


def test_a_unit_thinks_as_long_as_its_profile_says() -> None:
    """A slow one begins its reply a second later; a line ten times as fast makes that a tenth."""
    slow = replace(IPLUG_800, thinking_s=1.0)
    for speed, begins in ((1.0, 1.0 + 13 * byte_s(1200)), (10.0, 0.1 + 1.3 * byte_s(1200))):
        line = serial_line(UpsDevice(slow), speed=speed)
        line.feed(GI_REQUEST, 0.0)
        assert line.available(begins - 0.001) == b""
        assert line.available(begins + 0.0001) == b"\x02"


@pytest.mark.parametrize("speed", [0.0, float("inf")])
def test_a_line_may_take_no_time(speed: float) -> None:
    """Everything at once."""
    line = serial_line(UpsDevice(), speed=speed)
    line.feed(GI_REQUEST, 5.0)
    assert len(line.available(5.0)) == 68


def test_a_unit_speaks_what_its_profile_says() -> None:
    """A Sentry answers one byte at 9600 baud, an iPlug does not; each hears its own faults."""
    faults = Faults()
    line = serial_line(UpsDevice(SENTRY_60K), faults)
    assert line.baud == 9600
    line.feed(b"\xc0", 0.0)
    assert len(line.available(1.0)) == 103
    faults.frozen = True
    line.feed(b"\xc0", 1.0)
    assert line.available(2.0) == b""
    iplug = serial_line(UpsDevice())
    iplug.feed(b"\xc0", 0.0)
    assert iplug.available(1.0) == b""
