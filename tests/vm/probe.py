"""Runs in the master: tries what the unit of upsd forbids and what it allows, and prints what came of each, as JSON.

On a machine that lets it do everything it leaves everything as it was. It needs nothing but Debian's Python.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DONE: Final = "done"
_NAS: Final = "mnt-nas.mount"
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_INIT_MODULE: Final = 175  # on x86-64
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SYSTEMD: Final = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_LOGIND: Final = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


def main() -> None:
    """Try all of it."""
    tried = {
        what: {name: _outcome(attempt) for name, attempt in attempts.items()}
        for what, attempts in (("forbidden", FORBIDDEN), ("allowed", ALLOWED))
        if what in sys.argv
    }
    sys.stdout.write(json.dumps(tried))


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except subprocess.CalledProcessError as error:
        return str(error.stdout).strip()
    return DONE


def _writes(directory: str) -> Callable[[], None]:
    def attempt() -> None:
        place = Path(directory, "upsd-probe")
        place.write_text("")
        place.unlink()

    return attempt


def _opens(path: str, flags: int = os.O_RDONLY) -> Callable[[], None]:
    return lambda: os.close(os.open(path, flags | os.O_NONBLOCK))


def _runs(*command: str) -> Callable[[], str]:
    def attempt() -> str:
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        return told.stdout

    return attempt


def _asks(whom: tuple[str, str, str], *words: str) -> Callable[[], str]:
    return _runs("busctl", "--system", "call", *whom, *words)


def _systemctl(*words: str) -> Callable[[], str]:
    return _runs("systemctl", "--no-ask-password", *words)


def _may(question: str) -> Callable[[], None]:
    """Whether logind would do it unasked."""

    def attempt() -> None:
        if '"yes"' not in _asks(_LOGIND, question)():
            raise PermissionError(errno.EPERM, question)

    return attempt


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _unshares(flags: int) -> Callable[[], None]:
    def attempt() -> None:
        child = os.fork()
        if not child:
            os._exit(ctypes.get_errno() if _LIBC.unshare(flags) == -1 else 0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise OSError(code, "unshare")

    return attempt


def _mounts() -> None:
    _call("mount", b"tmpfs", b"/media", b"tmpfs", 0, None)
    _call("umount", b"/media")


def _gives_root_s_rights() -> None:
    place = Path("/var/lib/upsd/upsd-probe")
    place.write_text("")
    try:
        place.chmod(0o4755)
    finally:
        place.unlink()


def _makes_code() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _makes_written_memory_code() -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    place = ctypes.c_char.from_buffer(memory)
    try:
        _call("mprotect", ctypes.c_void_p(ctypes.addressof(place)), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
    finally:
        del place
        memory.close()


def _sets_the_clock() -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))


def _loads_a_module() -> None:
    try:
        _call("syscall", _INIT_MODULE, b"", 0, b"")
    except OSError as error:
        if error.errno != errno.ENOEXEC:  # it may, though that is no module
            raise


def _sets_a_kernel_parameter() -> None:
    place = Path("/proc/sys/vm/swappiness")
    place.write_text(place.read_text())


def _makes_a_cgroup() -> None:
    place = Path("/sys/fs/cgroup/upsd-probe")
    place.mkdir()
    place.rmdir()


def _stops_ssh() -> None:
    # Asked again at once, systemd starts it anew.
    _asks(_SYSTEMD, "StopUnit", "ss", "ssh.service", "replace")()
    _asks(_SYSTEMD, "StartUnit", "ss", "ssh.service", "replace")()


def _opens_the_ups() -> None:
    for vendor in Path("/sys/bus/usb/devices").glob("*/idVendor"):
        if vendor.read_text().strip() == "04b4":
            bus, number = (int((vendor.parent / name).read_text()) for name in ("busnum", "devnum"))
            return _opens(f"/dev/bus/usb/{bus:03}/{number:03}", os.O_RDWR)()
    raise OSError(errno.ENODEV, "no UPS")


def _is_mounted(path: str) -> bool:
    return any(line.split()[1] == path for line in Path("/proc/self/mounts").read_text().splitlines())


def _brings(unit: str) -> Callable[[], None]:
    """Start a unit after which the NAS is mounted."""

    def attempt() -> None:
        _systemctl("start", unit)()
        if not _is_mounted("/mnt/nas"):
            raise OSError(errno.ENOENT, "/mnt/nas")

    return attempt


def _takes(verb: str, unit: str) -> Callable[[], None]:
    """Start or stop a unit after which it is not."""

    def attempt() -> None:
        _systemctl(verb, unit)()
        if _is_mounted("/mnt/nas"):
            raise OSError(errno.EBUSY, "/mnt/nas")

    return attempt


FORBIDDEN: Final[Mapping[str, Callable[[], object]]] = {
    "write to /etc": _writes("/etc"),
    "write to its settings": _writes("/etc/upsd"),
    "write to /usr": _writes("/usr"),
    "write to /home": _writes("/home"),
    "write to /var": _writes("/var/lib"),
    "read /root": lambda: list(Path("/root").iterdir()),
    "read the password file": _opens("/etc/shadow"),
    "see other processes": lambda: Path("/proc/1").stat(),
    "mount": _mounts,
    "a mount namespace of its own": _unshares(_NEW_MOUNTS),
    "a user namespace of its own": _unshares(_NEW_USERS),
    "become root": lambda: os.setuid(0),
    "sudo": _runs("sudo", "-n", "true"),
    "chmod u+s": _gives_root_s_rights,
    "memory that is written and executed": _makes_code,
    "memory that is executed once it was written": _makes_written_memory_code,
    "the disk": _opens("/dev/vda"),
    "physical memory": _opens("/dev/mem"),
    "the kernel's messages": _opens("/dev/kmsg"),
    "raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "set the clock": _sets_the_clock,
    "set the host name": lambda: socket.sethostname(socket.gethostname()),
    "load a module": _loads_a_module,
    "set a parameter of the kernel": _sets_a_kernel_parameter,
    "make a cgroup": _makes_a_cgroup,
    "stop ssh": _stops_ssh,
    "detach another mount": _asks(_SYSTEMD, "StartUnit", "ss", "upsd-detach@media.service", "replace"),
    "have systemd read its units": _asks(_SYSTEMD, "Reload"),
    "reboot": _may("CanReboot"),
}
ALLOWED: Final[Mapping[str, Callable[[], object]]] = {
    "write to its state": _writes("/var/lib/upsd"),
    "its settings": _opens("/etc/upsd/upsd.toml"),
    "the UPS": _opens_the_ups,
    "hear of devices": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close(),
    "power off": _may("CanPowerOff"),
    "unmount the NAS": _takes("stop", _NAS),
    "mount the NAS": _brings(_NAS),
    "detach the NAS": _takes("start", "upsd-detach@mnt-nas.service"),
    "mount the NAS again": _brings(_NAS),
    "have a snapshot taken": _asks(_SYSTEMD, "StartUnit", "ss", "upsd-snapshot@probe.service", "replace"),
}

if __name__ == "__main__":
    main()
