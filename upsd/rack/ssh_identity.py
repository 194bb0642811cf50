"""With which key we log in, and which host keys we trust.

The files are read at the start of the daemon. During an outage the disk may be gone or slow, so afterwards they are
only looked at, and read again when they have changed; what was read last stays good if they have become unreadable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncssh

from upsd.domain.rack import RackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class SshIdentity:
    """Our private key, and the host keys that we trust."""

    def __init__(self, key_file: Path, known_hosts_file: Path) -> None:
        """Read both files; one that is missing or wrong is a warning now and a `RackError` at each use."""
        self.key_file = key_file
        self.known_hosts_file = known_hosts_file
        self._key = _File(
            key_file, asyncssh.import_private_key, f"make one with `ssh-keygen -t ed25519 -N '' -f {key_file}`"
        )
        self._known_hosts = _File(
            known_hosts_file,
            lambda content: asyncssh.import_known_hosts(content.decode()),
            "gather host keys with `ssh-keyscan HOST`, compare them with those of the machines and write them there",
        )

    def warnings(self) -> list[str]:
        """What a person should mend before an outage comes."""
        return [problem for problem in (self._key.problem(), self._known_hosts.problem()) if problem]

    def key(self) -> asyncssh.SSHKey:
        """The private key."""
        return self._key.content()

    def known_hosts(self) -> asyncssh.SSHKnownHosts:
        """The host keys that we trust."""
        return self._known_hosts.content()


class Trust:
    """The known hosts, and whether this connection's host was among them."""

    def __init__(self, known_hosts: asyncssh.SSHKnownHosts, host: str) -> None:
        """Take the known hosts, and the name or address that the settings give the host."""
        self._known_hosts = known_hosts
        self._host = host
        self.known = False

    def match(self, _: str, address: str, port: int | None) -> Any:
        """What asyncssh asks for: seven lists of keys and certificates, trusted and revoked."""
        found = self._known_hosts.match(self._host, address, port)
        self.known = any(found)
        return found


class _File(Generic[T]):
    """The parsed content of a small file, read again whenever the file has changed."""

    def __init__(self, path: Path, parse: Callable[[bytes], T], remedy: str) -> None:
        self._path = path
        self._parse = parse
        self._remedy = remedy
        self._stamp: tuple[int, int, int] | None = None
        self._content: T | None = None
        self.problem()

    def problem(self) -> str | None:
        """What is wrong with the file now; looks, and reads it if it has changed."""
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._content = self._parse(self._path.read_bytes())
                self._stamp = stamp
        except OSError as error:
            return f"cannot read {self._path} ({error.strerror}): {self._remedy}"
        except ValueError as error:
            return f"{self._path} is not usable ({error}): {self._remedy}"
        return None

    def content(self) -> T:
        """What was read last, now if need be."""
        problem = self.problem()
        if self._content is None:
            raise RackError(str(problem))
        return self._content
