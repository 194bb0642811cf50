from __future__ import annotations

import errno
import random
from dataclasses import replace
from typing import Any

import pytest

from hardware_sim.ups import transfers
from hardware_sim.ups.bridge import LINE_SETUP, CypressBridge, bridge_to
from hardware_sim.ups.descriptors import IN_ENDPOINT
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.line import byte_s, serial_line
from hardware_sim.ups.profiles import IPLUG_800
from hardware_sim.ups.transfers import Ongoing, Transfer, TransferKind, perform

BYTE_S = byte_s(1200)
RS_REPORTS = (bytes.fromhex("37 02 20 22 52 53 30 30"), bytes.fromhex("35 30 31 34 37 03 30 30"))
R3 = bytes.fromhex(
    "02 22 20 52 53 32 34 38 30 32 30 30 31 3F 35 30 3E 3B 31 3F 35 30 3E 39 30 30 3F 3F 3F 3F 3F 3F"
    "30 30 38 37 3F 3F 3F 3F 3F 3F 3F 30 39 34 33 03"
)
R3_REPORTS = [
    "F7 02 22 20 52 53 32 34",
    "F7 38 30 32 30 30 31 3F",
    "F7 35 30 3E 3B 31 3F 35",
    "F7 30 3E 39 30 30 3F 3F",
    "F7 3F 3F 3F 3F 30 30 38",
    "F7 37 3F 3F 3F 3F 3F 3F",
    "F6 3F 30 39 34 33 03 00",
]
EMPTY = bytes.fromhex("F0 00 00 00 00 00 00 00")
SET_LINE = (0x21, 0x09, 0x0300, 0)


def device_as_in_r3() -> UpsDevice:
    """A UPS that reports just what vector R3 says."""
    device = UpsDevice()
    device.set_input(235.0, 50.1)
    device.advance(0.0)
    device.advance(3600.0)
    return device


def quick_bridge(*, split: random.Random | None = None) -> CypressBridge:
    """A bridge without any delay, set up to pass data."""
    bridge = bridge_to(device_as_in_r3(), line_speed=0, poll_interval_s=0, split=split)
    bridge.control(SET_LINE, LINE_SETUP, 0.0)
    return bridge


def send(bridge: CypressBridge, now: float = 0.0) -> None:
    """Write the RS request."""
    for report in RS_REPORTS:
        bridge.write(report, now)


def read_data(bridge: CypressBridge, reports: int, now: float = 0.0) -> bytes:
    """The data of so many IN reports."""
    received = b""
    for _ in range(reports):
        report = bridge.read(now)
        assert len(report) == 8
        assert report[0] & 0xF8 == 0xF0
        received += report[1 : 1 + (report[0] & 7)]
    return received


def test_a_reply_comes_in_full_reports_as_the_vectors_cut_it() -> None:
    """Seven bytes to a report, the rest in the last one, then empty reports for ever."""
    bridge = quick_bridge()
    send(bridge)
    assert [bridge.read(0.0) for _ in R3_REPORTS] == [bytes.fromhex(report) for report in R3_REPORTS]
    assert bridge.read(0.0) == EMPTY


def test_any_split_carries_the_same_bytes() -> None:
    """Reports of 0 to 7 bytes in random order of size, and not one byte more or less."""
    bridge = quick_bridge(split=random.Random(7))
    send(bridge)
    sizes = set()
    received = b""
    for _ in range(100):
        piece = read_data(bridge, 1)
        sizes.add(len(piece))
        received += piece
    assert received == R3
    assert len(sizes) > 4


@pytest.mark.parametrize("setup", [None, "60 09 00 00 03", "B0 04 00 00 13"], ids=["none", "2400", "parity"])
def test_a_bridge_that_was_not_set_up_as_the_unit_is_passes_nothing(setup: str | None) -> None:
    """Without the line set-up, or with another rate or parity, there are only empty reports."""
    bridge = bridge_to(device_as_in_r3(), line_speed=0)
    if setup is not None:
        bridge.control(SET_LINE, bytes.fromhex(setup), 0.0)
    send(bridge)
    assert read_data(bridge, 20) == b""


