"""What the UPS answers to a frame: the commands of GPSER, done on the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.device import NotPossibleError
from hardware_sim.ups.faults import Faults
from hardware_sim.ups.frames import (
    CheckMode,
    NakCode,
    RefusedError,
    Request,
    build_nak,
    build_reply,
    number_of,
    parse_request,
    sender_of,
)
from hardware_sim.ups.reports import Status, identification, nominal, status_data

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice

_NO_REPLY: Final = b""
_OTHER_COMMAND: Final = {"RS": "GN"}


class Responder:
    """Turns request frames into reply frames, through the faults that tests have set."""

    def __init__(self, device: UpsDevice, faults: Faults | None = None) -> None:
        self.device = device
        self.faults = faults or Faults()

    def answer(self, frame: bytes, now: float) -> bytes:
        """The reply to a frame that was complete at `now`; empty where a UPS keeps silent."""
        self.device.advance(now)
        sender = sender_of(frame)
        if sender is None or not self.device.awake:
            return _NO_REPLY
        return self._spoil(frame, self._reply(frame, sender))

    def _reply(self, frame: bytes, sender: int) -> bytes:
        mode = self.device.profile.check_mode
        try:
            request = parse_request(frame, mode)
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
        device = self.device
        try:
            match request.command:
                case "GI":
                    return identification(device.profile)
                case "GN":
                    return nominal(device.profile)
                case "RS":
                    return status_data(self._status())
                case "CS":
                    device.shutdown(_number(request.data))
                case "CR":
                    device.shutdown_and_restore(_number(request.data[:4]), _number(request.data[4:]))
                case "CD":
                    device.cancel_shutdown()
                case "TB":
                    device.test_battery()
        except NotPossibleError as error:
            raise RefusedError(NakCode.NOT_POSSIBLE, request.command) from error
        return b""

    def _status(self) -> Status:
        status = self.device.status()
        if self.device.profile.full_report:
            status = replace(status, runtime_min=self.device.runtime_min())
        else:
            status = _as_small_units_report(status)
        if self.faults.take("nonsense_statuses"):
            status = replace(status, input_voltage_v=4094, battery_voltage_v=6553.4, load_percent=254, charge_percent=0)
        if self.faults.take("false_off_statuses"):
            status = replace(status, output_powered=False)
        return status

    def _spoil(self, frame: bytes, reply: bytes) -> bytes:
        middle = len(reply) // 2
        if self.faults.take("echo_replies"):
            return frame
        if self.faults.take("corrupt_replies"):
            return reply[:middle] + bytes((reply[middle] ^ 0x01,)) + reply[middle + 1 :]
        if self.faults.take("truncate_replies"):
            return reply[:middle]
        return reply


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


def _number(field: bytes) -> int:
    """The number in a field whose characters `parse_request` has found to be digits."""
    value = number_of(field)
    if value is None:
        raise RefusedError(NakCode.NO_REASON)
    return value
