"""The flush by its figures: real dirty pages, the shells of a NAS, a real sshd, and a mount that really hangs."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.machines import SimulatedMachine, SimulatedNas, write_client_key
from tests.integration.brokers import program
from tests.integration.mounts import hung, on_loop_device
from tests.integration.sshd import HOST, OpenSshServer
from upsd.domain.rack import RackError
from upsd.domain.storage import Flushed, RaidArray, RaidState
from upsd.rack.commands import run_command
from upsd.rack.flush_figures import parse_flush
from upsd.rack.flush_script import SCRIPT, flush_command
from upsd.rack.nas import RemoteNas
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_identity import SshIdentity
from upsd.rack.ssh_line import SshLine
from upsd.rack.storage import MountedNas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
HELPER = ROOT / "config" / "nas" / "upsd-nas"
DETACH = (ROOT / "systemd" / "upsd-detach@.service").read_text(encoding="utf-8")
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}
DIRTY_MIB = 24
LEAST_WRITTEN_KIB = DIRTY_MIB * 1024 / 2
# The figures are of the whole machine, and others may write on it.
TRIES = 10
REBUILDING = """\
md1 : active raid1 sdb2[2] sda2[0]
      7812500000 blocks super 1.0 [2/1] [U_]
      [========>............]  recovery = 43.1% (3367187500/7812500000) finish=300.5min speed=246000K/sec
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell of a NAS."""
    words = SHELLS[request.param]
    return [program(words[0], words[0]), *words[1:]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of our own."""
    with on_loop_device(tmp_path) as mount:
        yield mount


def make_dirty(disk: Path) -> None:
    """Leave so much in memory that is not on the disk."""
    (disk / "data").write_bytes(os.urandom(DIRTY_MIB << 20))