@pytest.mark.parametrize("baud", [1200, 2400, 4800])
def test_the_bridge_speaks_at_the_rate_that_it_is_told(baud: int) -> None:
    """A unit of that rate answers, and its bytes take as long as they do then."""
    bridge = bridge_to(UpsDevice(replace(IPLUG_800, baud=baud)))
    bridge.control(SET_LINE, baud.to_bytes(4, "little") + b"\x03", 0.0)
    send(bridge)
    until = 60 * byte_s(baud) + IPLUG_800.thinking_s
    assert len(read_data(bridge, 20, until - 0.5 * byte_s(baud))) == 47
    assert read_data(bridge, 20, until + 1e-6) == b"\x03"


@pytest.mark.parametrize("setup", ["80 25 00 00 03", "B0 04 00 00"], ids=["9600", "short"])
def test_a_line_set_up_that_can_not_be_is_refused(setup: str) -> None:
    """9600 baud are too much for a low-speed device; the setting from before stays."""
    bridge = quick_bridge()
    with pytest.raises(BrokenPipeError):
        bridge.control(SET_LINE, bytes.fromhex(setup), 0.0)
    send(bridge)
    assert read_data(bridge, 20) == R3


def test_the_line_takes_the_time_of_1200_baud() -> None:
    """An RS exchange of 12 and 48 bytes takes half a second: too early there is nothing, then part, then all."""
    bridge = bridge_to(device_as_in_r3())
    bridge.control(SET_LINE, LINE_SETUP, 0.0)
    send(bridge)
    assert read_data(bridge, 1, 12 * BYTE_S) == b""
    half = read_data(bridge, 10, 36.5 * BYTE_S)
    assert 20 < len(half) < 24
    assert R3.startswith(half)
    assert half + read_data(bridge, 10, 0.53) == R3


def test_a_faster_line_is_faster_by_its_factor() -> None:
    """At ten times the pace the same exchange takes a tenth of the time."""
    bridge = bridge_to(device_as_in_r3(), line_speed=10)
    bridge.control(SET_LINE, LINE_SETUP, 0.0)
    send(bridge)
    assert read_data(bridge, 10, 0.053) == R3


def test_pieces_without_pauses_overrun_the_small_buffer() -> None:
    """A CR request written at once is lost in part and gets no answer; with pauses it is heard."""
    reports = ("37 02 20 22 43 52 30 38", "37 30 30 37 38 30 30 30", "36 32 30 32 3D 30 03 30")
    for pause_s, answered in ((0.0, False), (0.2, True)):
        device = device_as_in_r3()
        bridge = bridge_to(device)
        bridge.control(SET_LINE, LINE_SETUP, 0.0)
        for index, report in enumerate(reports):
            bridge.write(bytes.fromhex(report), index * pause_s)
        assert bool(read_data(bridge, 5, 2.0)) is answered
        assert device.status().shutdown_active is answered


def test_a_rate_of_nothing_changes_nothing() -> None:
    """Linux begins with it: before there was another, no byte passes; after that, the bytes go on to."""
    bridge = bridge_to(device_as_in_r3(), line_speed=0)
    for setup, answer in ((bytes(5), b""), (LINE_SETUP, R3), (bytes(5), R3)):
        bridge.control(SET_LINE, setup, 0.0)
        send(bridge)
        assert read_data(bridge, 20, 0.0) == answer


@pytest.mark.parametrize(("pause_s", "heard"), [(0.04, False), (0.045, True)])
def test_a_bridge_may_hold_just_one_piece(pause_s: float, heard: bool) -> None:  # noqa: FBT001
    """There is room for the five bytes of the second piece once five of the first have left, after 42 ms."""
    bridge = bridge_to(device_as_in_r3(), out_buffer=7)
    bridge.control(SET_LINE, LINE_SETUP, 0.0)
    for index, report in enumerate(RS_REPORTS):
        bridge.write(report, index * pause_s)
    assert bool(read_data(bridge, 20, 2.0)) is heard


