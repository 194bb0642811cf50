"""The simulated Sentry: its records, its texts, and the keys and commands that it obeys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hardware_sim.ups.device import Conditions, UpsDevice
from hardware_sim.ups.profiles import SENTRY_60K, Phases, SentrSettings
from hardware_sim.ups.sentr_responder import SHUTDOWN_KEYS, SentrResponder

PRESENT, PAST, PREVIOUS = 192, 204, 224
NINETY_PERCENT_W = 43_200.0


class Host:
    """A machine, whoever types on its line, and their clock."""

    def __init__(self, load_w: float = 0.0, charge: float = 1.0, **settings: Any) -> None:
        profile = replace(SENTRY_60K, sentr=SentrSettings(**settings))
        self.device = UpsDevice(profile, load_w=lambda: load_w, charge=charge)
        self.responder = SentrResponder(self.device)
        self.now = 0.0
        self.device.advance(0.0)

    def send(self, *data: int) -> bytes:
        """Bytes one after the other; everything that is answered to them."""
        return b"".join(self.responder.hear(byte, self.now) for byte in data)

    def output(self) -> int:
        """Volts of the first output phase, as the record says."""
        return self.record()[59]

    def type(self, text: bytes, pause_s: float = 1.0) -> list[bytes]:
        """Characters with a pause before each; what is answered to each."""
        answers = []
        for character in text:
            self.wait(pause_s)
            answers.append(self.send(character))
        return answers

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.device.advance(self.now)

    def record(self, poll: int = PRESENT) -> bytes:
        """A record."""
        return self.send(poll)

    def command(self, code: int, delay: int = 0) -> bytes:
        """A five-byte command of NUT's."""
        body = bytes((176, code)) + delay.to_bytes(2, "little")
        return self.send(*body, sum(body) % 256)


def word(record: bytes, place: int) -> int:
    """A word, low byte first."""
    return record[place] | record[place + 1] << 8


def bits(record: bytes, byte: int) -> set[int]:
    """Which bits of this byte are set."""
    return {bit for bit in range(8) if record[byte] >> bit & 1}


def test_a_loaded_60_kva_machine_says_what_a_real_one_said() -> None:
    """The key figures of an MPT 60 at 90 % load, where the sample of the protocol notes (5.3) has them."""
    host = Host(NINETY_PERCENT_W)
    host.device.set_input(230.0, 50.2)
    record = host.record()
    assert (len(record), record[0], record[1]) == (103, 192, 103)
    assert (word(record, 2), word(record, 4)) == (3600, 194)
    assert word(record, 6) == pytest.approx(15, abs=1)
    assert (record[8], record[18]) == (100, 0)
    assert list(record[35:38]) == [100, 99, 101]
    assert (word(record, 41), word(record, 57), word(record, 68)) == (502, 502, 502)
    assert word(record, 43) == 486
    assert (record[47], record[48]) == (0, 25)
    assert [word(record, place) for place in (51, 53, 55)] == [229, 231, 227]
    assert list(record[59:62]) == [230, 229, 228]
    assert list(record[62:65]) == [90, 85, 95]
    assert list(record[65:68]) == [48, 45, 51]
    assert word(record, 101) == sum(record[:100])


def test_what_was_set_is_in_every_record() -> None:
    """Nominal volts, battery, ranges, timers, frequency, and the date of the first activation in ASCII."""
    record = Host().record()
    assert (record[70], record[73], word(record, 74)) == (230, 230, 65)
    assert list(record[76:82]) == [0, 5, 0, 15, 2, 0]
    assert (record[82], record[95], record[98]) == (0x80, 120, 120)
    assert (record[91:95], record[96:98], record[99:101]) == (b"1999", b"04", b"27")


def test_a_machine_with_one_phase_out_has_a_smaller_model_word() -> None:
    """KVA times ten without 3000, and nothing on the phases that are not there."""
    device = UpsDevice(replace(SENTRY_60K, phases=Phases.THREE_ONE, output_frequency_hz=60.0))
    record = SentrResponder(device).hear(PRESENT, 0.0)
    assert word(record, 2) == 600
    assert list(record[59:62]) == [230, 0, 0]
    assert record[82] == 0


