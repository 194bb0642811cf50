"""What a Sentry remembers: a record of each moment at which its alarms changed."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hardware_sim.ups import measurements
from hardware_sim.ups.sentr import Moment
from hardware_sim.ups.sentr_codes import codes_of

if TYPE_CHECKING:
    from hardware_sim.ups.device import UpsDevice
    from hardware_sim.ups.reports import Status

_BEGAN: Final = datetime(2001, 9, 30, 23, 50, 0, tzinfo=UTC)
"""What the machine's clock says when its life begins."""
_MOST_EVENTS: Final = 64


class EventMemory:
    """The last events; the newest of them is the present one, and goes on."""

    def __init__(self, device: UpsDevice) -> None:
        self._device = device
        self._events: deque[Moment] = deque(maxlen=_MOST_EVENTS)
        self._pointer = 0
        self._notice()
        device.watch(self._notice)

    def present(self, status: Status) -> Moment:
        """Now, when the machine says this of itself; the pointer goes back to it."""
        self._notice()
        self._pointer = self._events[-1].number
        return replace(self._moment(status), number=self._pointer)

    def previous(self) -> Moment:
        """The event before that at the pointer, which moves there; it stays at the oldest."""
        self._notice()
        self._pointer -= 1
        return self.past()

    def past(self) -> Moment:
        """The event at the pointer."""
        self._notice()
        self._pointer = max(self._events[0].number, self._pointer)
        return self._events[self._pointer - self._events[0].number]

    def _notice(self) -> None:
        status = self._device.status()
        if self._events and self._events[-1].codes == codes_of(self._device, status):
            return
        number = self._events[-1].number + 1 if self._events else 1
        self._events.append(replace(self._moment(status), number=number))

    def _moment(self, status: Status) -> Moment:
        device = self._device
        inside = measurements.peaks_of(device)
        return Moment(
            number=0,
            at=_BEGAN + timedelta(seconds=device.running_s),
            status=status,
            codes=codes_of(device, status),
            runtime_min=device.runtime_min(),
            input_current_percent=measurements.input_currents_percent(device),
            peak_load_percent=measurements.peak_loads_percent(device),
            battery_current_a=device.battery.current_a,
            rectifier_temperature_c=inside.power_temperature_c[0] or 0.0,
            inverter_temperature_c=inside.charger_temperature_c or 0.0,
        )