def test_a_bridge_may_hold_little_of_a_reply() -> None:
    """What does not fit until it is read is lost."""
    bridge = bridge_to(device_as_in_r3(), line_speed=0, in_buffer=7)
    bridge.control(SET_LINE, LINE_SETUP, 0.0)
    send(bridge)
    assert read_data(bridge, 20) == R3[:7]


def test_replies_that_nobody_reads_overrun_the_buffer() -> None:
    """The bridge holds the first bytes and loses the rest; it does not grow."""
    bridge = quick_bridge()
    for _ in range(5):
        send(bridge)
    received = read_data(bridge, 60)
    assert len(received) < 3 * len(R3)
    assert received.startswith(R3)


def test_an_idle_bridge_gives_one_report_at_each_poll() -> None:
    """The next report is ready 10 ms after the last, whether or not there is anything to say."""
    bridge = bridge_to(device_as_in_r3())
    assert bridge.wait_s(5.0) == 0.0
    assert bridge.read(5.0) == EMPTY
    assert bridge.wait_s(5.004) == pytest.approx(0.006)


def test_a_silent_ups_looks_like_empty_reports() -> None:
    """The reply is lost, nothing times out, and later replies are heard again."""
    bridge = quick_bridge()
    bridge.faults.silent = True
    send(bridge)
    assert read_data(bridge, 20) == b""
    bridge.faults.silent = False
    send(bridge)
    assert read_data(bridge, 20) == R3


def test_babble_begins_well_and_never_ends() -> None:
    """More bytes than the longest frame, all plausible, and no ETX among them."""
    bridge = quick_bridge()
    bridge.faults.babble = True
    noise = read_data(bridge, 60)
    assert noise.startswith(R3[:7])
    assert len(noise) == 420
    assert 0x03 not in noise


def test_a_halted_endpoint_stays_halted_until_it_is_cleared() -> None:
    """Reads give a pipe error; clearing the halt of the IN endpoint mends it."""
    bridge = quick_bridge()
    bridge.faults.stalled = True
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            bridge.read(0.0)
    bridge.clear_halt(IN_ENDPOINT, 0.0)
    assert bridge.read(0.0) == EMPTY


def test_a_reset_forgets_the_line_set_up() -> None:
    """After a reset of the port the host must set the line up again."""
    bridge = quick_bridge()
    bridge.reset(0.0)
    send(bridge)
    assert read_data(bridge, 20) == b""


def test_choosing_the_configuration_begins_anew() -> None:
    """That is all which a device hears of a reset over USB/IP."""
    bridge = quick_bridge()
    bridge.faults.stalled = True
    bridge.control((0x00, 0x09, 1, 0), b"", 0.0)
    send(bridge)
    assert read_data(bridge, 20) == b""


def test_a_halt_is_seen_and_cleared_by_control_transfers_too() -> None:
    """As a kernel does it: the status of the endpoint tells, and clearing the feature mends it."""
    bridge = quick_bridge()
    status = (0x82, 0x00, 0, IN_ENDPOINT)
    bridge.faults.stalled = True
    assert bridge.control(status, b"", 0.0) == b"\x01\x00"
    bridge.control((0x02, 0x01, 0, IN_ENDPOINT), b"", 0.0)
    assert bridge.control(status, b"", 0.0) == b"\x00\x00"
    assert bridge.read(0.0) == EMPTY


@pytest.mark.parametrize(
    ("setup", "answer"),
    [
        ((0x80, 0x06, 0x0300, 0), "04 03 09 04"),
        ((0x81, 0x06, 0x2100, 0), "09 21 00 01 00 01 22 25 00"),
        ((0x80, 0x08, 0, 0), "01"),
        ((0x80, 0x00, 0, 0), "00 00"),
    ],
    ids=["languages", "HID", "configuration", "status"],
)
def test_standard_requests_are_answered(setup: tuple[int, int, int, int], answer: str) -> None:
    """Also before the line is set up."""
    assert bridge_to(UpsDevice()).control(setup, b"", 0.0) == bytes.fromhex(answer)


