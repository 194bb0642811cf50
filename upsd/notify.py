"""How does systemd learn that we are ready, stopping and alive?

A wrapper of sdnotify, which has two traps: a text that isn't latin-1 is silently not sent, and a line break in a
text would start a field of its own. Without a service manager every call does nothing.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

import sdnotify

if TYPE_CHECKING:
    from collections.abc import Mapping

SEND_TIMEOUT_S = 0.5

_ASCII_FORMS = str.maketrans(
    {"–": "-", "—": "-", "→": "->", "←": "<-", "’": "'", "“": '"', "”": '"'}  # noqa: RUF001
)


class Notifier:
    """Tells the service manager how we are."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # Without NOTIFY_SOCKET sdnotify would open a socket only to drop it unclosed.
        self._systemd = sdnotify.SystemdNotifier() if environment.get("NOTIFY_SOCKET") else None
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.settimeout(SEND_TIMEOUT_S)

    def ready(self) -> None:
        """The start is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={one_ascii_line(text)}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """The loop is healthy; due each `watchdog_interval_s`."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Let go of the socket; later calls do nothing."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None

    def _send(self, state: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(state)


def one_ascii_line(text: str) -> str:
    """The text in ASCII and on one line; a character without a plain form becomes a question mark."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_ASCII_FORMS))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(plain.split()).encode("ascii", "replace").decode("ascii")


def watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """How often the watchdog wants to be fed: half of `WATCHDOG_USEC`; `None` if it does not watch us."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_s = int(environment["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None
    return interval_s if interval_s > 0 else None
