"""Every frame of both protocols there and back: what one side says is what the other understands.

The simulated UPS and the daemon share no code: each was written from the documents.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_sim.ups import frames, reports
from hardware_sim.ups import sentr as simulated_sentr
from hardware_sim.ups.device import Counters
from hardware_sim.ups.frames import DATA_LENGTH, CheckMode, FrameCollector
from hardware_sim.ups.profiles import FULL_REPORT, SENTRY_60K, ParallelRole, Phases, Profile, SentrSettings, UpsKind
from hardware_sim.ups.reports import Extended, Peaks, Status
from hardware_sim.ups.sentr_codes import Code
from upsd.ups import gpser, sentr
from upsd.ups.errors import Fault, UpsError
from upsd.ups.frame import NAK_REASONS, Check
from upsd.ups.gpser_dialect import reading_from
from upsd.ups.sentr_dialect import reading_from as sentr_reading_from

if TYPE_CHECKING:
    from upsd.ups.exchange import Exchange

CHECKS = {CheckMode.SUM: Check.SUM, CheckMode.CRC: Check.CRC}
HOST = 0x20
FLAGS = {name for name, kind in Status.__annotations__.items() if kind == "bool"}
KINDS = {
    UpsKind.STEP_WAVE: "line-interactive, step wave",
    UpsKind.SINE_WAVE: "line-interactive, sine wave",
    UpsKind.ON_LINE: "on-line",
    UpsKind.DOUBLE_FUNCTION: "on-line and line-interactive",
}

check_modes = st.sampled_from(CheckMode)
cuts = st.lists(st.integers(1, 9), min_size=1, max_size=20)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


def numbers(width: int) -> st.SearchStrategy[int | None]:
    """What fits into so many nibbles, or "not available"."""
    return st.none() | st.integers(0, 16**width - 2)


def tenths(width: int) -> st.SearchStrategy[float | None]:
    """The same, counted in tenths."""
    return numbers(width).map(lambda number: None if number is None else number / 10)


def threes(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    """One for each phase."""
    return st.tuples(one, one, one)


def text_fields(width: int) -> st.SearchStrategy[str]:
    """Text that fits, without blanks at its ends, which can't be told from padding."""
    return texts.map(lambda text: text[:width].strip())


statuses = st.builds(
    Status,
    **dict.fromkeys(sorted(FLAGS), st.booleans()),
    **{name: tenths(3) for name in ("input_frequency_hz", "output_frequency_hz", "bypass_frequency_hz")},
    **{f"{side}_voltage_{phase}v": numbers(3) for side in ("input", "output", "bypass") for phase in ("", "2_", "3_")},
    **{name: numbers(2) for name in ("load_percent", "load_2_percent", "load_3_percent")},
    battery_voltage_v=tenths(4),
    charge_percent=numbers(2),
    runtime_min=numbers(3),
    temperature_c=numbers(2),
)
extended_reports = st.builds(
    Extended,
    current_a=threes(tenths(4)),
    real_power_w=threes(numbers(5)),
    apparent_power_va=threes(numbers(5)),
)
peak_reports: st.SearchStrategy[Peaks] = st.builds(
    Peaks,
    input_voltage_v=threes(numbers(3)),
    output_voltage_v=threes(numbers(3)),
    output_current_a=threes(tenths(4)),
    power_temperature_c=threes(numbers(2)),
    charger_temperature_c=numbers(2),
    battery_temperature_c=numbers(2),
)
plates = st.builds(
    Profile,
    serial=text_fields(16),
    model=text_fields(16),
    firmware=text_fields(12),
    phases=st.sampled_from(Phases),
    kind=st.sampled_from(UpsKind),
    boost_stages=st.integers(0, 15),
    buck_stages=st.integers(0, 15),
    check_mode=check_modes,
    power_share_sockets=st.integers(0, 15),
    benches=st.integers(1, 15),
    batteries_per_bench=st.integers(0, 15),
    parallel=st.sampled_from(ParallelRole),
    reporting=st.just(FULL_REPORT.reporting),
    apparent_power_va=st.integers(0, 0xFFFFE),
    real_power_w=st.integers(0, 0xFFFFE),
    battery_voltage_v=st.integers(0, 0xFFE),
    battery_capacity_ah=st.integers(0, 0xFFE),
    output_voltage_v=st.integers(0, 0xFFE),
    output_frequency_hz=st.integers(0, 0xFFE).map(lambda number: number / 10),
)


