"""By what name does the broker know this upsd?

A broker ends a connection as soon as another one comes with the same name. It should end our own, half-dead one at
once: otherwise that one's last will would say offline long after we said online. It should not end another machine's.
"""

from __future__ import annotations

import hmac
import string
from pathlib import Path

MACHINE_ID_FILE = Path("/etc/machine-id")
_APPLICATION = b"upsd MQTT client"
_MACHINE_ID_DIGITS = 32
_DIGITS = 8


def client_identifier(root: str, machine_id_file: Path = MACHINE_ID_FILE) -> str:
    """The topics' root and a mark of this machine, if it has an identity.

    machine-id(5) asks that the identity itself is never shown to the network, only a keyed hash of it.
    """
    name = root.replace("/", "-")
    try:
        machine_id = machine_id_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return name
    if len(machine_id) != _MACHINE_ID_DIGITS or not set(machine_id) <= set(string.hexdigits):
        return name  # as in an image before its first boot
    return f"{name}-{hmac.digest(machine_id.encode(), _APPLICATION, 'sha256').hex()[:_DIGITS]}"