def reading(reports: int, **options: Any) -> tuple[Ongoing, CypressBridge]:
    """A transfer that asks an idle bridge for so many reports, at time 0."""
    bridge = bridge_to(UpsDevice())
    assert bridge.address is not None
    transfer = Transfer(TransferKind.READ, bridge.address, data=transfers.read_data(reports), **options)
    return Ongoing(bridge, transfer, 0.0), bridge


def test_a_read_collects_one_report_at_each_poll() -> None:
    """Three reports take two pauses of 10 ms."""
    ongoing, _ = reading(3)
    waits = [ongoing.proceed(now) for now in (0.0, 0.01, 0.02)]
    assert waits == [pytest.approx(0.01), pytest.approx(0.01), None]
    assert ongoing.data == 3 * EMPTY


def test_a_read_ends_with_what_it_has_when_its_time_is_up() -> None:
    """Two of three reports within 15 ms."""
    ongoing, _ = reading(3, timeout_ms=15)
    assert [ongoing.proceed(now) is None for now in (0.0, 0.01, 0.015)] == [False, False, True]
    assert ongoing.data == 2 * EMPTY


def test_a_read_that_gets_nothing_times_out() -> None:
    """While the bridge hangs; it looks again in between, in case the cable is pulled."""
    ongoing, bridge = reading(1, timeout_ms=30)
    bridge.faults.hung = True
    assert [ongoing.proceed(now) for now in (0.0, 0.02)] == [pytest.approx(0.02), pytest.approx(0.01)]
    with pytest.raises(TimeoutError):
        ongoing.proceed(0.03)


def test_the_line_knows_when_its_next_byte_is_due() -> None:
    """Never while it is idle, then byte for byte, first to the UPS and then from it."""
    line = serial_line(UpsDevice())
    assert line.next_due() is None
    line.feed(bytes.fromhex("02 20 22 52 53 30 30 30 31 34 37 03"), 0.0)
    assert line.next_due() == pytest.approx(BYTE_S)
    line.available(12.5 * BYTE_S)
    assert line.next_due() == pytest.approx(13 * BYTE_S + IPLUG_800.thinking_s)
    line.available(2.0)
    assert line.next_due() is None


def test_a_device_that_was_pulled_out_is_gone_under_its_old_address() -> None:
    """Out: no device. Back: another address, and the line not set up."""
    bridge = quick_bridge()
    old = bridge.address
    assert old is not None
    bridge.faults.unplugged = True
    with pytest.raises(OSError, match="disconnected") as out:
        bridge.read(0.0)
    assert out.value.errno == errno.ENODEV
    bridge.faults.unplugged = False
    with pytest.raises(OSError, match="No such device"):
        perform(bridge, Transfer(TransferKind.READ, old), 0.0)
    assert bridge.address is not None
    assert perform(bridge, Transfer(TransferKind.READ, bridge.address), 0.0) == EMPTY
    send(bridge)
    assert read_data(bridge, 20) == b""


def test_the_line_set_up_can_be_read_back() -> None:
    """Linux does so before it opens its terminal; a bridge that was not set up has nothing to tell."""
    bridge = quick_bridge()
    get_line = (0xA1, 0x01, 0x0300, 0)
    assert bridge.control(get_line, b"", 0.0) == LINE_SETUP
    bridge.reset(0.0)
    assert bridge.control(get_line, b"", 0.0) == bytes(5)


def test_an_unknown_control_request_is_refused() -> None:
    """A request of some other vendor is a pipe error."""
    with pytest.raises(BrokenPipeError):
        quick_bridge().control((0xC0, 0x01, 0, 0), b"", 0.0)
