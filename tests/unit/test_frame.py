"""GPSER frames and values, against the published vectors."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.ups import gpser
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import LONGEST_FRAME, NAK_REASONS, Check, FrameAssembler, decode_number, encode_number, integrity
from upsd.ups.gpser_dialect import reading_from

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "gpser_vectors.json").read_text())
CHECKS = {"sum16": Check.SUM, "crc16": Check.CRC}
REQUESTS = [vector for vector in VECTORS if vector["id"].startswith("Q-")]
REPLIES = [vector for vector in VECTORS if not vector["id"].startswith("Q-")]
COMMANDS = {
    "GI": gpser.IDENTIFY,
    "GN": gpser.NOMINAL,
    "RS": gpser.STATUS,
    "RE": gpser.EXTENDED,
    "CD": gpser.CANCEL,
    "TB": gpser.BATTERY_TEST,
    "TP": gpser.PANEL_TEST,
}


def frame_of(name: str) -> bytes:
    """The frame of the vector with this id."""
    return bytes.fromhex(next(vector["hex"] for vector in VECTORS if vector["id"] == name))


def named(vector: dict[str, Any]) -> str:
    """The vector's id, for the test's name."""
    return str(vector["id"])


def command_of(frame: bytes) -> gpser.Command:
    """The command that a reply frame answers, as it says itself."""
    code = frame[3:5].decode("ascii")
    return {"CS": gpser.shutdown(5), "CR": gpser.shutdown_and_restore(5, 1)}.get(code) or COMMANDS[code]


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_request_is_byte_for_byte_the_vector(vector: dict[str, Any]) -> None:
    """Every request that the vectors list is built exactly so."""
    code, *arguments = vector["what"].removeprefix("request ").split(" ", 1)
    numbers = [int(number) for argument in arguments for number in argument.split("/")]
    match numbers:
        case [delay_s]:
            command = gpser.shutdown(delay_s)
        case [delay_s, restore_min]:
            command = gpser.shutdown_and_restore(delay_s, restore_min)
        case _:
            command = COMMANDS[code]

    assert command.request(CHECKS[vector["integrity"]]) == bytes.fromhex(vector["hex"])


@pytest.mark.parametrize("vector", [v for v in REPLIES if v["what"].startswith("GI")], ids=named)
def test_identification_is_decoded(vector: dict[str, Any]) -> None:
    """Who the UPS says it is comes out as the vector says."""
    data = gpser.IDENTIFY.reply(bytes.fromhex(vector["hex"]), Check.SUM)
    found = gpser.decode_identification(data)

    assert {
        "serial": found.serial,
        "model": found.model,
        "firmware": found.firmware,
        "phases": {(1, 1): "1", (1, 3): "2", (3, 1): "3", (3, 3): "4"}[found.phases],
        "error_control": found.check.value,
        "batteries": found.batteries_per_bench,
    } == vector["decoded"]


def test_identification_is_decoded_whole() -> None:
    """Every character of the GI reply that means something has its meaning."""
    found = gpser.decode_identification(b"HM27VA7701400170" + b"ULC3            " + b"SWM039-01-04" + b"432211252000")

    assert found == gpser.Identification(
        serial="HM27VA7701400170",
        model="ULC3",
        firmware="SWM039-01-04",
        phases=(3, 3),
        kind="on-line",
        boost_stages=2,
        buck_stages=2,
        check=Check.CRC,
        power_share_sockets=1,
        benches=2,
        batteries_per_bench=5,
        parallel="master",
    )


def test_nominals_are_decoded() -> None:
    """The battery model stands on these figures."""
    found = gpser.decode_nominals(gpser.NOMINAL.reply(frame_of("R2"), Check.SUM))

    assert found == gpser.Nominals(800, 480, 12, 7, 230, 500)


@pytest.mark.parametrize("vector", [v for v in REPLIES if "flags" in v["decoded"]], ids=named)
def test_status_is_decoded_with_unknown_as_none(vector: dict[str, Any]) -> None:
    """Every figure of a status reply comes out as sent, and one that is not available as `None`."""
    data = gpser.STATUS.reply(bytes.fromhex(vector["hex"]), CHECKS[vector["integrity"]])
    report = gpser.decode_status(data)
    first, *others = report.phases
    found: dict[str, object] = {
        "flags": "".join(f"{nibble:X}" for nibble in report.flags),
        "input_hz10": report.input_frequency_dhz,
        "input_v": first.input_voltage_v,
        "output_hz10": report.output_frequency_dhz,
        "output_v": first.output_voltage_v,
        "load": first.load_percent,
        "bypass_hz10": report.bypass_frequency_dhz,
        "bypass_v": first.bypass_voltage_v,
        "battery_v10": report.battery_voltage_dv,
        "charge": report.charge_percent,
        "minutes": report.runtime_min,
        "temperature": report.temperature_c,
    }
    if others:
        found["input_v23"] = [phase.input_voltage_v for phase in others]
        found["output_v23"] = [phase.output_voltage_v for phase in others]
        found["load23"] = [phase.load_percent for phase in others]
        found["bypass_v23"] = [phase.bypass_voltage_v for phase in others]

    assert found == vector["decoded"]


def test_extended_report_is_decoded() -> None:
    """Currents and powers of the three phases come out in their units."""
    report = gpser.decode_extended(gpser.EXTENDED.reply(frame_of("R15"), Check.CRC))

    assert report == gpser.ExtendedReport((123, 118, 131), (2650, 2540, 2820), (2829, 2714, 3013))


def test_peaks_are_decoded() -> None:
    """Peaks by phase, and temperatures, come out in their units; what is not available is `None`."""
    volts, amperes = "14?14>14=" + "0000" * 3 + "145144143", "007;00760083"
    report = gpser.decode_peaks(("0000" + volts + amperes + "2324252631??").encode())

    assert report == gpser.PeakReport(
        input_voltage_v=(335, 334, 333),
        output_voltage_v=(325, 324, 323),
        output_current_da=(123, 118, 131),
        power_temperature_c=(35, 36, 37),
        charger_temperature_c=38,
        battery_temperature_c=None,
    )


@pytest.mark.parametrize(
    ("name", "command", "check", "fault"),
    [
        ("R10", gpser.EXTENDED, Check.SUM, Fault.REFUSED),
        ("R11", gpser.STATUS, Check.CRC, Fault.MISHEARD),
    ],
)
def test_refusal_is_an_error_that_says_so(name: str, command: gpser.Command, check: Check, fault: Fault) -> None:
    """A NAK is never taken for data, and one that says "your request came damaged" is told apart."""
    with pytest.raises(UpsError, match="refused") as caught:
        command.reply(frame_of(name), check)

    assert caught.value.fault is fault


@pytest.mark.parametrize("code", range(7))
def test_every_reason_of_a_refusal_is_told(code: int) -> None:
    """A person reads why, not a number."""
    frame = bytearray(frame_of("R10"))
    frame[4] = 0x30 + code
    with pytest.raises(UpsError, match=NAK_REASONS[str(code)]):
        gpser.EXTENDED.reply(resummed(bytes(frame)), Check.SUM)


@pytest.mark.parametrize(
    ("name", "command"),
    [("R12", gpser.shutdown(5)), ("R13", gpser.CANCEL), ("R14", gpser.BATTERY_TEST)],
)
def test_acknowledgement_carries_no_data(name: str, command: gpser.Command) -> None:
    """An accepted command is recognised as accepted."""
    assert command.reply(frame_of(name), Check.SUM) == b""


@pytest.mark.parametrize("vector", REPLIES, ids=named)
def test_any_single_flipped_bit_is_refused(vector: dict[str, Any]) -> None:
    """Damage on the line never becomes a value."""
    frame, check = bytes.fromhex(vector["hex"]), CHECKS[vector["integrity"]]
    command = gpser.STATUS if frame[3] == 0x15 else command_of(frame)
    for place in range(len(frame)):
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[place] ^= 1 << bit
            with pytest.raises(UpsError):
                command.reply(bytes(damaged), check)


NEGATIVE = {
    "cut before ETX": (frame_of("R3")[:-1], Check.SUM, gpser.STATUS, Fault.MALFORMED),
    "sum read as CRC": (frame_of("R3"), Check.CRC, gpser.STATUS, Fault.BAD_INTEGRITY),
    "CRC read as sum": (frame_of("R6"), Check.SUM, gpser.STATUS, Fault.BAD_INTEGRITY),
    "zero-filled buffer": (bytes(48), Check.SUM, gpser.STATUS, Fault.MALFORMED),
    "nothing at all": (b"", Check.SUM, gpser.STATUS, Fault.MALFORMED),
    "echo of the request": (gpser.STATUS.request(Check.SUM), Check.SUM, gpser.STATUS, Fault.ECHO),
    "status for nominals": (frame_of("R3"), Check.SUM, gpser.NOMINAL, Fault.WRONG_COMMAND),
    "length field says 22": (
        frame_of("R3").replace(b"RS24", b"RS16"), Check.SUM, gpser.STATUS, Fault.WRONG_LENGTH,
    ),
    "unknown voltage without its sum": (
        frame_of("R4")[:32] + b"????" + frame_of("R4")[36:], Check.SUM, gpser.STATUS, Fault.BAD_INTEGRITY,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("frame", "check", "command", "fault"), NEGATIVE.values(), ids=NEGATIVE)
def test_negative_vector_is_refused_by_its_name(
    frame: bytes, check: Check, command: gpser.Command, fault: Fault
) -> None:
    """NUT's defect, a silent exchange decoded from zeros, can't happen: there is an error with a name instead."""
    with pytest.raises(UpsError) as caught:
        command.reply(frame, check)

    assert caught.value.fault is fault


def resummed(frame: bytes) -> bytes:
    """The frame with an integrity field that is right again."""
    return frame[:-5] + encode_number(integrity(frame[1:-5], Check.SUM), 4) + frame[-1:]


def test_character_outside_the_nibbles_is_no_number() -> None:
    """A letter in a numeric field is refused even when the sum is right."""
    frame = bytearray(frame_of("R4"))
    frame[33] = ord("A")
    with pytest.raises(UpsError) as caught:
        gpser.decode_status(gpser.STATUS.reply(resummed(bytes(frame)), Check.SUM))

    assert caught.value.fault is Fault.NOT_A_NUMBER


def test_unknown_battery_voltage_is_none() -> None:
    """`????` is "not available" and not 6553.5 V."""
    frame = resummed(frame_of("R4")[:32] + b"????" + frame_of("R4")[36:])
    report = gpser.decode_status(gpser.STATUS.reply(frame, Check.SUM))

    assert reading_from(report, at=1.0).battery_voltage_v is None


def test_crc_is_the_catalogued_one() -> None:
    """CRC-16/RIELLO has a published check value."""
    assert integrity(b"123456789", Check.CRC) == 0x63D0


@given(st.integers(0, 0xFFFE))
def test_number_survives_its_coding(number: int) -> None:
    """Delays that we send are the delays that the UPS understands."""
    assert decode_number(encode_number(number, 4)) == number


@given(st.lists(st.binary(max_size=7), max_size=40), st.sampled_from(REPLIES))
def test_assembler_finds_the_frame_in_any_split(noise: list[bytes], vector: dict[str, Any]) -> None:
    """However the bridge cuts the bytes, and whatever stood before, the frame comes out whole."""
    frame = bytes.fromhex(vector["hex"])
    stale = b"".join(noise).replace(b"\x02", b"").replace(b"\x03", b"")
    assembler, sent = FrameAssembler(), stale + frame
    cuts = [len(piece) for piece in noise] or [3]
    found, start, turn = None, 0, 0
    while found is None and start < len(sent):
        width = max(1, cuts[turn % len(cuts)])
        found = assembler.feed(sent[start : start + width])
        start, turn = start + width, turn + 1

    assert found == frame


@given(st.sampled_from(REPLIES), st.integers(0, 70))
def test_the_assembler_knows_how_much_is_missing(vector: dict[str, Any], cut: int) -> None:
    """From the header on it is exact, so that a reader can wait for just that."""
    frame = bytes.fromhex(vector["hex"])
    cut = min(cut, len(frame) - 1)
    assembler = FrameAssembler()
    assert assembler.feed(frame[:cut]) is None
    if cut >= 7:
        assert assembler.missing == len(frame) - cut
    else:
        assert 1 <= assembler.missing <= len(frame) - cut


@given(st.binary(max_size=400))
def test_garbage_is_an_error_and_never_a_value(garbage: bytes) -> None:
    """Whatever comes down the line, there is an `UpsError` or no frame that anybody believes."""
    with contextlib.suppress(UpsError):
        frame = FrameAssembler().feed(garbage)
        if frame is not None:
            data = gpser.STATUS.reply(frame, Check.SUM)
            assert frame == resummed(frame)
            assert len(data) in {36, 42, 58}


@pytest.mark.parametrize("says", ["00", "24", "??"])
def test_endless_frame_is_oversized(says: str) -> None:
    """A babbling bridge does not fill the memory: a frame ends where it says that it does."""
    assembler = FrameAssembler()
    with pytest.raises(UpsError) as caught:
        assembler.feed(b"\x02\x22\x20RS" + says.encode() + b"0" * LONGEST_FRAME)

    assert caught.value.fault is Fault.OVERSIZED


def test_torn_frame_is_dropped_when_the_next_one_begins() -> None:
    """Half a reply before a whole one does no harm."""
    whole = frame_of("R3")

    assert FrameAssembler().feed(whole[:20] + whole) == whole
