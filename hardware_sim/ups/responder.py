"""What the UPS answers to a frame: the commands of GPSER, done on the device."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.ups import measurements, reports
from hardware_sim.ups.device import NotPossibleError
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.frames import (
    DATA_LENGTH,
    THREE_PHASE_COMMANDS,
    CheckMode,
    FrameCollector,
    NakCode,
    RefusedError,
    Request,
    build_nak,
    build_reply,
    number_of,
    parse_request,
    sender_of,
)
from hardware_sim.ups.profiles import Reporting

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.profiles import Profile
    from hardware_sim.ups.reports import Extended, Peaks, Status

_NO_REPLY: Final = b""
_OTHER_COMMAND: Final = {"RS": "GN"}
_NOWHERE: Final = (None, None, None)


class Responder:
    """Turns request frames into reply frames, through the faults that tests have set."""

    def __init__(self, device: UpsDevice, faults: Faults | None = None) -> None:
        self.device = device
        self.faults = faults or Faults()
        self._collector = FrameCollector()

    def hear(self, byte: int, now: float) -> bytes:
        """What is answered to the frame that this byte completes; empty otherwise."""
        frame = self._collector.feed(byte)
        return _NO_REPLY if frame is None else self.answer(frame, now)

    def answer(self, frame: bytes, now: float) -> bytes:
        """The reply to a frame that was complete at `now`; empty where a UPS keeps silent."""
        self.device.advance(now)
        sender = sender_of(frame)
        if sender is None or self.faults.frozen or not self.device.awake:
            return _NO_REPLY
        return self.faults.spoil(frame, self._reply(frame, sender))

    def _reply(self, frame: bytes, sender: int) -> bytes:
        mode = self.device.profile.check_mode
        try:
            request = parse_request(frame, mode, known_commands(self.device.profile))
            data = self._obey(request)
        except RefusedError as refusal:
            nak_mode = CheckMode.SUM if refusal.command == "GI" else mode
            return build_nak(refusal.code, nak_mode, sender)
        if self.faults.take("mismatch_replies"):
            other = _OTHER_COMMAND.get(request.command, "RS")
            return build_reply(other, self._obey(Request(other, b"", sender)), mode, sender)
        return build_reply(request.command, data, mode, sender)

    def _obey(self, request: Request) -> bytes:
        """Do what is asked; the data of the reply."""
        if self.faults.take("nak_replies"):
            raise RefusedError(self.faults.nak_code, request.command)
        try:
            self._act(request)
        except NotPossibleError as error:
            raise RefusedError(NakCode.NOT_POSSIBLE, request.command) from error
        return self._report(request.command)

    def _act(self, request: Request) -> None:
        device = self.device
        match request.command:
            case "CS":
                device.shutdown(_number(request.data))
            case "CR":
                device.shutdown_and_restore(_number(request.data[:4]), _number(request.data[4:]))
            case "CD":
                device.cancel_shutdown()
            case "TB":
                device.test_battery()
            case "TP":
                device.test_panel()

    def _report(self, command: str) -> bytes:
        device, profile = self.device, self.device.profile
        match command:
            case "GI":
                return reports.identification(profile)
            case "GN":
                return reports.nominal(profile)
            case "RS":
                return reports.status_data(self.faults.misreport(self._status()), profile.phases)
            case "RE":
                return reports.extended_data(_extended_as_reported(device))
            case "RK":
                return reports.peak_data(_peaks_as_reported(device))
            case _:
                return b""

    def _status(self) -> Status:
        status = self.device.status()
        match self.device.profile.reporting:
            case Reporting.EVERYTHING:
                return replace(status, runtime_min=self.device.runtime_min())
            case Reporting.SMALL_UNIT:
                return _as_small_units_report(status)
            case Reporting.FLAGS:
                return _without_figures(status)


def known_commands(profile: Profile) -> frozenset[str]:
    """The commands that this model does not refuse as unknown."""
    unknown: set[str] = set()
    if profile.phases.outputs == 1:
        unknown |= THREE_PHASE_COMMANDS
    if not profile.nominal_values:
        unknown.add("GN")
    if not profile.panel_test:
        unknown.add("TP")
    return frozenset(DATA_LENGTH) - unknown


def _as_small_units_report(status: Status) -> Status:
    """Leave out what an iPlug does not measure; its load is always 0."""
    return replace(
        status,
        load_percent=0.0,
        bypass_frequency_hz=None,
        bypass_voltage_v=None,
        charge_percent=None,
        temperature_c=None,
    )


def _without_figures(status: Status) -> Status:
    figures: dict[str, Any] = {f.name: None for f in fields(status) if not isinstance(getattr(status, f.name), bool)}
    return replace(status, **figures)


def _extended_as_reported(device: UpsDevice) -> Extended:
    if device.profile.reporting is Reporting.EVERYTHING:
        return measurements.extended_of(device)
    return reports.Extended(current_a=_NOWHERE, real_power_w=_NOWHERE, apparent_power_va=_NOWHERE)


def _peaks_as_reported(device: UpsDevice) -> Peaks:
    if device.profile.reporting is Reporting.EVERYTHING:
        return measurements.peaks_of(device)
    return reports.Peaks(
        input_voltage_v=_NOWHERE,
        output_voltage_v=_NOWHERE,
        output_current_a=_NOWHERE,
        power_temperature_c=_NOWHERE,
        charger_temperature_c=None,
        battery_temperature_c=None,
    )


def _number(field: bytes) -> int:
    """The number in a field whose characters `parse_request` has found to be digits."""
    value = number_of(field)
    if value is None:
        raise RefusedError(NakCode.NO_REASON)
    return value
