"""The NAS as the master sees it: a mount that may hang, and a machine that can be told to write out.

Nothing here touches the mount from the daemon itself, not even from one of its threads: a dead NFS server would hold
them for ever. What has to touch it is a command of its own, which can be left behind.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.domain.rack import RackError
from upsd.rack.commands import CommandTimeoutError, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.rack import PortAnswer, RemoteHost

_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")
_UNESCAPED_IN_UNIT = re.compile(rb"[A-Za-z0-9:_.]")
_PROBE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedNas:
    """A mount on this machine, and the NAS behind it; fits `upsd.domain.rack.Storage`.

    `mount_point` is its real path, without symbolic links. Without commands of its own it is mounted
    and unmounted by its systemd unit. `remote` is the NAS itself, if it can be told to write out what it caches; it
    must take a line that is cut before the command has ended for an error; `forced_is_safe` says that a forced command
    there would run the flush all the same. Each command gets `timeout_s` seconds.
    """

    mount_point: Path
    timeout_s: float
    mount_command: Sequence[str] | None = None
    unmount_command: Sequence[str] | None = None
    remote: RemoteHost | None = None
    remote_flush_command: str = "sync"
    forced_is_safe: bool = False
    mountinfo: Path = Path("/proc/self/mountinfo")

    async def flush(self) -> None:
        """Write out what is cached here, if it is mounted, and then on the NAS; the second even if the first fails."""
        problems = []
        for flush in (self._flush_here, self._flush_there):
            try:
                await flush()
            except RackError as error:
                problems.append(str(error))
        if problems:
            raise RackError("; ".join(problems))

    async def is_mounted(self) -> bool:
        """Whether it is mounted and its server answers within a few seconds."""
        if not self._listed():
            return False
        try:
            await run_command(["stat", "--file-system", "--", str(self.mount_point)], timeout_s=_PROBE_S)
        except RackError:
            return False
        return True

    async def unmount(self) -> None:
        """Unmount it; not mounted is no error."""
        if not self._listed():
            return
        await self._run(self.unmount_command, "stop")
        if self._listed():
            raise RackError(
                f"{self.mount_point} is still mounted: look with `fuser -vm {self.mount_point}` who uses it"
            )

    async def mount(self) -> None:
        """Mount it; mounted already is no error."""
        if not self._listed():
            await self._run(self.mount_command, "start")

    def rehearsed(self) -> MountedNas:
        """The same, flushed over SSH only where that is sure to be what runs."""
        if self.remote is None or self.forced_is_safe:
            return self
        return replace(self, remote=_Unforced(self.remote))

    async def check_unmount(self) -> None:
        """Look for the command that would unmount it, and whether systemd or sudo know it."""
        if self.unmount_command is None:
            await self._check_unit(mount_unit(self.mount_point))
            return
        program, *arguments = self.unmount_command
        if shutil.which(program) is None:
            raise RackError(f"there is no program {program} to unmount {self.mount_point} with: see unmount_command")
        if program == "sudo":
            await run_command([program, "-n", "-l", *(word for word in arguments if word != "-n")], timeout_s=_PROBE_S)

    async def _check_unit(self, unit: str) -> None:
        found = await run_command(["systemctl", "show", "--property=LoadState,CanStop", unit], timeout_s=_PROBE_S)
        if not {"LoadState=loaded", "CanStop=yes"} <= set(found.split()):
            raise RackError(
                f"systemd can't stop {unit}: {self.mount_point} needs a line in /etc/fstab or a mount unit, or set"
                " unmount_command"
            )

    def _listed(self) -> bool:
        text = self.mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
        return mounted_at(text, self.mount_point)

    async def _flush_here(self) -> None:
        if not self._listed():
            return
        try:
            await run_command(["sync", "--file-system", str(self.mount_point)], timeout_s=self.timeout_s)
        except CommandTimeoutError as error:
            raise RackError(f"{self.mount_point} hangs: {error}; is the NAS up and on the network?") from error

    async def _flush_there(self) -> None:
        if self.remote is None:
            return
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.remote.run(self.remote_flush_command)
        except TimeoutError:
            raise RackError(
                f"the NAS did not finish `{self.remote_flush_command}` within {self.timeout_s:g} s"
            ) from None

    async def _run(self, command: Sequence[str] | None, verb: str) -> None:
        if command is not None:
            await run_command(command, timeout_s=self.timeout_s)
            return
        unit = mount_unit(self.mount_point)
        try:
            await run_command(["systemctl", verb, unit], timeout_s=self.timeout_s)
        except RackError as error:
            raise RackError(
                f"{error}; {self.mount_point} needs a line in /etc/fstab or a mount unit, and the daemon's user the"
                f" polkit right org.freedesktop.systemd1.manage-units for {unit}"
            ) from error


@dataclass(frozen=True, slots=True)
class _Unforced:
    """A machine on which nothing runs but what it is asked to run."""

    host: RemoteHost

    async def run(self, command: str) -> str:
        return await self.host.run_unforced(command)

    async def run_unforced(self, command: str) -> str:
        return await self.host.run_unforced(command)

    async def call_port(self) -> PortAnswer:
        return await self.host.call_port()


def mounted_at(mountinfo: str, mount_point: Path) -> bool:
    """Whether something is mounted there, by the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

    An automount point on which nothing is mounted yet does not count.
    """
    for line in filter(None, mountinfo.split("\n")):
        fields = line.split(" ")
        found = _OCTAL_ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4])
        if found == str(mount_point) and fields[fields.index("-", 6) + 1] != "autofs":
            return True
    return False


def mount_unit(path: Path) -> str:
    """The name of the systemd unit that mounts there, as `systemd-escape --path --suffix=mount` gives it."""
    parts = [part.encode(errors="surrogateescape") for part in path.parts if part.strip("/")]
    escaped = [_escape(part) for part in parts]
    if escaped and escaped[0].startswith("."):
        escaped[0] = r"\x2e" + escaped[0][1:]
    return ("-".join(escaped) or "-") + ".mount"


def _escape(part: bytes) -> str:
    return "".join(chr(byte) if _UNESCAPED_IN_UNIT.fullmatch(bytes([byte])) else rf"\x{byte:02x}" for byte in part)