def test_the_document_and_nut_sum_different_bytes_and_order_battery_bytes_differently() -> None:
    """Both doubts are switches: with byte 100, and with the high byte of the battery's voltage and current first."""
    by_nut, by_document = Host(), Host(sums_byte_100=True, battery_high_byte_first=True)
    theirs, ours = by_nut.record(), by_document.record()
    assert word(ours, 101) == sum(ours[:101])
    assert word(theirs, 101) == sum(theirs[:100])
    assert ours[43:45] == theirs[43:45][::-1] == bytes((1, 230))
    assert ours[71:73] == theirs[71:73]


def test_on_battery_the_record_shows_it() -> None:
    """Mains failed, a current that flows out, and minutes that count down; the pre-alarm comes at the end."""
    host = Host(NINETY_PERCENT_W)
    host.device.cut_mains()
    host.wait(60.0)
    record = host.record()
    assert bits(record, 31) == {2, 3}
    assert bits(record, 25) == {3, 4, 5, 6, 7}
    assert bits(record, 26) == {0}
    assert (record[47], list(record[35:38]), word(record, 41)) == (1, [0, 0, 0], 0)
    assert 100 < word(record, 45) < 150
    assert list(record[59:62]) == [230, 229, 228]
    host.wait(60.0 * word(record, 6) - 60.0)
    assert 4 not in bits(host.record(), 31)
    host.wait(100.0)
    assert bits(host.record(), 31) >= {3, 4}
    assert 5 in bits(host.record(), 20)


def test_a_charging_current_is_ten_times_as_large() -> None:
    """4.5 A into the battery are 45, with sign 0."""
    host = Host(charge=0.3)
    record = host.record()
    amperes = -host.device.battery.current_a
    assert amperes > 3.0
    assert (word(record, 45), record[47]) == (round(10 * amperes), 0)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"locked": True}, {(32, 3), (30, 7)}),
        ({"failure": True}, {(33, 1), (27, 0)}),
        ({"over_temperature": True}, {(34, 0), (19, 4)}),
        ({"bypass_bad": True}, {(31, 0)}),
        ({"on_bypass": True}, {(33, 5), (24, 1), (24, 2)}),
    ],
)
def test_each_condition_has_its_bits(conditions: dict[str, Any], expected: set[tuple[int, int]]) -> None:
    """In the alarm bytes 31 to 34, and in the code bytes before them; byte 18 is no longer 0."""
    host = Host()
    host.device.conditions = Conditions(**conditions)
    record = host.record()
    found = {(byte, bit) for byte in range(19, 35) for bit in bits(record, byte)}
    assert found - {(24, 7)} == expected
    assert record[18] != 0


def test_an_overload_is_told_by_line() -> None:
    """Output overload, and the lines that carry too much; on bypass it is the reason for that."""
    host = Host(50_000.0)
    record = host.record()
    assert (bits(record, 31), bits(record, 21)) == ({7}, {3, 5})
    host.device.conditions = Conditions(on_bypass=True)
    assert bits(host.record(), 33) == {4}


def test_a_battery_that_is_nearly_empty_is_told_on_mains() -> None:
    """Low battery charge, as long as it is charged."""
    assert bits(Host(charge=0.1).record(), 31) == {6}


def test_events_are_kept_and_can_be_read_backwards() -> None:
    """Each change of the alarms is an event with its figures; 224 goes back by one, 204 stays, 192 is now."""
    host = Host(10_000.0)
    host.wait(605.0)
    host.device.cut_mains()
    host.wait(60.0)
    host.device.restore_mains()
    host.wait(30.0)
    assert host.record()[11] == 3
    black_out = host.record(PREVIOUS)
    assert (black_out[0], black_out[11], black_out[35]) == (224, 2, 0)
    assert black_out[12:18] == bytes.fromhex("05 00 00 01 10 01")
    again = host.record(PAST)
    assert (again[0], again[1:101]) == (204, black_out[1:101])
    first = host.record(PREVIOUS)
    assert (first[11], first[12:18]) == (1, bytes.fromhex("00 50 23 30 09 01"))
    assert host.record(PREVIOUS)[11] == 1
    assert host.record()[11] == 3


