"""Who holds a device, and what ends that?"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
_NUT_DRIVERS: Final = {"riello_usb", "riello_ser", "usbhid-ups", "nutdrv_qx", "blazer_usb", "nut-scanner"}


def holders_of(device: Path) -> tuple[str, ...]:
    """A sentence for each process that has the device open, with what to do; root alone sees them all."""
    found = []
    for process in sorted(_PROCESSES.glob("[0-9]*"), key=lambda path: int(path.name)):
        # Whatever ends meanwhile, or belongs to somebody else.
        with contextlib.suppress(OSError):
            if any(_leads_to(link, device) for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append(_sentence(int(process.name), name, command))
    return tuple(found)


def _leads_to(link: Path, device: Path) -> bool:
    with contextlib.suppress(OSError):
        return link.readlink() == device
    return False


def _sentence(process: int, name: str, command: list[str]) -> str:
    if name in _NUT_DRIVERS:
        return (
            f"NUT's driver {name} (process {process}) holds it; only one of them can read a UPS: systemctl mask --now"
            " nut-driver.target nut-server"
        )
    if "upsd" in command:
        return f"another upsd (process {process}) holds it; stop it: systemctl stop upsd"
    return f"{name} (process {process}) holds it; stop it"