def heard(exchange: Exchange, reply: bytes, pieces: list[int]) -> bytes:
    """What comes of a reply that arrives in pieces of such lengths."""
    collector, start, turn = exchange.collector(), 0, 0
    while start < len(reply):
        piece = reply[start : start + pieces[turn % len(pieces)]]
        start, turn = start + len(piece), turn + 1
        whole = collector.feed(piece)
        assert (whole is not None) == (start == len(reply)), "it is whole with its last byte and no sooner"
        if whole is not None:
            return exchange.proven(whole)
    raise AssertionError("the reply was never whole")


def answered(command: gpser.Command, data: bytes, mode: CheckMode, pieces: list[int]) -> bytes:
    """The data that the command gets, if the UPS answers it with this."""
    return heard(command.exchange(CHECKS[mode]), frames.build_reply(command.code, data, mode, HOST), pieces)


@given(plates, check_modes, cuts)
def test_a_name_plate(plate: Profile, mode: CheckMode, pieces: list[int]) -> None:
    """GI and GN, all that the document has in them."""
    found = gpser.decode_identification(answered(gpser.IDENTIFY, reports.identification(plate), mode, pieces))
    assert found == gpser.Identification(
        serial=plate.serial,
        model=plate.model,
        firmware=plate.firmware,
        phases=(plate.phases.inputs, plate.phases.outputs),
        kind=KINDS[plate.kind],
        boost_stages=plate.boost_stages if plate.boost_stages < 15 else 0,
        buck_stages=plate.buck_stages if plate.buck_stages < 15 else 0,
        check=CHECKS[plate.check_mode],
        power_share_sockets=plate.power_share_sockets if plate.power_share_sockets < 15 else 0,
        benches=plate.benches if plate.benches < 15 else 1,
        batteries_per_bench=plate.batteries_per_bench if 0 < plate.batteries_per_bench < 15 else None,
        parallel=plate.parallel.name.lower(),
    )
    nominals = gpser.decode_nominals(answered(gpser.NOMINAL, reports.nominal(plate), mode, pieces))
    assert nominals == gpser.Nominals(
        apparent_power_va=plate.apparent_power_va,
        real_power_w=plate.real_power_w,
        battery_voltage_v=plate.battery_voltage_v,
        battery_capacity_ah=plate.battery_capacity_ah,
        output_voltage_v=plate.output_voltage_v,
        output_frequency_dhz=round(plate.output_frequency_hz * 10),
    )


@given(statuses, st.sampled_from(Phases), check_modes, cuts)
def test_a_status(status: Status, phases: Phases, mode: CheckMode, pieces: list[int]) -> None:
    """RS: each flag under its name, each figure in its unit, of every phase that there is, or unknown."""
    data = answered(gpser.STATUS, reports.status_data(status, phases), mode, pieces)
    reading = reading_from(gpser.decode_status(data), at=1.5)

    same = {name: getattr(status, name) for name in FLAGS & set(reading.__slots__)}
    assert {name: getattr(reading, name) for name in same} == same
    assert reading.on_battery == status.battery_working
    assert reading.line_interactive == status.line_interactive_function
    assert FLAGS - set(same) == {"battery_working", "line_interactive_function"}
    minutes = status.runtime_min
    assert reading.runtime_s == (None if minutes is None else minutes * 60)
    for name in ("input_frequency_hz", "output_frequency_hz", "bypass_frequency_hz"):
        assert getattr(reading, name) == getattr(status, name)
    for name in ("input_voltage_v", "output_voltage_v", "bypass_voltage_v", "battery_voltage_v"):
        assert getattr(reading, name) == getattr(status, name)
    assert (reading.charge_percent, reading.temperature_c) == (status.charge_percent, status.temperature_c)
    if phases is Phases.ONE_ONE:
        assert reading.phases == ()
        assert reading.load_percent == status.load_percent
    if phases.inputs == 3:
        assert [phase.input_voltage_v for phase in reading.phases] == [
            status.input_voltage_v,
            status.input_voltage_2_v,
            status.input_voltage_3_v,
        ]
    if phases.outputs == 3:
        assert [(phase.output_voltage_v, phase.load_percent, phase.bypass_voltage_v) for phase in reading.phases] == [
            (status.output_voltage_v, status.load_percent, status.bypass_voltage_v),
            (status.output_voltage_2_v, status.load_2_percent, status.bypass_voltage_2_v),
            (status.output_voltage_3_v, status.load_3_percent, status.bypass_voltage_3_v),
        ]


