"""The NAS as the master sees it: mounts that may hang, and a machine that can be told to write out.

Nothing here touches a mount from the daemon itself, not even from one of its threads: a dead NFS server would hold
them for ever. What has to touch it is a command of its own, which can be left behind.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from upsd.domain.rack import RackError
from upsd.domain.storage import Flushed, WrittenOut
from upsd.rack.commands import CommandTimeoutError, run_command
from upsd.rack.flush_figures import unwritten_kib
from upsd.rack.mounts import detaching_unit, mount_unit, mounted_at, nas_mounts, parse_mountinfo, servers_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from upsd.rack.nas import RemoteNas

log = structlog.get_logger()

_PROBE_S = 3.0
_DETACH_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedNas:
    """The mounts of a NAS on this machine, and the NAS behind them; fits `upsd.domain.rack.Storage`.

    `mount_point` is the real path, without symbolic links, of the one that is mounted again. Without commands of its
    own it is mounted and unmounted by its systemd unit, as are all others of the NAS, which are found in the mount
    table by `host`. `remote` is the NAS itself, if it can be told to write out what it caches; `forced_is_safe` says
    that a forced command there would run the flush all the same. Each command here gets `timeout_s` seconds.
    """

    mount_point: Path
    timeout_s: float
    host: str | None = None
    mount_command: Sequence[str] | None = None
    unmount_command: Sequence[str] | None = None
    remote: RemoteNas | None = None
    forced_is_safe: bool = False
    mountinfo: Path = Path("/proc/self/mountinfo")
    meminfo: Path = Path("/proc/meminfo")
    servers: set[str] = field(default_factory=set)
    """What the mount at `mount_point` called its server while it was there."""

    async def flush(self, within_s: float) -> Flushed:
        """Write out what is cached here for what is still mounted, and then on the NAS, even if the first fails."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        problems = await _problems(self._sync(mount, within_s / 2) for mount in self._mounts())
        flushed = Flushed(remark="nothing to ask on the NAS: it has no host")
        if self.remote is not None:
            try:
                flushed = await self.remote.flush(until - loop.time())
            except RackError as error:
                problems.append(str(error))
        if problems:
            raise RackError("; ".join(problems))
        return flushed

    async def is_mounted(self) -> bool:
        """Whether it is mounted and its server answers within a few seconds."""
        if not self._listed():
            return False
        try:
            await run_command(["stat", "--file-system", "--", str(self.mount_point)], timeout_s=_PROBE_S)
        except RackError:
            return False
        return True

    async def unmount(self) -> WrittenOut:
        """Write out and unmount every mount of it at the same time; none mounted is no error."""
        loop = asyncio.get_running_loop()
        before_kib, began = self._unwritten_kib(), loop.time()
        problems = await _problems(self._take_off(mount) for mount in self._mounts())
        if problems:
            raise RackError("; ".join(problems))
        return WrittenOut(before_kib, self._unwritten_kib(), loop.time() - began)

    async def detach(self) -> tuple[str, ...]:
        """Take the mounts that are left out of the file tree at once, whoever hangs on them; where they were."""
        mounts = self._mounts()
        problems = await _problems(self._detach(mount) for mount in mounts)
        if problems:
            raise RackError("; ".join(problems))
        return tuple(str(mount) for mount in mounts)

    async def also_mounted(self) -> tuple[str, ...]:
        """Where it is mounted besides."""
        return tuple(str(mount) for mount in self._mounts() if mount != self.mount_point)

    async def mount(self) -> None:
        """Mount it at its mount point; mounted already is no error."""
        if not self._listed():
            await self._run(self.mount_command, "start", self.mount_point)

    async def mount_also(self, place: str) -> None:
        """Mount it in another place, which takes a unit for it; mounted already is no error."""
        mount = Path(place)
        if not mounted_at(self._table(), mount):
            await self._run(None, "start", mount)

    def rehearsed(self) -> MountedNas:
        """The same, flushed over SSH only where that is sure to be what runs."""
        if self.remote is None or self.forced_is_safe:
            return self
        return replace(self, remote=self.remote.rehearsed())

    async def check_unmount(self) -> str:
        """Look for the command that would unmount it, and whether systemd or sudo know it; likewise for the others."""
        mounts = {self.mount_point, *self._mounts()}
        problems = await _problems(
            self._check_unit(mount) for mount in mounts if mount != self.mount_point or self.unmount_command is None
        )
        if problems:
            raise RackError("; ".join(problems))
        if self.unmount_command is not None:
            await self._check_command(self.unmount_command)
        found = f"{', '.join(sorted(map(str, mounts)))} can be unmounted as far as can be told"
        if not await self._detachable():
            found += "; one that hangs could not be detached: install systemd/upsd-detach@.service"
        return found

    async def _check_command(self, command: Sequence[str]) -> None:
        program, *arguments = command
        if shutil.which(program) is None:
            raise RackError(f"there is no program {program} to unmount {self.mount_point} with: see unmount_command")
        if program == "sudo":
            await run_command([program, "-n", "-l", *(word for word in arguments if word != "-n")], timeout_s=_PROBE_S)

    async def _detachable(self) -> bool:
        try:
            found = await run_command(
                ["systemctl", "show", "--property=LoadState", detaching_unit(self.mount_point)], timeout_s=_PROBE_S
            )
        except RackError:
            return False
        return found.strip() == "LoadState=loaded"

    async def _check_unit(self, mount: Path) -> None:
        unit = mount_unit(mount)
        found = await run_command(["systemctl", "show", "--property=LoadState,CanStop", unit], timeout_s=_PROBE_S)
        if not {"LoadState=loaded", "CanStop=yes"} <= set(found.split()):
            raise RackError(
                f"systemd can't stop {unit}: {mount} needs a line in /etc/fstab or a mount unit, or set unmount_command"
            )

    def _table(self) -> str:
        return self.mountinfo.read_text(encoding="utf-8", errors="surrogateescape")

    def _listed(self) -> bool:
        return mounted_at(self._table(), self.mount_point)

    def _mounts(self) -> tuple[Path, ...]:
        listed = parse_mountinfo(self._table())
        self.servers.update(servers_at(listed, self.mount_point))
        return nas_mounts(listed, self.mount_point, self.servers.union([self.host] if self.host else []))

    def _unwritten_kib(self) -> int:
        return unwritten_kib(self.meminfo.read_text(encoding="ascii"))

    async def _sync(self, mount: Path, timeout_s: float) -> None:
        try:
            await run_command(["sync", "--file-system", str(mount)], timeout_s=timeout_s)
        except CommandTimeoutError as error:
            raise CommandTimeoutError(f"{mount} hangs: {error}; is the NAS up and on the network?") from error

    async def _take_off(self, mount: Path) -> None:
        try:
            await self._sync(mount, self.timeout_s)
        except CommandTimeoutError:
            raise
        except RackError as error:
            # As where only root may open it: the unmount writes it out all the same.
            log.warning("mount_not_synced", mount=str(mount), reason=str(error))
        await self._run(self.unmount_command if mount == self.mount_point else None, "stop", mount)
        if mounted_at(self._table(), mount):
            raise RackError(f"{mount} is still mounted: look with `fuser -vm {mount}` who uses it")

    async def _detach(self, mount: Path) -> None:
        unit = detaching_unit(mount)
        try:
            await run_command(["systemctl", "start", unit], timeout_s=_DETACH_S)
        except RackError as error:
            raise RackError(
                f"{mount} can't be detached: {error}; install systemd/upsd-detach@.service, and give the daemon's user"
                f" the right to start {unit} in 50-upsd.rules"
            ) from error
        if mounted_at(self._table(), mount):
            raise RackError(f"{mount} is still mounted, although {unit} has detached it")

    async def _run(self, command: Sequence[str] | None, verb: str, mount: Path) -> None:
        if command is not None:
            await run_command(command, timeout_s=self.timeout_s)
            return
        unit = mount_unit(mount)
        try:
            await run_command(["systemctl", verb, unit], timeout_s=self.timeout_s)
        except RackError as error:
            raise RackError(
                f"{error}; {mount} needs a line in /etc/fstab or a mount unit, and the daemon's user the polkit right"
                f" org.freedesktop.systemd1.manage-units for {unit}"
            ) from error


async def _problems(actions: Iterable[Awaitable[None]]) -> list[str]:
    """Do all of it at the same time; what went wrong with the rack."""
    results = await asyncio.gather(*actions, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, RackError):
            raise result
    return [str(result) for result in results if isinstance(result, RackError)]
