"""When did an earlier boot of this machine end? Its system journal's last entry says so, where that is kept on disk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from upsd.domain.rack import RackError
from upsd.rack.commands import run_command

JOURNAL_STOPPED: Final = "d93fb3c99c24451a97cea615ce59c00b"
"""What journald writes last, when it was stopped rather than cut off (systemd's sd-messages.h)."""
_TIMEOUT_S = 30.0
_BOOT_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MICROSECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BootEnd:
    """The end of a boot, by its CLOCK_MONOTONIC (s); `orderly` unless the journal broke off."""

    at_s: float
    orderly: bool


async def boot_end(boot_id: str) -> BootEnd:
    """When that boot ended.

    Raises:
        RackError: that is not to be had; the text says why.
    """
    boot = boot_id.replace("-", "")
    if not _BOOT_ID.fullmatch(boot):
        raise RackError(f"{boot_id[:80]!r} is no boot")
    words = ["--lines=1", "--output=json", "--output-fields=MESSAGE_ID", "--quiet", "--no-pager"]
    return end_in(await run_command(["journalctl", f"--boot={boot}", *words], timeout_s=_TIMEOUT_S), boot)


def end_in(said: str, boot: str) -> BootEnd:
    """What `journalctl` says of that boot's last entry.

    Raises:
        RackError: nothing, or nothing that can be used.
    """
    lines = said.split("\n")
    entry = next((line for line in reversed(lines) if line.strip()), "")
    if not entry:
        raise RackError("the system journal of the last boot is not kept, or the daemon's user may not read it")
    try:
        found: Any = json.loads(entry)
    except (ValueError, RecursionError):
        found = None
    at = found.get("__MONOTONIC_TIMESTAMP") if isinstance(found, dict) else None
    if not isinstance(at, str) or not _MICROSECONDS.fullmatch(at) or found.get("_BOOT_ID") != boot:
        raise RackError("journalctl gives no entry of the last boot that can be used")
    return BootEnd(int(at) / 1e6, orderly=found.get("MESSAGE_ID") == JOURNAL_STOPPED)