@given(extended_reports, check_modes, cuts)
def test_power_by_phase(report: Extended, mode: CheckMode, pieces: list[int]) -> None:
    """RE."""
    found = gpser.decode_extended(answered(gpser.EXTENDED, reports.extended_data(report), mode, pieces))
    assert found.current_da == _in_tenths(report.current_a)
    assert (found.real_power_w, found.apparent_power_va) == (report.real_power_w, report.apparent_power_va)


@given(peak_reports, check_modes, cuts)
def test_peaks(report: Peaks, mode: CheckMode, pieces: list[int]) -> None:
    """RK."""
    found = gpser.decode_peaks(answered(gpser.PEAKS, reports.peak_data(report), mode, pieces))
    assert (found.input_voltage_v, found.output_voltage_v) == (report.input_voltage_v, report.output_voltage_v)
    assert found.output_current_da == _in_tenths(report.output_current_a)
    assert found.power_temperature_c == report.power_temperature_c
    assert found.charger_temperature_c == report.charger_temperature_c
    assert found.battery_temperature_c == report.battery_temperature_c


def _in_tenths(values: tuple[Any, ...]) -> tuple[int | None, ...]:
    return tuple(None if value is None else round(value * 10) for value in values)


def all_commands(delay_s: int, restore_min: int) -> dict[gpser.Command, bytes]:
    """Every command, and the numbers that it must carry."""
    delay, restore = delay_s.to_bytes(2, "big"), restore_min.to_bytes(2, "big")
    plain = (gpser.IDENTIFY, gpser.NOMINAL, gpser.STATUS, gpser.EXTENDED, gpser.PEAKS, gpser.CANCEL, gpser.PANEL_TEST)
    return {
        **dict.fromkeys(plain, b""),
        gpser.shutdown(delay_s): delay,
        gpser.shutdown_and_restore(delay_s, restore_min): delay + restore,
        gpser.BATTERY_TEST: b"\x00\x05",
    }


@given(st.integers(0, gpser.LONGEST_DELAY), st.integers(0, gpser.LONGEST_DELAY), check_modes)
def test_every_request_is_what_the_ups_understands(delay_s: int, restore_min: int, mode: CheckMode) -> None:
    """All ten commands of the document, with every delay, in both check modes."""
    understood = set()
    for command, carries in all_commands(delay_s, restore_min).items():
        collector = FrameCollector()
        frame = [collector.feed(byte) for byte in command.exchange(CHECKS[mode]).request][-1]
        assert frame is not None
        request = frames.parse_request(frame, mode, frozenset(DATA_LENGTH))
        assert (request.command, request.sender) == (command.code, HOST)
        assert (frames.number_of(request.data) or 0) == int.from_bytes(carries, "big")
        understood.add(request.command)
    assert understood == set(DATA_LENGTH)


@pytest.mark.parametrize("mode", CheckMode)
@given(pieces=cuts)
def test_acknowledgements_and_refusals(mode: CheckMode, pieces: list[int]) -> None:
    """What has no data is acknowledged; every refusal says what was refused, and why."""
    for command in all_commands(5, 1):
        exchange = command.exchange(CHECKS[mode])
        if command.code in {"CS", "CR", "CD", "TB", "TP"}:
            assert answered(command, b"", mode, pieces) == b""
        sealed = CheckMode.SUM if command.code == "GI" else mode
        for code in frames.NakCode:
            with pytest.raises(UpsError, match=f"the UPS refused {command.code}: ") as refused:
                heard(exchange, frames.build_nak(code, sealed, HOST), pieces)
            assert NAK_REASONS[str(code.value)] in str(refused.value)
            misheard = code in {frames.NakCode.WRONG_LENGTH, frames.NakCode.WRONG_CHECK}
            assert refused.value.fault is (Fault.MISHEARD if misheard else Fault.REFUSED)