def flushed_by(shell: list[str], script: str = SCRIPT, limit_s: int = 20) -> Flushed:
    """What the script says of a flush in this shell."""
    command = [*shell, "-c", script, "upsd-flush", str(limit_s)]
    return parse_flush(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def test_dirty_pages_go_and_are_counted(shell: list[str], disk: Path) -> None:
    """By BusyBox and by dash; what is left is no more than what others on this machine wrote meanwhile."""
    written_kib, tries = 0, 0
    while written_kib < LEAST_WRITTEN_KIB and tries < TRIES:
        make_dirty(disk)
        figures = flushed_by(shell).figures
        assert figures
        assert figures.at_rest
        assert figures.dirty_before_kib >= DIRTY_MIB * 1024
        assert 0 < figures.seconds < 20
        written_kib, tries = figures.written_kib, tries + 1
    assert written_kib >= LEAST_WRITTEN_KIB


def test_a_flush_that_does_not_come_to_rest_says_how_much_is_left(shell: list[str], tmp_path: Path) -> None:
    """A sync that takes longer than it may is left behind, and nobody waits for it."""
    sync = tmp_path / "sync"
    sync.write_text("#!/bin/sh\nexec sleep 30\n")
    sync.chmod(0o755)
    (tmp_path / "meminfo").write_text("Dirty:   2048 kB\nWriteback:   1024 kB\n")
    script = SCRIPT.replace("\nsync ", f"\n{sync} ").replace("/proc/meminfo", str(tmp_path / "meminfo"))
    figures = flushed_by(shell, script, limit_s=1).figures
    assert figures
    assert (figures.dirty_after_kib, figures.at_rest) == (3072, False)
    assert 1.0 <= figures.seconds < 5.0


def test_a_nas_to_which_somebody_writes_on_comes_to_rest_with_what_is_left(shell: list[str], tmp_path: Path) -> None:
    """Everything that was there before is on the disks; the rest is not waited for."""
    (tmp_path / "meminfo").write_text("Dirty:   9000 kB\nWriteback:   0 kB\n")
    figures = flushed_by(shell, SCRIPT.replace("/proc/meminfo", str(tmp_path / "meminfo"))).figures
    assert figures
    assert (figures.dirty_after_kib, figures.at_rest) == (9000, True)


def test_a_sync_that_fails_is_no_flush(shell: list[str]) -> None:
    """An exit code of its own, and a word."""
    script = SCRIPT.replace("\nsync ", "\nfalse ")
    ended = subprocess.run([*shell, "-c", script, "x", "5"], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (1, "sync failed\n")


def test_a_rebuild_is_told(shell: list[str], tmp_path: Path) -> None:
    """It goes on after the next start, so nobody waits for it."""
    (tmp_path / "mdstat").write_text(REBUILDING)
    flushed = flushed_by(shell, SCRIPT.replace("/proc/mdstat", str(tmp_path / "mdstat")))
    assert flushed.raid == (RaidArray("md1", RaidState.REBUILDING, 43.1),)


async def test_this_machine_s_own_dirty_pages_go_and_are_counted(tmp_path: Path) -> None:
    """The unmount is the real one; before and after are of the whole machine."""
    written_kib, tries = 0, 0
    while written_kib < LEAST_WRITTEN_KIB and tries < TRIES:
        (tmp_path / f"{tries}").mkdir()
        with on_loop_device(tmp_path / f"{tries}") as disk:
            umount = [program("umount", "mount"), str(disk)]
            nas = MountedNas(mount_point=disk, timeout_s=20.0, unmount_command=umount)
            make_dirty(disk)
            written = await nas.unmount()
            assert written.dirty_before_kib >= DIRTY_MIB * 1024
            assert not await nas.is_mounted()
        written_kib, tries = written.written_kib, tries + 1
    assert written_kib >= LEAST_WRITTEN_KIB


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Path]:
    """A mount that hangs."""
    with hung(tmp_path) as mount:
        yield mount


async def test_a_mount_that_really_hangs_is_left_in_time_and_detached_by_our_unit(
    hanging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's own command, run as systemd would, asks nobody who could be silent."""
    (start,) = [line for line in DETACH.splitlines() if line.startswith("ExecStart=")]
    (tmp_path / "systemctl").write_text(
        f"#!/bin/sh\nexec {start.removeprefix('ExecStart=').replace('%f', str(hanging))}\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    nas = MountedNas(mount_point=hanging, timeout_s=0.5, unmount_command=["umount", str(hanging)])
    with pytest.raises(RackError, match=f"{hanging} hangs: .*did not end within"):
        await nas.unmount()
    async with asyncio.timeout(5):
        assert await nas.detach() == (str(hanging),)
    assert await nas.detach() == ()


# over SSH


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OpenSshServer]:
    """A NAS with OpenSSH's sshd."""
    key = write_client_key(tmp_path / "ssh_key")
    (tmp_path / "sshd").mkdir()
    async with OpenSshServer(tmp_path / "sshd", key) as running:
        (tmp_path / "known_hosts").write_text(f"{running.known_hosts_line}\n")
        yield running


def nas_behind(server: OpenSshServer, directory: Path) -> RemoteNas:
    """The NAS as upsd sees it."""
    identity = SshIdentity(directory / "ssh_key", directory / "known_hosts")
    return RemoteNas(SshHost(SshLine("nas", HOST, server.port, server.user, identity, 5.0), cut_is_error=True))


async def test_the_script_is_sent_over_ssh_and_its_figures_come_back(server: OpenSshServer, tmp_path: Path) -> None:
    """Also in a rehearsal, where the key is tied to nothing."""
    nas = nas_behind(server, tmp_path)
    for each in (nas, nas.rehearsed()):
        flushed = await each.flush(20.0)
        assert flushed.figures
        assert flushed.figures.at_rest


async def test_a_cut_sync_does_not_hold_the_line(server: OpenSshServer, tmp_path: Path) -> None:
    """What it says when the time is over comes back at once, and not when the sync at last ends."""
    (tmp_path / "sync").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "sync").chmod(0o755)
    command = flush_command(1).replace("\nsync ", f"\n{tmp_path}/sync ")
    flushed = await replace(nas_behind(server, tmp_path), command=command).flush(10.0)
    assert flushed.figures
    assert not flushed.figures.at_rest


async def test_a_key_that_is_tied_to_our_program_flushes_and_powers_off_and_nothing_else(
    server: OpenSshServer, tmp_path: Path, shell: list[str]
) -> None:
    """It runs lines of its own, never those that are sent, and needs no setting for that."""
    # Never the word itself: a BusyBox shell has a power-off of its own.
    switch, trace = tmp_path / "switch", tmp_path / "off"
    switch.write_text(f"#!/bin/sh\ntouch {trace}\n")
    switch.chmod(0o755)
    helper = tmp_path / "upsd-nas"
    text = HELPER.read_text(encoding="utf-8")
    assert "\npoweroff=poweroff\n" in text
    helper.write_text(text.replace("\npoweroff=poweroff\n", f"\npoweroff={switch}\n").replace("id -u", "echo 0"))
    server.tie_key_to(f"{shlex.join(shell)} {helper}")
    nas = nas_behind(server, tmp_path)
    for command in (None, "flush", f"{flush_command(1)}; touch {trace}"):
        assert (await replace(nas, command=command).flush(10.0)).figures
    for command in ("reboot", "sh -c true", "sync; reboot"):
        with pytest.raises(RackError, match="upsd-nas: not allowed here: "):
            await nas.host.run(command)
    await nas.host.run("check")
    assert not trace.exists()
    await nas.host.run("poweroff")
    assert trace.exists()


async def test_a_key_that_is_tied_to_a_plain_sync_flushes_without_figures(
    server: OpenSshServer, tmp_path: Path
) -> None:
    """As on a NAS whose owner had upsd before it measured anything."""
    program = tmp_path / "only-sync"
    program.write_text('#!/bin/sh\n[ "$SSH_ORIGINAL_COMMAND" != sync ] || exec sync\necho "only sync" >&2\nexit 1\n')
    program.chmod(0o755)
    server.tie_key_to(f"PATH={os.environ['PATH']} {program}")
    flushed = await nas_behind(server, tmp_path).flush(10.0)
    assert flushed.figures is None
    assert "`flush` failed (exit code 1): only sync" in flushed.remark


def test_the_program_for_the_nas_has_the_lines_that_are_sent() -> None:
    """So that its figures are read by the same parser."""
    assert HELPER.read_text(encoding="utf-8").endswith(SCRIPT)


async def test_the_simulated_nas_answers_as_the_script_does(tmp_path: Path) -> None:
    """So that what is seen in a simulated rack is what a real one would show."""
    nas = SimulatedNas(SimulatedMachine("nas", 18.0, shutdown_s=0.1, boot_s=0.1), tmp_path, flush_s=0.01)
    flushed = parse_flush(await nas.measured_flush())
    assert flushed.figures
    assert flushed.raid == (RaidArray("md1", RaidState.CLEAN),)


async def test_the_real_sync_of_one_file_system_leaves_the_others_alone(disk: Path) -> None:
    """A dead mount elsewhere must not hang the flush of a live one."""
    make_dirty(disk)
    await run_command(["sync", "--file-system", str(disk)], timeout_s=20.0)
    assert shutil.disk_usage(disk).used >= DIRTY_MIB << 20