def test_a_black_out_is_counted() -> None:
    """Hours on inverter and battery, black-outs and full discharges."""
    host = Host(20_000.0)
    host.wait(7200.0)
    host.device.cut_mains()
    host.wait(4 * 3600.0)
    host.device.restore_mains()
    record = host.record()
    assert word(record, 83) == 2
    assert (word(record, 87), word(record, 89)) == (1, 1)


@pytest.mark.parametrize("ident", [0, 5])
def test_only_polls_with_its_ident_are_answered(ident: int) -> None:
    """IDENT is added to each poll; every other one is met with silence."""
    host = Host(ident=ident)
    answered = {byte for byte in range(184, 256) if byte != 176 and host.send(byte)}
    assert answered == {PRESENT + ident, PAST + ident, PREVIOUS + ident}


@pytest.mark.parametrize(("pause_s", "opens"), [(0.4, False), (0.5, True), (2.0, True), (2.1, False)])
def test_text_mode_opens_with_two_characters_in_time(pause_s: float, *, opens: bool) -> None:
    """First 9, and half a second to two seconds later the IDENT."""
    host = Host()
    assert host.type(b"9", 1.0) == [b""]
    assert host.type(b"0", pause_s) == [b""]
    assert bool(host.type(b"9")[0]) is opens


def test_text_mode_opens_only_with_the_machines_own_ident() -> None:
    """The digit of another machine is not for it."""
    host = Host(ident=3)
    assert host.type(b"909") == [b"", b"", b""]
    assert len(host.type(b"39")[-1]) == 118


def test_the_texts_show_the_display() -> None:
    """118 bytes for 9, with rows, code and date; 87 for a colon, with lamps in place of them."""
    host = Host(NINETY_PERCENT_W)
    host.device.cut_mains()
    host.record()
    nine, colon = host.type(b"9:")
    assert (len(nine), len(colon)) == (118, 87)
    assert nine[:2] == nine[43:45] == nine[116:] == b"\r\n"
    assert nine[2:42].startswith(b"SENTRY 60 kVA  OUT=230V  LOAD=90%")
    assert nine[45:84].startswith(b"BYPASS LINE VOLT. FAIL")
    assert nine[84:96] == b" a=000C-0000"
    assert nine[96:115] == b"2001-09-30/23:50:01"
    assert colon[:84] == nine[:84]
    assert list(colon[84:]) == [0x70, 0x37, 1]


def test_the_lamps_of_a_quiet_machine_are_in_and_out() -> None:
    """No bypass, no battery, no buzzer."""
    host = Host()
    host.record()
    assert list(host.type(b":")[0][84:86]) == [0x50, 0x00]


def test_any_other_byte_closes_text_mode() -> None:
    """A letter, and nothing is answered until it is opened again."""
    host = Host()
    host.record()
    assert [len(answer) for answer in host.type(b"1:x9:")] == [118, 87, 0, 0, 0]


def test_a_key_of_the_panel_chooses_a_menu() -> None:
    """Keys 1 to 8 are pressed, 9 only shows."""
    host = Host()
    host.record()
    host.type(b"39")
    assert word(host.record(), 9) == 3


def type_shutdown(host: Host, pause_s: float = 1.0) -> list[bytes]:
    """Type the shutdown sequence."""
    return host.type(SHUTDOWN_KEYS, pause_s)


def test_the_shutdown_keys_switch_off_after_ten_minutes_until_a_person_comes() -> None:
    """Each key shows the display; the command is seen in byte 34, and neither time nor mains brings the output back."""
    host = Host(10_000.0)
    host.record()
    assert {len(answer) for answer in type_shutdown(host)} == {118}
    assert bits(host.record(), 34) == {4}
    host.wait(599.0)
    assert host.output() > 0
    host.wait(1.0)
    assert host.output() == 0
    record = host.record()
    assert (bits(record, 34), 6 in bits(record, 19)) == ({2, 3}, True)
    assert list(record[59:65]) == [0] * 6
    host.device.cut_mains()
    host.device.restore_mains()
    host.command(1, 0)
    host.wait(10_000.0)
    assert host.output() == 0
    host.device.press_button()
    assert host.output() > 0
    assert bits(host.record(), 34) == set()


