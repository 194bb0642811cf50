from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardware_sim.ups import frames, reports
from hardware_sim.ups.frames import CheckMode, NakCode

HOST = 0x20
VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parent / "gpser_vectors.json").read_text("utf-8"))
}
REQUESTS = [name for name in VECTORS if name.startswith("Q-")]
KNOWN_REQUESTS = [name for name in REQUESTS if not name.endswith("RE")]


def frame_of(name: str) -> bytes:
    """The bytes of a vector."""
    return bytes.fromhex(VECTORS[name]["hex"])


def mode_of(name: str) -> CheckMode:
    """The check mode of a vector."""
    return CheckMode.CRC if VECTORS[name]["integrity"] == "crc16" else CheckMode.SUM


@pytest.mark.parametrize("name", KNOWN_REQUESTS)
def test_every_request_of_the_vectors_is_understood(name: str) -> None:
    """The simulator accepts what the vendor's C code sends."""
    request = frames.parse_request(frame_of(name), mode_of(name))
    assert VECTORS[name]["what"].split()[1] == request.command
    assert request.sender == HOST


@pytest.mark.parametrize("name", KNOWN_REQUESTS)
def test_a_request_with_any_bit_flipped_is_never_obeyed_as_another(name: str) -> None:
    """Whatever single bit the cable flips, the UPS refuses or stays silent."""
    good = frame_of(name)
    for bit in range(8, 8 * (len(good) - 1)):
        broken = bytearray(good)
        broken[bit // 8] ^= 1 << bit % 8
        if frames.sender_of(bytes(broken)) is None:
            continue
        with pytest.raises(frames.RefusedError):
            frames.parse_request(bytes(broken), mode_of(name))


def test_the_crc_is_that_of_the_catalogue() -> None:
    """CRC-16/RIELLO of "123456789" is 63D0."""
    assert frames.crc(b"123456789") == 0x63D0


@pytest.mark.parametrize(
    ("command", "data", "code"),
    [
        ("XX", b"", NakCode.UNKNOWN_COMMAND),
        ("RE", b"", NakCode.UNKNOWN_SUBCOMMAND),
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


@pytest.mark.parametrize("name", ["R3", "R4", "R5", "R6", "R7", "R8"])
def test_status_replies_are_laid_out_as_in_the_vectors(name: str) -> None:
    """Each status vector is rebuilt from its decoded values."""
    decoded = VECTORS[name]["decoded"]
    one, two, three, four, _ = (int(flag, 16) for flag in decoded["flags"])

    def tenths(key: str) -> Any:
        return None if decoded[key] is None else decoded[key] / 10

    status = reports.Status(
        output_powered=bool(one & 8),
        battery_working=bool(one & 2),
        battery_low=bool(one & 1),
        boost=bool(two & 2),
        buck=bool(two & 1),
        charging=bool(three & 4),
        charged=bool(three & 2),
        shutdown_active=bool(four & 8),
        shutdown_imminent=bool(four & 4),
        beeper_on=bool(four & 1),
        input_frequency_hz=tenths("input_hz10"),
        input_voltage_v=decoded["input_v"],
        output_frequency_hz=tenths("output_hz10"),
        output_voltage_v=decoded["output_v"],
        load_percent=decoded["load"],
        bypass_frequency_hz=tenths("bypass_hz10"),
        bypass_voltage_v=decoded["bypass_v"],
        battery_voltage_v=tenths("battery_v10"),
        charge_percent=decoded["charge"],
        runtime_min=decoded["minutes"],
        temperature_c=decoded["temperature"],
    )
    assert frames.build_reply("RS", reports.status_data(status), mode_of(name), HOST) == frame_of(name)


def test_no_reading_is_written_as_unknown() -> None:
    """A value beyond its field is cut to the largest that is still a number."""
    assert frames.digits(9999, 2) == b"?>"
    assert frames.digits(None, 2) == b"??"
