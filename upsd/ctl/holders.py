"""Who holds a device, and what ends that? The daemon can't tell: its unit shows it no other process."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROCESSES: Final = Path("/proc")
_USB_DEVICES: Final = Path("/sys/bus/usb/devices")
_USB_NODES: Final = Path("/dev/bus/usb")
_BRIDGE: Final = ["04b4", "5500"]
_NUT_DRIVERS: Final = {"riello_usb", "riello_ser", "usbhid-ups", "nutdrv_qx", "blazer_usb", "nut-scanner"}


class _Holder(NamedTuple):
    process: int
    name: str
    command: list[str]

    @property
    def is_upsd(self) -> bool:
        return "upsd" in self.command

    def __str__(self) -> str:
        if self.name in _NUT_DRIVERS:
            return (
                f"NUT's driver {self.name} (process {self.process}) holds it; only one of them can read a UPS:"
                " systemctl mask --now nut-driver.target nut-server"
            )
        if self.is_upsd:
            return f"another upsd (process {self.process}) holds it; stop it: systemctl stop upsd"
        return f"{self.name} (process {self.process}) holds it; stop it"


def holders_of(device: Path) -> tuple[str, ...]:
    """A sentence for each process that has the device open, with what to do; root alone sees them all."""
    return tuple(map(str, _holders(device)))


def rivals() -> tuple[str, ...]:
    """The same for whoever keeps upsd from reading a UPS that is plugged in, by the UPS's place on USB."""
    return tuple(
        f"usb:{directory.name}: {holder}"
        for directory in sorted(_USB_DEVICES.glob("*-*"))
        for *ids, bus, number in _read(directory, "idVendor", "idProduct", "busnum", "devnum")
        if ids == _BRIDGE
        for holder in _holders(usb_node(int(bus), int(number)))
        if not holder.is_upsd
    )


def usb_node(bus: int, number: int) -> Path:
    """The device file of what is at this address."""
    return _USB_NODES / f"{bus:03d}" / f"{number:03d}"


def _read(directory: Path, *names: str) -> Iterator[list[str]]:
    # An interface has none of them, and what is pulled out meanwhile has none any more.
    with contextlib.suppress(OSError):
        yield [(directory / name).read_text(encoding="ascii").strip() for name in names]


def _holders(device: Path) -> Iterator[_Holder]:
    for process in sorted(_PROCESSES.glob("[0-9]*"), key=lambda path: int(path.name)):
        # Whatever ends meanwhile, or belongs to somebody else.
        with contextlib.suppress(OSError):
            if any(_leads_to(link, device) for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield _Holder(int(process.name), name, command)


def _leads_to(link: Path, device: Path) -> bool:
    with contextlib.suppress(OSError):
        return link.readlink() == device
    return False
