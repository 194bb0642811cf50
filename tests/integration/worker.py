"""A worker without a machine: `config/worker/upsd-worker` among stand-ins for what it calls, under any shell.

It runs with a PATH of nothing but stand-ins, which write down how they were called, and a few harmless real programs;
and never as root, so that nothing that it does by mistake could reach the machine of whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HELPER = Path(__file__).parents[2] / "config" / "worker" / "upsd-worker"
SHELLS = ("dash", "bash", "busybox")
DEADLINE_S = 10.0
FORCED = "systemctl poweroff --force --force"
FORCED_WITHOUT_SYSTEMD = "poweroff -f -n"
_REAL = ("cat", "find", "mkdir", "readlink", "rm", "sed", "setsid", "sleep", "sort", "tr")
# What the helper calls, and what each does once it has written down how it was called. `id` is root behind sudo.
_STAND_INS = {
    "df": "printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/root 100 42 58 42%% /\\n'",
    "id": 'case $1 in -u) echo "${STAND_IN_UID-1000}" ;; *) echo upsd ;; esac',
    "poweroff": "",
    "sudo": '[ "$2" = -l ] || { shift; export STAND_IN_UID=0; exec "$STAND_IN_SHELL" "$@"; }',
    "sync": "",
    "systemctl": "",
    "systemd-run": 'while [ "${1#--}" != "$1" ]; do shift; done; "$STAND_IN_SHELL" "$@" >>"$STAND_IN_LOG" 2>&1 &',
    "stat": "",
    "umount": "",
}
_SILENT = {"df", "id", "stat"}
# Debian's BusyBox takes its own programs before those on the PATH, but after functions.
_BUSYBOX = """#!/bin/sh
exec {busybox} sh -c '
for name in df id poweroff stat sync umount; do eval "$name() {{ {bin}/$name \\"\\$@\\"; }}"; done
. "$0"' "$@"
"""


class Worker:
    """The helper on a machine of files."""

    def __init__(self, directory: Path, shell: str) -> None:
        """Lay the machine out in the directory, which must be its own and open to everybody."""
        found = shutil.which(shell)
        if found is None:
            pytest.fail(f"{shell} is missing: apt-get install {shell}")
        self.name = shell
        self.root = directory / "root"
        self.bin = directory / "bin"
        self.calls_file, self.log_file = directory / "calls", directory / "log"
        self.program = directory / "upsd-worker"
        self.shell = directory / "shell"
        for place in (self.bin, *(self.root / name for name in ("etc", "run", "sys", "proc/self"))):
            place.mkdir(parents=True)
        shutil.copy(HELPER, self.program)
        busybox = _BUSYBOX.format(busybox=found, bin=self.bin)
        _write_program(self.shell, busybox if shell == "busybox" else f'#!/bin/sh\nexec {found} "$@"\n')
        for name in _REAL:
            (self.bin / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is missing"))
        for name, body in _STAND_INS.items():
            self.stand_in(name, body)
        self.calls_file.touch()
        self.log_file.touch()
        self.configure(wait_s=0, force_s=0)
        self.put("proc/uptime", "93.71 12.00")
        self.put("proc/loadavg", "0.42 0.30 0.20 1/200 4711")
        self.put("proc/self/mountinfo", "26 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw")
        self.put("proc/self/mounts", "/dev/root / ext4 rw,noatime 0 0")
        self.program.chmod(0o555)  # what sudo runs as root is not its user's to write
        if os.geteuid() == 0:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, *_NOBODY, follow_symlinks=False)

    @property
    def calls(self) -> list[str]:
        """How the stand-ins were called, in their order."""
        return [line.strip() for line in self.calls_file.read_text().splitlines()]

    @property
    def log(self) -> str:
        """What the power-off has said."""
        return self.log_file.read_text()

    def stand_in(self, name: str, body: str) -> None:
        """Have a program that writes down its call and then does this."""
        note = "" if name in _SILENT else f'echo "{name} $*" >>{self.calls_file}\n'
        _write_program(self.bin / name, f"#!/bin/sh\n{note}{body}\n")

    def remove(self, name: str) -> None:
        """Have no such program."""
        (self.bin / name).unlink()

    def put(self, path: str, text: str) -> None:
        """Have a file on the machine."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def configure(self, **times: int) -> None:
        """Set times of the helper, as its configuration file does."""
        self.put("etc/upsd-worker", "\n".join(f"{name}={value}" for name, value in times.items()))

    @property
    def forced_command(self) -> str:
        """What ties a key of a real sshd to the helper, for `authorized_keys`."""
        without_rights = ["setpriv", f"--reuid={_NOBODY[0]}", f"--regid={_NOBODY[1]}", "--clear-groups"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return " ".join(
            [
                *(without_rights if os.geteuid() == 0 else []),
                "env -i",
                *variables,
                r"SSH_ORIGINAL_COMMAND=\"$SSH_ORIGINAL_COMMAND\"",
                f"{self.shell} {self.program}",
            ]
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What the helper needs to know to stay among the stand-ins."""
        return {
            "PATH": str(self.bin),
            "UPSD_WORKER_ROOT": str(self.root),
            "STAND_IN_SHELL": str(self.shell),
            "STAND_IN_LOG": str(self.log_file),
        }

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run the helper as sshd does for a key that is tied to it."""
        return subprocess.run(
            [self.shell, self.program],
            env={**self.environment, "SSH_ORIGINAL_COMMAND": command},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
            **nobody(),
        )

    def status(self) -> dict[str, str]:
        """What `status` says, by key."""
        answer = self.ask("status")
        assert answer.returncode == 0
        assert answer.stderr == ""
        return dict(line.split("=", 1) for line in answer.stdout.splitlines())

    def power_off(self) -> list[str]:
        """Ask for a power-off and wait for its end; how the stand-ins were called meanwhile."""
        assert self.ask("poweroff").returncode == 0
        self.until(lambda: FORCED in self.calls or FORCED_WITHOUT_SYSTEMD in self.calls)
        return [call for call in self.calls if not call.startswith(("sudo", "systemd-run"))]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        end = time.monotonic() + DEADLINE_S  # noqa: TID251 - foreign processes keep no virtual time
        while not condition():
            if time.monotonic() > end:  # noqa: TID251
                pytest.fail(f"it did not come to that: {self.calls}\n{self.log}")
            time.sleep(0.02)  # noqa: TID251


def nobody() -> dict[str, Any]:
    """What makes `subprocess` run something without rights, if we have any."""
    return {"user": _NOBODY[0], "group": _NOBODY[1], "extra_groups": []} if os.geteuid() == 0 else {}


_NOBODY = (65534, 65534)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
