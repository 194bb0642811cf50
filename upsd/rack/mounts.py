"""What is mounted here, which of it is the NAS, and what systemd calls it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_ESCAPE = re.compile(r"\\([0-7]{3})")
_UNESCAPED_IN_UNIT = re.compile(rb"[A-Za-z0-9:_.]")
_SMB = {"cifs", "smb3"}
_NETWORK = {"nfs", "nfs4", *_SMB}


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table; `options` are those of its file system."""

    mount_point: Path
    fs_type: str
    source: str
    options: str

    @property
    def servers(self) -> frozenset[str]:
        """What its server is called here: as it was mounted, and its address."""
        if self.fs_type not in _NETWORK:
            return frozenset()
        if self.fs_type in _SMB:
            named = self.source.replace("\\", "/").strip("/").partition("/")[0]
        else:
            named = self.source.partition(":/")[0].strip("[]")
        addresses = [word[5:] for word in self.options.split(",") if word.startswith("addr=")]
        return frozenset(name.lower() for name in (named, *addresses) if name)


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The lines of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) in their order; one that is none is passed over.

    An automount point on which nothing is mounted yet is no mount.
    """
    found = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if dash and len(fields) >= 6 and len(rest) >= 3 and rest[0] != "autofs":
            found.append(Mount(Path(_unescaped(fields[4])), rest[0], _unescaped(rest[1]), rest[2]))
    return tuple(found)


def servers_at(mounts: Iterable[Mount], mount_point: Path) -> frozenset[str]:
    """What the server of the mount there is called; no name is looked up, since the name server may be gone."""
    return frozenset().union(*(mount.servers for mount in mounts if mount.mount_point == mount_point))


def nas_mounts(mounts: Iterable[Mount], mount_point: Path, servers: Collection[str]) -> tuple[Path, ...]:
    """Where the NAS is mounted, the newest first: at `mount_point`, and from one of the servers wherever else."""
    names = {server.lower() for server in servers}
    ours = [mount.mount_point for mount in mounts if mount.mount_point == mount_point or mount.servers & names]
    return tuple(dict.fromkeys(reversed(ours)))


def mounted_at(mountinfo: str, mount_point: Path) -> bool:
    """Whether something is mounted there, by the text of `/proc/self/mountinfo`."""
    return any(mount.mount_point == mount_point for mount in parse_mountinfo(mountinfo))


def mount_unit(path: Path) -> str:
    """The name of the systemd unit that mounts there, as `systemd-escape --path --suffix=mount` gives it."""
    return f"{escaped(path)}.mount"


def detaching_unit(path: Path) -> str:
    """The unit of ours (`systemd/upsd-detach@.service`) that detaches what is mounted there."""
    return f"upsd-detach@{escaped(path)}.service"


def escaped(path: Path) -> str:
    """The path in the name of a systemd unit, as `systemd-escape --path` gives it."""
    parts = [part.encode(errors="surrogateescape") for part in path.parts if part.strip("/")]
    words = [_escape(part) for part in parts]
    if words and words[0].startswith("."):
        words[0] = r"\x2e" + words[0][1:]
    return "-".join(words) or "-"


def _escape(part: bytes) -> str:
    return "".join(chr(byte) if _UNESCAPED_IN_UNIT.fullmatch(bytes([byte])) else rf"\x{byte:02x}" for byte in part)


def _unescaped(field: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), field)
