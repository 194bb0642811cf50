from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardware_sim.ups import frames, reports
from hardware_sim.ups.frames import CheckMode, NakCode
from hardware_sim.ups.profiles import Phases

HOST = 0x20
VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parent / "gpser_vectors.json").read_text("utf-8"))
}
REQUESTS = [name for name in VECTORS if name.startswith("Q-")]
ALL_COMMANDS = frozenset(frames.DATA_LENGTH)


def frame_of(name: str) -> bytes:
    """The bytes of a vector."""
    return bytes.fromhex(VECTORS[name]["hex"])


def mode_of(name: str) -> CheckMode:
    """The check mode of a vector."""
    return CheckMode.CRC if VECTORS[name]["integrity"] == "crc16" else CheckMode.SUM


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_of_the_vectors_is_understood(name: str) -> None:
    """The simulator accepts what the vendor's C code sends."""
    request = frames.parse_request(frame_of(name), mode_of(name), ALL_COMMANDS)
    assert VECTORS[name]["what"].split()[1] == request.command
    assert request.sender == HOST


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_with_any_bit_flipped_is_never_obeyed_as_another(name: str) -> None:
    """Whatever single bit the cable flips, the UPS refuses or stays silent."""
    good = frame_of(name)
    for bit in range(8, 8 * (len(good) - 1)):
        broken = bytearray(good)
        broken[bit // 8] ^= 1 << bit % 8
        if frames.sender_of(bytes(broken)) is None:
            continue
        with pytest.raises(frames.RefusedError):
            frames.parse_request(bytes(broken), mode_of(name), ALL_COMMANDS)


def test_the_crc_is_that_of_the_catalogue() -> None:
    """CRC-16/RIELLO of "123456789" is 63D0."""
    assert frames.crc(b"123456789") == 0x63D0


@pytest.mark.parametrize(
    ("command", "data", "code"),
    [
        ("XX", b"", NakCode.UNKNOWN_COMMAND),
        ("DS", b"", NakCode.UNKNOWN_COMMAND),
        ("DC", b"", NakCode.UNKNOWN_COMMAND),
        ("RC", b"", NakCode.UNKNOWN_SUBCOMMAND),
        ("RE", b"", NakCode.UNKNOWN_SUBCOMMAND),
        ("RK", b"", NakCode.UNKNOWN_SUBCOMMAND),
        ("CS", b"00", NakCode.WRONG_LENGTH),
        ("CS", b"00zz", NakCode.NO_REASON),
    ],
)
def test_a_refusal_names_its_reason(command: str, data: bytes, code: NakCode) -> None:
    """Unknown, wrongly sized and unreadable requests each get the code of the document."""
    body = bytes((HOST, frames.UPS_ADDRESS)) + command.encode() + frames.plain_digits(len(data), 2) + data
    frame = b"\x02" + body + frames.check_digits(body, CheckMode.SUM) + b"\x03"
    with pytest.raises(frames.RefusedError) as refusal:
        frames.parse_request(frame, CheckMode.SUM)
    assert refusal.value.code is code


def test_noise_before_a_frame_is_ignored() -> None:
    """Only what stands between STX and ETX counts, and a new STX begins anew."""
    collector = frames.FrameCollector()
    good = frame_of("Q-sum16-RS")
    found = [frame for byte in b"\x00noise\x03\x02torn" + good if (frame := collector.feed(byte))]
    assert found == [good]


@pytest.mark.parametrize("name", ["R3", "R4", "R5", "R6", "R7", "R8", "R9", "R16"])
def test_status_replies_are_laid_out_as_in_the_vectors(name: str) -> None:
    """Each status vector is rebuilt from its decoded values."""
    decoded = VECTORS[name]["decoded"]
    one, two, three, four, five = (int(flag, 16) for flag in decoded["flags"])
    phases = Phases.THREE_THREE if "load23" in decoded else Phases.ONE_ONE

    def tenths(key: str) -> Any:
        return None if decoded[key] is None else decoded[key] / 10

    def more(key: str) -> Any:
        return decoded.get(key, (None, None))

    status = reports.Status(
        output_powered=bool(one & 8),
        locked=bool(one & 4),
        battery_working=bool(one & 2),
        battery_low=bool(one & 1),
        on_bypass=bool(two & 8),
        boost=bool(two & 2),
        buck=bool(two & 1),
        charging=bool(three & 4),
        charged=bool(three & 2),
        replace_battery=bool(three & 1),
        shutdown_active=bool(four & 8),
        shutdown_imminent=bool(four & 4),
        beeper_on=bool(four & 1),
        failure=bool(five & 8),
        overload=bool(five & 4),
        over_temperature=bool(five & 2),
        input_frequency_hz=tenths("input_hz10"),
        input_voltage_v=decoded["input_v"],
        input_voltage_2_v=more("input_v23")[0],
        input_voltage_3_v=more("input_v23")[1],
        output_frequency_hz=tenths("output_hz10"),
        output_voltage_v=decoded["output_v"],
        output_voltage_2_v=more("output_v23")[0],
        output_voltage_3_v=more("output_v23")[1],
        load_percent=decoded["load"],
        load_2_percent=more("load23")[0],
        load_3_percent=more("load23")[1],
        bypass_frequency_hz=tenths("bypass_hz10"),
        bypass_voltage_v=decoded["bypass_v"],
        bypass_voltage_2_v=more("bypass_v23")[0],
        bypass_voltage_3_v=more("bypass_v23")[1],
        battery_voltage_v=tenths("battery_v10"),
        charge_percent=decoded["charge"],
        runtime_min=decoded["minutes"],
        temperature_c=decoded["temperature"],
    )
    assert frames.build_reply("RS", reports.status_data(status, phases), mode_of(name), HOST) == frame_of(name)


def test_an_extended_reply_is_laid_out_as_in_its_vector() -> None:
    """Currents in 0.1 A, then watts, then volt-amperes."""
    amperes, watts, volt_amperes = (VECTORS["R15"]["decoded"][key] for key in ("current_a10", "w", "va"))
    extended = reports.Extended(
        current_a=(amperes[0] / 10, amperes[1] / 10, amperes[2] / 10),
        real_power_w=tuple(watts),
        apparent_power_va=tuple(volt_amperes),
    )
    assert frames.build_reply("RE", reports.extended_data(extended), mode_of("R15"), HOST) == frame_of("R15")


def test_a_peak_reply_has_each_figure_at_its_characters() -> None:
    """Characters counted from 1, as on pages 9 and 10; what is not known is `?`."""
    peaks = reports.Peaks(
        input_voltage_v=(325.0, 322.0, 328.0),
        output_voltage_v=(324.0, 323.0, 326.0),
        output_current_a=(12.3, 45.6, 78.9),
        power_temperature_c=(41.0, 42.0, 43.0),
        charger_temperature_c=37.0,
        battery_temperature_c=None,
    )
    data = reports.peak_data(peaks)
    places = [(5, 3), (8, 3), (11, 3), (26, 3), (29, 3), (32, 3), (35, 4), (39, 4), (43, 4)]
    places += [(47, 2), (49, 2), (51, 2), (53, 2)]
    assert [frames.number_of(data[first - 1 : first - 1 + width]) for first, width in places] == [
        *(325, 322, 328),
        *(324, 323, 326),
        *(123, 456, 789),
        *(41, 42, 43, 37),
    ]
    assert (len(data), data[56:]) == (58, b"??")


@pytest.mark.parametrize(
    ("phases", "characters"),
    [(Phases.ONE_ONE, 36), (Phases.THREE_ONE, 42), (Phases.ONE_THREE, 58), (Phases.THREE_THREE, 58)],
)
def test_a_status_is_as_long_as_its_phases_need(phases: Phases, characters: int) -> None:
    """36 characters, 42 with three phases in, 58 with three phases out; unknown figures change no length."""
    data = reports.status_data(reports.Status(output_powered=True), phases)
    assert (len(data), data[:5], data[5:]) == (characters, b"80000", b"?" * (characters - 5))


def test_no_reading_is_written_as_unknown() -> None:
    """A value beyond its field is cut to the largest that is still a number."""
    assert frames.digits(9999, 2) == b"?>"
    assert frames.digits(None, 2) == b"??"
