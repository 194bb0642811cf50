"""A pyusb backend whose only device is the simulated UPS.

In the same process: `SimulatedBackend(LocalPort(bridge))`. For a UPS in another process, `get_backend()`
connects to the unix socket that the environment variable `UPSD_SIM_UPS` names; with
`ups.backend = "hardware_sim.usb_backend"` in its settings the daemon then uses it in place of libusb.
"""

from __future__ import annotations

import array
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import usb.backend
import usb.core

from hardware_sim.ups import descriptors
from hardware_sim.ups.descriptors import REPORT_LENGTH
from hardware_sim.ups.ports import Channel, Port, SocketPort
from hardware_sim.ups.transfers import Transfer, TransferKind, control_data, read_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

SOCKET_VARIABLE: Final = "UPSD_SIM_UPS"
_DIRECTION_IN: Final = 0x80


def get_backend() -> SimulatedBackend:
    """The backend for the UPS of another process.

    Raises:
        usb.core.USBError: if the environment does not name the socket.
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise usb.core.USBError(f"set {SOCKET_VARIABLE} to the unix socket of the simulated UPS")
    return SimulatedBackend(SocketPort(path))


@dataclass(frozen=True, slots=True)
class Handle:
    """An open device."""

    address: int
    channel: Channel


class SimulatedBackend(usb.backend.IBackend):  # type: ignore[misc]  # pyusb ships no types
    """The bus with the UPS on it; as on Linux, a kernel driver has the device until it is detached."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._detached: set[int] = set()
        self._claimed: dict[int, Handle] = {}

    def enumerate_devices(self) -> Iterator[int]:
        """The address of the device, if one is plugged in."""
        try:
            channel = self._port.open()
        except OSError:
            return
        try:
            (address,) = channel.transfer(Transfer(TransferKind.ENUMERATE, timeout_ms=1000))
        except OSError:
            return
        finally:
            channel.close()
        yield address

    def get_parent(self, dev: int) -> None:
        """No hubs here."""

    def get_device_descriptor(self, dev: int) -> SimpleNamespace:
        """See `descriptors`."""
        return descriptors.device_descriptor(dev)

    def get_configuration_descriptor(self, dev: int, config: int) -> SimpleNamespace:
        """See `descriptors`."""
        del dev
        return (descriptors.CONFIGURATION,)[config]

    def get_interface_descriptor(self, dev: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        """See `descriptors`."""
        del dev, config
        return ((descriptors.INTERFACE,),)[intf][alt]

    def get_endpoint_descriptor(self, dev: int, ep: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        """See `descriptors`."""
        del dev, intf, alt, config
        return descriptors.ENDPOINTS[ep]

    def open_device(self, dev: int) -> Handle:
        """Open the device at this address."""
        try:
            return Handle(dev, self._port.open())
        except OSError as error:
            raise _usb_error(error) from error

    def close_device(self, dev_handle: Handle) -> None:
        """Close it, and let go of the interface."""
        self._let_go(dev_handle)
        dev_handle.channel.close()

    def get_configuration(self, dev_handle: Handle) -> int:
        """The kernel has chosen the only configuration."""
        del dev_handle
        return 1

    def set_configuration(self, dev_handle: Handle, config_value: int) -> None:
        """Accepted; there is but one."""

    def set_interface_altsetting(self, dev_handle: Handle, intf: int, altsetting: int) -> None:
        """Accepted; there is but one."""

    def claim_interface(self, dev_handle: Handle, intf: int) -> None:
        """Take the interface; busy while a kernel driver or another handle has it."""
        holder = self._claimed.get(dev_handle.address, dev_handle)
        if self.is_kernel_driver_active(dev_handle, intf) or holder is not dev_handle:
            raise usb.core.USBError(os.strerror(errno.EBUSY), None, errno.EBUSY)
        self._claimed[dev_handle.address] = dev_handle

    def release_interface(self, dev_handle: Handle, intf: int) -> None:
        """Give the interface back."""
        del intf
        self._let_go(dev_handle)

    def is_kernel_driver_active(self, dev_handle: Handle, intf: int) -> bool:
        """Whether cypress_m8 still has the interface."""
        del intf
        return dev_handle.address not in self._detached

    def detach_kernel_driver(self, dev_handle: Handle, intf: int) -> None:
        """Take it from cypress_m8."""
        del intf
        if dev_handle.address in self._detached:
            raise usb.core.USBError(os.strerror(errno.ENOENT), None, errno.ENOENT)
        self._detached.add(dev_handle.address)

    def attach_kernel_driver(self, dev_handle: Handle, intf: int) -> None:
        """Give it back to cypress_m8."""
        del intf
        self._detached.discard(dev_handle.address)

    def intr_write(self, dev_handle: Handle, ep: int, intf: int, data: array.array[int], timeout: int) -> int:
        """An OUT report."""
        del ep
        self._need_claim(dev_handle, intf)
        _transfer(dev_handle, TransferKind.WRITE, data.tobytes(), timeout)
        return len(data)

    def intr_read(self, dev_handle: Handle, ep: int, intf: int, buff: array.array[int], timeout: int) -> int:
        """IN reports, one at each poll of the endpoint, until the buffer is full or the time is up."""
        del ep
        self._need_claim(dev_handle, intf)
        if len(buff) < REPORT_LENGTH:
            raise usb.core.USBError(os.strerror(errno.EOVERFLOW), None, errno.EOVERFLOW)
        return _fill(buff, _transfer(dev_handle, TransferKind.READ, read_data(len(buff) // REPORT_LENGTH), timeout))

    def ctrl_transfer(
        self,
        dev_handle: Handle,
        bmRequestType: int,  # noqa: N803  # pyusb's names
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: array.array[int],
        timeout: int,
    ) -> int:
        """A control transfer: the line set-up, or a string descriptor."""
        is_in = bool(bmRequestType & _DIRECTION_IN)
        sent = control_data((bmRequestType, bRequest, wValue, wIndex), b"" if is_in else data.tobytes())
        received = _transfer(dev_handle, TransferKind.CONTROL, sent, timeout)
        return _fill(data, received) if is_in else len(data)

    def clear_halt(self, dev_handle: Handle, ep: int) -> None:
        """Let a halted endpoint work again."""
        _transfer(dev_handle, TransferKind.CLEAR_HALT, bytes((ep,)), 1000)

    def reset_device(self, dev_handle: Handle) -> None:
        """Reset the port."""
        _transfer(dev_handle, TransferKind.RESET, b"", 1000)

    def _let_go(self, dev_handle: Handle) -> None:
        if self._claimed.get(dev_handle.address) is dev_handle:
            del self._claimed[dev_handle.address]

    def _need_claim(self, dev_handle: Handle, intf: int) -> None:
        if self._claimed.get(dev_handle.address) is not dev_handle:
            self.claim_interface(dev_handle, intf)


def _transfer(handle: Handle, kind: TransferKind, data: bytes, timeout_ms: int) -> bytes:
    try:
        return handle.channel.transfer(Transfer(kind, handle.address, timeout_ms, data))
    except OSError as error:
        raise _usb_error(error) from error


def _fill(buffer: array.array[int], received: bytes) -> int:
    length = min(len(buffer), len(received))
    buffer[:length] = array.array("B", received[:length])
    return length


def _usb_error(error: OSError) -> OSError:
    kind = usb.core.USBTimeoutError if error.errno == errno.ETIMEDOUT else usb.core.USBError
    translated: OSError = kind(error.strerror, None, error.errno)
    return translated
