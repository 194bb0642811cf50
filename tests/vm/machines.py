"""Machines that boot when they get power and are gone the instant they lose it: guests of QEMU, and containers."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.brokers import until
from tests.vm.cache import run
from tests.vm.network import NamespaceLink, TapLink, address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.vm.image import Image
    from tests.vm.network import Link

_CGROUPS: Final = Path("/sys/fs/cgroup")
_LAST_BREATH_S: Final = 60.0
_REBOOT: Final = 133
"""The exit code of systemd-nspawn when the machine asks to be started again."""


class End(enum.Enum):
    """How a machine went off, the last time."""

    BY_ITSELF = "powered off"
    CUT = "lost its power while it ran"
    FAILED = "ended by a failure"


class Machine(ABC):
    """One machine; `directory` has its disk and its console.

    Attributes:
        ends: how it went off, each time.
    """

    def __init__(self, name: str, number: int, image: Image, directory: Path) -> None:
        self.name = name
        self.address = address(number)
        self.image = image
        self.directory = directory
        self.console = directory / "console.log"
        self.ends: list[End] = []
        self.on_change: Callable[[Machine], None] = lambda _: None
        self.powered = False
        self._number = number
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        directory.mkdir(parents=True)

    @property
    @abstractmethod
    def link(self) -> Link:
        """Its network cable."""

    @abstractmethod
    def root(self) -> AbstractContextManager[Path]:
        """Its root file system, to be changed while it is off."""

    @property
    def end(self) -> End | None:
        """How it went off last; `None` if it never did."""
        return self.ends[-1] if self.ends else None

    @property
    def runs(self) -> bool:
        """Whether it is on."""
        return self._process is not None

    def power(self, on: bool) -> None:  # noqa: FBT001  # fits the listener of an outlet
        """Give it mains, at which it boots, or take it away, at which it is gone."""
        if on == self.powered:
            return
        self.powered = on
        if on:
            self.link.put_in()
            self._keep(asyncio.create_task(self._live(), name=self.name))
        else:
            self._kill()

    async def off(self) -> None:
        """Wait until it is off."""
        await asyncio.gather(*self._tasks)

    def remove(self) -> None:
        """Take it out of the rack, once it is off."""
        self.link.remove()

    @abstractmethod
    def _command(self) -> list[str]:
        """What runs it; it ends when the machine is off."""

    def _kill(self) -> None:
        """End it and everything in it at once."""
        if self._process is not None:
            self._process.kill()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait until nothing of it is left; the exit code of what ran it."""
        return await process.wait()

    async def _live(self) -> None:
        while self.powered:
            with self.console.open("ab") as console:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command(),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    # Ctrl-C is for the tests, which then end it.
                    start_new_session=True,
                )
            code = await self._ended(self._process)
            self._process = None
            if code == _REBOOT:
                continue
            self.ends.append(End.CUT if not self.powered else End.FAILED if code else End.BY_ITSELF)
            # Who is off answers nobody; the network of a container outlives it.
            self.link.pull()
            self.on_change(self)
            return

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Guest(Machine):
    """A guest of QEMU with a kernel and a disk of its own, under plain emulation."""

    def __init__(self, name: str, number: int, image: Image, directory: Path, *, memory_mib: int = 384) -> None:
        super().__init__(name, number, image, directory)
        self.disk = directory / "root.ext4"
        self._link = TapLink(name)
        self._memory_mib = memory_mib

    @property
    def link(self) -> Link:
        """Its network cable."""
        return self._link

    @contextlib.contextmanager
    def root(self) -> Iterator[Path]:
        """Its root file system, to be changed while it is off."""
        if not self.disk.exists():
            run("cp", "--sparse=always", self.image.disk, self.disk)
        place = self.directory / "root"
        place.mkdir(exist_ok=True)
        run("mount", "-o", "loop", self.disk, place)
        try:
            yield place
        finally:
            run("umount", place)

    def _command(self) -> list[str]:
        # Where programs always lie at the same addresses, QEMU has translated them already.
        quick = "quiet mitigations=off audit=0 norandmaps nokaslr"
        words = f"console=ttyS0 rack.address={self.address}/24 net.ifnames=0 panic=3 {quick}"
        return [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "qemu64"),
            *("-m", str(self._memory_mib)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", words),
            *("-drive", f"file={self.disk},if=virtio,format=raw,cache=writeback"),
            *("-netdev", f"tap,id=net,ifname={self._link.device},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net,mac=52:54:00:77:00:{self._number:02x},romfile="),
        ]


class Container(Machine):
    """A container of systemd-nspawn: systemd and the network are real, the kernel is that of this machine."""

    def __init__(self, name: str, number: int, image: Image, directory: Path) -> None:
        super().__init__(name, number, image, directory)
        self._link = NamespaceLink(name, number)
        self._cgroup = f"upsd-vm-{uuid.uuid4().hex[:8]}"
        self._root = directory / "root"
        self._share = directory / "share"
        upper, work = directory / "disk", directory / "work"
        for place in (self._root, self._share, upper, work):
            place.mkdir()
        options = f"lowerdir={image.tree},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "-o", options, "overlay", self._root)

    @property
    def link(self) -> Link:
        """Its network cable."""
        return self._link

    @contextlib.contextmanager
    def root(self) -> Iterator[Path]:
        """Its root file system."""
        yield self._root

    def _command(self) -> list[str]:
        # Without a cgroup of its own in each hierarchy, all containers would share one.
        joins = "; ".join(f"mkdir -p {place} && echo $$ >{place}/cgroup.procs" for place in self._cgroup_directories())
        nspawn = (
            f"systemd-nspawn --quiet --directory={self._root} --register=no --keep-unit --boot --console=pipe"
            f" --network-namespace-path={self._link.namespace} --machine={self.name}"
            # What a NAS exports can't lie on an overlay, and takes one more system call.
            f" --bind={self._share}:/srv/nas --system-call-filter=open_by_handle_at"
        )
        return ["sh", "-c", f"{joins}; exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 {nspawn}"]

    def remove(self) -> None:
        """Take it out of the rack, once it is off."""
        super().remove()
        run("umount", self._root)
        for directory in self._cgroup_directories():
            for place, _, _ in os.walk(directory, topdown=False):
                Path(place).rmdir()

    def _cgroup_directories(self) -> list[Path]:
        roots = [place for place in (_CGROUPS, _CGROUPS / "unified", _CGROUPS / "systemd") if _is_hierarchy(place)]
        return [place / self._cgroup for place in roots]

    def freeze(self) -> None:
        """Let it hang until its power is cut: it answers nothing, and its kernel still acknowledges packets."""
        self._set_frozen("1")

    def _set_frozen(self, value: str) -> None:
        for directory in self._cgroup_directories():
            if (directory / "cgroup.freeze").exists():
                (directory / "cgroup.freeze").write_text(value)

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        code = await super()._ended(process)
        # What was killed with that program may end after it.
        await until(lambda: not self._populated(), _LAST_BREATH_S)
        return code

    def _populated(self) -> bool:
        files = [directory / "cgroup.events" for directory in self._cgroup_directories()]
        return any("populated 1" in file.read_text() for file in files if file.exists())

    def _kill(self) -> None:
        # The program that runs it could be killed, and leave systemd in there alive for a moment.
        self._set_frozen("0")
        for directory in self._cgroup_directories():
            for file in directory.rglob("cgroup.procs"):
                # They end each other as well.
                with contextlib.suppress(OSError):
                    for line in file.read_text().splitlines():
                        os.kill(int(line), signal.SIGKILL)


def _is_hierarchy(place: Path) -> bool:
    return (place / "cgroup.procs").exists()