dates = st.datetimes(datetime(1990, 1, 1), datetime(2089, 12, 31)).map(lambda at: at.replace(microsecond=0))  # noqa: DTZ001
bytes_ = st.integers(0, 255)
moments = st.builds(
    simulated_sentr.Moment,
    number=bytes_,
    at=dates,
    status=st.builds(
        Status,
        output_powered=st.booleans(),
        on_bypass=st.sampled_from([False]),
        **{
            name: st.integers(101, 999).map(lambda number: number / 10)
            for name in (
                "input_frequency_hz",
                "output_frequency_hz",
                "bypass_frequency_hz",
            )
        },
        **{f"input_voltage_{phase}v": st.integers(0, 500) for phase in ("", "2_", "3_")},
        **{f"output_voltage_{phase}v": bytes_ for phase in ("", "2_", "3_")},
        **{f"bypass_voltage_{phase}v": st.integers(0, 500) for phase in ("", "2_", "3_")},
        **dict.fromkeys(("load_percent", "load_2_percent", "load_3_percent"), bytes_),
        battery_voltage_v=st.integers(256, 1000),
        charge_percent=bytes_,
        temperature_c=bytes_,
    ),
    codes=st.frozensets(st.sampled_from(Code)),
    runtime_min=st.integers(0, 0xFFFF),
    input_current_percent=threes(bytes_),
    peak_load_percent=threes(st.integers(0, 255).map(lambda third: third * 3)),
    battery_current_a=st.integers(1, 900).map(float) | st.integers(0, 900).map(lambda tenth: -tenth / 10),
    rectifier_temperature_c=bytes_,
    inverter_temperature_c=bytes_,
)
sentr_settings = st.builds(
    SentrSettings, ident=st.integers(0, 7), version=st.integers(0, 0xFFFF), sums_byte_100=st.booleans()
)
counts = st.integers(0, 0xFFFF)
counters = st.builds(
    Counters,
    inverter_s=counts.map(lambda hours: hours * 3600.0),
    battery_s=counts.map(lambda hours: hours * 3600.0),
    blackouts=counts,
    full_discharges=counts,
)


@given(moments, sentr_settings, counters, st.sampled_from([Phases.THREE_ONE, Phases.THREE_THREE]), cuts)
def test_a_sentr_record(
    moment: simulated_sentr.Moment, settings: SentrSettings, counted: Counters, phases: Phases, pieces: list[int]
) -> None:
    """Each of its 103 bytes that means something, whichever sum the machine uses, and in every split."""
    profile = replace(SENTRY_60K, phases=phases)
    said: Any = moment
    status: Any = moment.status
    written = simulated_sentr.record(sentr.PRESENT + settings.ident, moment, profile, settings, counted, 0)
    found = sentr.decode_record(heard(sentr.record_exchange(ident=settings.ident), written, pieces))

    assert (found.apparent_power_va, found.output_phases) == (profile.apparent_power_va, phases.outputs)
    assert found.firmware == f"{settings.version / 100:.2f}"
    assert found.event.number == said.number
    assert found.event.at == said.at.isoformat()
    assert found.runtime_min == said.runtime_min
    assert found.charge_percent == status.charge_percent
    assert found.input_current_percent == said.input_current_percent
    assert found.output_voltage_v == (status.output_voltage_v, status.output_voltage_2_v, status.output_voltage_3_v)
    assert found.bypass_voltage_v == (status.bypass_voltage_v, status.bypass_voltage_2_v, status.bypass_voltage_3_v)
    assert found.output_current_percent == (status.load_percent, status.load_2_percent, status.load_3_percent)
    assert found.output_peak_percent == said.peak_load_percent
    assert found.input_frequency_hz == status.input_frequency_hz
    assert found.output_frequency_hz == status.output_frequency_hz
    assert found.bypass_frequency_hz == status.bypass_frequency_hz
    assert found.battery_voltage_v == status.battery_voltage_v
    assert found.battery_current_a == pytest.approx(abs(moment.battery_current_a))
    assert found.discharging == (said.battery_current_a > 0)
    assert (found.temperature_c, found.rectifier_temperature_c, found.inverter_temperature_c) == (
        status.temperature_c,
        said.rectifier_temperature_c,
        said.inverter_temperature_c,
    )
    assert found.battery_capacity_ah == profile.battery_capacity_ah
    assert (found.nominal_output_voltage_v, found.nominal_frequency_hz) == (profile.output_voltage_v, 50)
    assert (found.counters.blackouts, found.counters.full_discharges) == (counted.blackouts, counted.full_discharges)
    assert (found.counters.inverter_h, found.counters.battery_h) == (
        counted.inverter_s // 3600,
        counted.battery_s // 3600,
    )
    assert found.counters.first_activation == settings.first_activation

    reading = sentr_reading_from(found, at=0.0)
    assert reading.battery_low == (Code.LOW_BATTERY in moment.codes)
    assert reading.overload == (Code.OVERLOAD in moment.codes)
    assert reading.over_temperature == (Code.OVER_TEMPERATURE in moment.codes)
    off = {Code.OUTPUT_OFF, Code.SYSTEM_OFF_COMMAND} & moment.codes
    assert reading.output_powered == (not off)
