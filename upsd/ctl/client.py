"""How does upsctl talk to the daemon? One JSON line out, one back, or a stream of them."""

from __future__ import annotations

import json
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ANSWER_TIMEOUT_S = 5.0
STREAM_TIMEOUT_S = 120.0
"""The daemon repeats its state more often than this, so longer silence means that it is stuck."""
UNIT = "/etc/systemd/system/upsd.service"
"""Where NUT puts a second name of its server in Debian 13 and Ubuntu 24.04; it wins over the Debian package's unit."""


class NoDaemonError(Exception):
    """Nobody answers, or not as a daemon of ours would; the text says what to do."""


class RefusedError(Exception):
    """The daemon answered that it will not; the text is its reason."""


def ask(path: str, what: str, timeout_s: float = ANSWER_TIMEOUT_S, **arguments: str) -> dict[str, Any]:
    """The daemon's answer to one question."""
    return next(_converse(path, {"ask": what, **arguments}, timeout_s))


def act(path: str, what: str, timeout_s: float, **arguments: int | bool | str) -> Any:
    """What became of a command, once it has been carried out."""
    return next(_converse(path, {"act": what, **arguments}, timeout_s))[what]


def follow(path: str) -> Iterator[dict[str, Any]]:
    """What the daemon shows from now on, as objects with `topic` and `document`, until it goes away."""
    return _converse(path, {"ask": "subscribe"}, STREAM_TIMEOUT_S)


def _converse(path: str, request: dict[str, Any], timeout_s: float) -> Iterator[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    yield _checked(line, path)
        except OSError as error:
            raise NoDaemonError(_advice(error, path)) from error
    raise NoDaemonError(f"upsd on {path} hung up: see `journalctl -u upsd`")


def _checked(line: bytes, path: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NoDaemonError(f"what answers on {path} is not upsd: check --socket")
    if answer.get("ok") is False:
        raise RefusedError(str(answer.get("error")))
    return answer


def _advice(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        if name_is_nut_s():
            return f"no upsd on {path}: upsd.service is a second name of NUT's server here; see `man upsd.service`"
        return f"no upsd on {path}: start it (systemctl start upsd), or name its socket with --socket"
    if isinstance(error, ConnectionRefusedError):
        return f"no upsd listens on {path} any more: see `systemctl status upsd`"
    if isinstance(error, PermissionError):
        return f"may not open {path}: become root, or a member of the group upsd"
    if isinstance(error, TimeoutError):
        return f"upsd on {path} does not answer: see `systemctl status upsd`"
    return f"{path}: {error.strerror or error}: check --socket"


def name_is_nut_s() -> bool:
    """Whether `systemctl start upsd` would start NUT's server here."""
    from pathlib import Path  # noqa: PLC0415 - who gets an answer does without

    return Path(UNIT).resolve().name == "nut-server.service"