@pytest.mark.parametrize("pause_s", [0.5, 1.9])
def test_shutdown_keys_out_of_pace_do_nothing(pause_s: float) -> None:
    """Too quick or too slow, it is only keys of the panel."""
    host = Host()
    host.record()
    type_shutdown(host, pause_s)
    assert bits(host.record(), 34) == set()


def test_shutdown_keys_must_be_the_right_ones() -> None:
    """A wrong one in the middle, or another poll, and the sequence begins anew."""
    host = Host()
    host.record()
    host.type(b"3748263")
    assert bits(host.record(), 34) == set()
    host.type(b"374")
    host.record()
    host.type(b"7263")
    assert bits(host.record(), 34) == set()
    host.type(b"33747263")
    assert bits(host.record(), 34) == {4}


def test_shutdown_keys_do_nothing_in_a_communication_that_was_opened_by_text() -> None:
    """The document wants the binary way."""
    host = Host()
    host.type(b"90")
    assert {len(answer) for answer in type_shutdown(host)} == {118}
    assert host.device.shutdown_in_s is None


def test_a_pending_shutdown_is_stopped_by_nuts_command() -> None:
    """B0 05 00 00 B5, which answers with a present record; a second typing before it changes nothing."""
    host = Host()
    host.record()
    type_shutdown(host)
    type_shutdown(host)
    assert host.device.shutdown_in_s == pytest.approx(593.0)
    answer = host.send(*bytes.fromhex("B0 05 00 00 B5"))
    assert (len(answer), bits(answer, 34)) == (103, set())
    host.wait(1000.0)
    assert host.device.outlets.on


def test_nuts_commands_are_obeyed_and_answered_with_a_record() -> None:
    """Battery test, shutdown after a delay, and a reboot after a delay that was set before."""
    host = Host(10_000.0)
    assert host.command(4)[47] == 1
    assert host.device.testing
    host.wait(10.0)
    assert bits(host.command(6, 300), 34) == {4}
    assert host.device.shutdown_in_s == pytest.approx(300.0)
    host.command(5)
    assert len(host.command(2, 30)) == 103
    host.command(1, 5)
    host.wait(6.0)
    assert not host.device.outlets.on
    host.wait(30.0)
    assert host.device.outlets.on


def test_commands_that_are_damaged_unknown_or_torn_are_ignored() -> None:
    """No answer and no deed; what follows is heard again."""
    host = Host()
    assert host.send(*bytes.fromhex("B0 06 05 00 BC")) == b""
    assert host.command(0x67, 1) == b""
    assert host.send(0xB0, 0x06) == b""
    host.wait(1.0)
    assert len(host.record()) == 103
    assert host.device.shutdown_in_s is None


def test_what_is_not_possible_now_is_answered_and_not_done() -> None:
    """A battery test on battery."""
    host = Host()
    host.device.cut_mains()
    assert len(host.command(4)) == 103
    assert not host.device.testing


def test_its_own_battery_test_is_no_black_out() -> None:
    """The battery gives current, and the mains is there."""
    host = Host(10_000.0)
    host.wait(86_400.0 + 3.0)
    record = host.record()
    assert (record[47], bits(record, 31)) == (1, set())
    assert word(record, 45) > 10


def test_a_machine_without_any_power_is_silent() -> None:
    """Tripped, and then the mains goes too."""
    host = Host()
    host.device.trip(0.0)
    host.device.cut_mains()
    assert host.record() == b""


def test_its_replies_can_be_spoiled_like_any_other() -> None:
    """Echo, flipped bit, torn, of another poll, misreported, unheard, hung: as often as is said."""
    host = Host()
    faults = host.responder.faults
    faults.echo_replies = faults.corrupt_replies = faults.truncate_replies = 1
    echoed, damaged, torn = (host.record() for _ in range(3))
    assert (echoed, len(torn)) == (b"\xc0", 51)
    assert abs(word(damaged, 101) - sum(damaged[:100])) == 1
    faults.mismatch_replies = 1
    assert [host.record()[0] for _ in range(2)] == [PAST, PRESENT]
    faults.override({"charge_percent": 20.0})
    assert [host.record()[8] for _ in range(2)] == [20, 100]
    faults.silent = True
    assert host.record() == b""
    faults.silent, faults.frozen = False, True
    assert host.command(6, 60) == b""
    assert host.device.shutdown_in_s is None
