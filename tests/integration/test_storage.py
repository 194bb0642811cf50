from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.integration.brokers import program
from upsd.domain.rack import CommandError, PortAnswer, RackError
from upsd.domain.storage import Flushed, WrittenOut
from upsd.rack.flush_script import flush_command
from upsd.rack.mounts import detaching_unit, mount_unit
from upsd.rack.nas import RemoteNas
from upsd.rack.storage import MountedNas

WITHIN_S = 5.0


@dataclass
class Remote:
    """The NAS itself, as a stand-in for SSH."""

    problem: RackError | None = None
    only_sync: bool = False
    answer: str = ""
    hangs: bool = False
    commands: list[str] = field(default_factory=list)

    async def run(self, command: str) -> str:
        """Note the command; then fail or hang if told so."""
        self.commands.append(command)
        if self.hangs:
            await asyncio.Event().wait()
        if self.only_sync and command != "sync":
            raise CommandError(f"nas: `{command}` failed (exit code 1): not allowed here")
        if self.problem:
            raise self.problem
        return self.answer

    async def run_unforced(self, command: str) -> str:
        """Refuse, as where a forced command is in the way."""
        raise RackError(f"{command} was not run")

    async def call_port(self) -> PortAnswer:
        """It is there."""
        return PortAnswer.ACCEPTS


@dataclass
class Bench:
    """A mount table that we write, and programs of ours in front of the system's, which note how they are called."""

    directory: Path

    @property
    def mount_point(self) -> Path:
        """A directory that stands for the mount."""
        return self.directory / "nas"

    @property
    def mountinfo(self) -> Path:
        """The mount table."""
        return self.directory / "mountinfo"

    @property
    def calls(self) -> list[str]:
        """Which of our programs were called, and how."""
        notes = self.directory / "calls"
        return notes.read_text().splitlines() if notes.exists() else []

    def mounted(self, mounted: bool = True) -> None:  # noqa: FBT001, FBT002
        """Say in the mount table that it is mounted, or not."""
        line = f"40 21 0:52 / {self.mount_point} rw,relatime - nfs4 nas:/export rw,addr=192.168.7.20\n"
        self.mountinfo.write_text(line if mounted else "")

    def mounted_too(self, *others: str) -> None:
        """Say in the mount table that other shares of the NAS are mounted as well."""
        with self.mountinfo.open("a") as table:
            table.writelines(f"41 21 0:53 / {other} rw - cifs //192.168.7.20/share rw\n" for other in others)

    def systemctl(self, *, hangs: str = "-") -> None:
        """Let systemd unmount and detach what it is asked for, but hang at the unit with this name."""
        self.program(
            "systemctl",
            f"""[ "$1 $2" = "stop {hangs}" ] && exec sleep 60
unit=${{2#upsd-detach@}}
path=$(systemd-escape --unescape --path "${{unit%.*}}")
case $1 in stop) ;; start) case $2 in upsd-detach@*) ;; *) exit 0 ;; esac ;; esac
exec 9>{self.directory}/lock; flock 9
grep -v " $path " {self.mountinfo} >{self.directory}/left; cat {self.directory}/left >{self.mountinfo}
""",
        )

    def program(self, name: str, script: str) -> None:
        """Put a program in front of the system's."""
        path = self.directory / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.directory}/calls\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def nas(
        self, remote: Remote | None = None, timeout_s: float = 5.0, unmount_command: list[str] | None = None
    ) -> MountedNas:
        """The adapter under test."""
        return MountedNas(
            mount_point=self.mount_point,
            timeout_s=timeout_s,
            unmount_command=unmount_command,
            remote=RemoteNas(remote) if remote else None,
            mountinfo=self.mountinfo,
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with the NAS mounted."""
    made = Bench(tmp_path)
    made.mount_point.mkdir()
    (tmp_path / "bin").mkdir()
    made.mounted()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


async def test_a_flush_writes_out_here_and_then_on_the_nas(bench: Bench) -> None:
    """Both caches hold acknowledged writes; only that of our own mount is flushed here, by the real `sync`."""
    remote = Remote()
    await bench.nas(remote).flush(WITHIN_S)
    assert remote.commands == [flush_command(2)]


async def test_a_flush_names_the_mount_to_sync(bench: Bench) -> None:
    """Other file systems, which may hang for reasons of their own, are left alone."""
    bench.program("sync", "")
    await bench.nas().flush(WITHIN_S)
    assert bench.calls == [f"sync --file-system {bench.mount_point}"]


async def test_a_flush_of_what_is_not_mounted_only_asks_the_nas(bench: Bench) -> None:
    """After the unmount nothing is left to write out here, and the directory below is not ours to sync."""
    bench.mounted(False)  # noqa: FBT003
    bench.program("sync", "")
    remote = Remote()
    await bench.nas(remote).flush(WITHIN_S)
    assert bench.calls == []
    assert remote.commands == [flush_command(2)]


async def test_a_mount_that_hangs_is_told_in_time_and_the_nas_is_flushed_all_the_same(bench: Bench) -> None:
    """A dead mount costs its timeout; what others wrote to the NAS is still saved."""
    bench.program("sync", "exec sleep 60")
    remote = Remote()
    with pytest.raises(RackError, match=f"{bench.mount_point} hangs: .*is the NAS up and on the network"):
        await bench.nas(remote).flush(1.0)
    assert remote.commands == [flush_command(1)]


async def test_a_nas_that_never_ends_its_flush_is_given_up_in_time(bench: Bench) -> None:
    """The remote flush has a deadline of its own."""
    with pytest.raises(RackError, match="the NAS did not finish `sync` in its time"):
        await bench.nas(Remote(hangs=True)).flush(0.2)


async def test_both_failures_of_a_flush_are_told(bench: Bench) -> None:
    """The second reason does not hide the first."""
    bench.program("sync", "echo Input/output error >&2; exit 1")
    with pytest.raises(RackError, match=r"Input/output error; nas: refused the key"):
        await bench.nas(Remote(RackError("nas: refused the key"))).flush(WITHIN_S)


async def test_figures_of_the_nas_are_brought_back(bench: Bench) -> None:
    """What was dirty, what is left and the time it took; and how the RAID is."""
    figures = "before 421888\nafter 96\ncentiseconds 620\nrest yes\n"
    remote = Remote(answer=f"upsd-flush 1\n{figures}mdstat\n")
    assert await bench.nas(remote).flush(WITHIN_S) == Flushed(WrittenOut(421888, 96, 6.2))


async def test_a_nas_that_lets_only_a_sync_through_is_flushed_without_figures(bench: Bench) -> None:
    """As one whose key is tied to a plain sync; why there are none is said in short."""
    remote = Remote(only_sync=True)
    flushed = await bench.nas(remote).flush(WITHIN_S)
    assert remote.commands[-1] == "sync"
    assert flushed == Flushed(remark="no figures: nas: `flush` failed (exit code 1): not allowed here")


async def test_a_command_of_ones_own_is_the_flush(bench: Bench) -> None:
    """For a NAS that can do nothing else; its figures are read if it has some."""
    remote = Remote()
    nas = replace(bench.nas(), remote=RemoteNas(remote, "sync; true"))
    assert (await nas.flush(WITHIN_S)).figures is None
    assert remote.commands == ["sync; true"]
    remote.answer = "upsd-flush 1\nbefore 4\nafter 0\ncentiseconds 1\nrest yes\nmdstat\n"
    assert (await nas.flush(WITHIN_S)).figures == WrittenOut(4, 0, 0.01)


async def test_a_flush_fails_once_however_the_line_fails(bench: Bench) -> None:
    """Only a command that was refused is tried as `sync`: a machine that can't be reached can't do that either."""
    remote = Remote(RackError("nas: cannot be reached"))
    with pytest.raises(RackError, match="nas: cannot be reached"):
        await bench.nas(remote).flush(WITHIN_S)
    assert len(remote.commands) == 1


async def test_every_mount_of_the_nas_is_synced_and_unmounted(bench: Bench) -> None:
    """Also what nobody named in the settings: it is found by the server's address in the mount table."""
    bench.systemctl()
    bench.program("sync", "")
    bench.mounted_too("/mnt/media", "/mnt/backup")
    written = await bench.nas().unmount()
    assert bench.mountinfo.read_text() == ""
    assert sorted(bench.calls) == sorted(
        call
        for mount in (bench.mount_point, Path("/mnt/media"), Path("/mnt/backup"))
        for call in (f"sync --file-system {mount}", f"systemctl stop {mount_unit(mount)}")
    )
    assert written.seconds < 5


async def test_a_mount_that_can_t_be_synced_is_unmounted_all_the_same(bench: Bench) -> None:
    """The daemon is not root, and may not be let at it; the kernel writes it out then."""
    bench.systemctl()
    bench.program("sync", "echo Permission denied >&2; exit 1")
    await bench.nas().unmount()
    assert bench.mountinfo.read_text() == ""


async def test_a_mount_that_hangs_does_not_keep_the_others_and_is_detached(bench: Bench) -> None:
    """By a unit of ours, since the daemon is not root; its name comes back, so that the step can tell it."""
    bench.systemctl(hangs="mnt-media.mount")
    bench.program("sync", "")
    bench.mounted_too("/mnt/media")
    nas = bench.nas()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await nas.unmount()
    assert " /mnt/media " in bench.mountinfo.read_text()
    assert str(bench.mount_point) not in bench.mountinfo.read_text()
    assert await nas.detach() == ("/mnt/media",)
    assert bench.calls[-1] == "systemctl start upsd-detach@mnt-media.service"
    assert bench.mountinfo.read_text() == ""
    assert await nas.detach() == ()


async def test_a_detachment_without_the_right_says_what_to_grant(bench: Bench) -> None:
    """The unit and the rule are two files to install."""
    bench.program("systemctl", "echo 'Unit not found.' >&2; exit 5")
    unit = detaching_unit(bench.mount_point)
    with pytest.raises(
        RackError, match=r"can't be detached: .*Unit not found.*; install systemd/upsd-detach@\.service"
    ) as told:
        await bench.nas().detach()
    assert unit in str(told.value)
    assert "50-upsd.rules" in str(told.value)


async def test_a_detachment_is_read_from_the_mount_table(bench: Bench) -> None:
    """Success of the unit is not taken for it: in a namespace of its own it would change nothing for the others."""
    bench.program("systemctl", "")
    with pytest.raises(RackError, match="still mounted, although"):
        await bench.nas().detach()


async def test_what_is_mounted_besides_is_told_and_can_be_mounted_again(bench: Bench) -> None:
    """By its unit; one that is mounted already is left alone, and one without a unit says that it needs one."""
    bench.program("systemctl", '[ "$2" != mnt-media.mount ]')
    bench.mounted_too("/mnt/media", "/mnt/old")
    nas = bench.nas()
    assert sorted(await nas.also_mounted()) == ["/mnt/media", "/mnt/old"]
    await nas.mount_also("/mnt/old")
    bench.mounted(False)  # noqa: FBT003
    assert await nas.also_mounted() == ()
    await nas.mount_also("/mnt/old")
    with pytest.raises(RackError, match="/mnt/media needs a line in /etc/fstab or a mount unit"):
        await nas.mount_also("/mnt/media")
    assert bench.calls == ["systemctl start mnt-old.mount", "systemctl start mnt-media.mount"]


async def test_the_nas_counts_as_mounted_when_it_is_and_answers(bench: Bench) -> None:
    """Mounted means in the mount table, and alive."""
    nas = bench.nas()
    assert await nas.is_mounted()
    bench.mounted(False)  # noqa: FBT003
    assert not await nas.is_mounted()


async def test_a_stale_mount_does_not_count_as_mounted(bench: Bench) -> None:
    """A mount whose server forgot it is of no use to the pods that wait for it."""
    bench.mount_point.rmdir()
    assert not await bench.nas().is_mounted()


async def test_a_hanging_mount_neither_counts_as_mounted_nor_holds_us_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe is left behind; the daemon goes on."""
    monkeypatch.setattr("upsd.rack.storage._PROBE_S", 0.2)
    bench.program("stat", "exec sleep 60")
    async with asyncio.timeout(5):
        assert not await bench.nas().is_mounted()


async def test_an_unmount_stops_the_systemd_unit(bench: Bench) -> None:
    """What depends on the mount is for systemd to know, so it is asked by the name of the unit."""
    bench.program("systemctl", f": > {bench.mountinfo}")
    await bench.nas().unmount()
    assert bench.calls == [f"systemctl stop {mount_unit(bench.mount_point)}"]


async def test_a_mount_starts_the_systemd_unit_once(bench: Bench) -> None:
    """Mounted already is no error and no work."""
    bench.program("systemctl", "")
    await bench.nas().mount()
    assert bench.calls == []
    bench.mounted(False)  # noqa: FBT003
    await bench.nas().mount()
    assert bench.calls == [f"systemctl start {mount_unit(bench.mount_point)}"]


async def test_an_unmount_of_what_is_not_mounted_does_nothing(bench: Bench) -> None:
    """A daemon that is started again in the middle of the plan repeats the step without harm."""
    bench.program("systemctl", "exit 1")
    bench.mounted(False)  # noqa: FBT003
    await bench.nas().unmount()
    assert bench.calls == []


async def test_an_unmount_that_systemd_refuses_names_the_right_that_is_missing(bench: Bench) -> None:
    """The commonest failure is a missing polkit rule."""
    bench.program("systemctl", "echo 'Failed to stop: Interactive authentication required.' >&2; exit 4")
    with pytest.raises(RackError, match=r"authentication required\.; .* org\.freedesktop\.systemd1\.manage-units"):
        await bench.nas().unmount()


async def test_an_unmount_that_says_yes_and_does_nothing_is_an_error(bench: Bench) -> None:
    """Success is read from the mount table, not from an exit code."""
    with pytest.raises(RackError, match=f"{bench.mount_point} is still mounted"):
        await bench.nas(unmount_command=["true"]).unmount()


async def test_a_command_of_ones_own_replaces_systemd(bench: Bench) -> None:
    """`unmount_command` is run as it stands."""
    bench.program("umount", f": > {bench.mountinfo}")
    await bench.nas(unmount_command=["umount", "-f", "/mnt/nas"]).unmount()
    assert bench.calls == ["umount -f /mnt/nas"]


async def test_the_kernel_s_own_mount_table_is_read(tmp_path: Path) -> None:
    """With nothing injected, `/proc` is there and a plain directory is no mount."""
    assert await MountedNas(mount_point=Path("/proc"), timeout_s=5.0).is_mounted()
    assert not await MountedNas(mount_point=tmp_path, timeout_s=5.0).is_mounted()


UNITS = {
    "/": "-.mount",
    "/mnt/nas": "mnt-nas.mount",
    "/mnt/nas/": "mnt-nas.mount",
    "/mnt//nas": "mnt-nas.mount",
    "/mnt/my-nas": r"mnt-my\x2dnas.mount",
    "/mnt/a b": r"mnt-a\x20b.mount",
    "/srv/größe": r"srv-gr\xc3\xb6\xc3\x9fe.mount",
    "/.hidden": r"\x2ehidden.mount",
    "/srv/.hidden": "srv-.hidden.mount",
    r"/srv/back\slash": r"srv-back\x5cslash.mount",
    "/srv/a:b_c.d": "srv-a:b_c.d.mount",
    "/srv/[x]@{y}": r"srv-\x5bx\x5d\x40\x7by\x7d.mount",
}


@pytest.mark.parametrize("path", UNITS)
def test_a_mount_unit_is_named_as_systemd_names_it(path: str) -> None:
    """A wrong name would be a unit that does not exist, and a NAS that stays mounted."""
    assert mount_unit(Path(path)) == UNITS[path]


@pytest.mark.parametrize("path", UNITS)
def test_the_names_are_those_of_systemd_escape(path: str) -> None:
    """The table above is not our opinion."""
    asked = [program("systemd-escape", "systemd"), "--path", "--suffix=mount", path]
    answer = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=10)
    assert answer.stdout.strip() == UNITS[path]


async def test_a_rehearsed_unmount_asks_systemd_whether_it_could_and_stops_nothing(bench: Bench) -> None:
    """A mount that systemd does not know could not be stopped in an outage either."""
    bench.program("systemctl", "echo LoadState=loaded; echo CanStop=yes")
    await bench.nas().check_unmount()
    bench.program("systemctl", "echo LoadState=not-found; echo CanStop=no")
    with pytest.raises(RackError, match=r"systemd can't stop .*\.mount: .* needs a line in /etc/fstab or a mount unit"):
        await bench.nas().check_unmount()
    assert {call.split()[1] for call in bench.calls} == {"show"}


async def test_a_rehearsed_unmount_names_every_mount_and_what_could_not_be_done_about_one_that_hangs(
    bench: Bench,
) -> None:
    """A detachment that is not installed is told in time; it is no reason not to be ready."""
    bench.mounted_too("/mnt/media")
    script = "case $3 in upsd-detach@*) echo LoadState={};; *) echo LoadState=loaded; echo CanStop=yes;; esac"
    bench.program("systemctl", script.format("loaded"))
    found = f"/mnt/media, {bench.mount_point} can be unmounted as far as can be told"
    assert await bench.nas().check_unmount() == found
    bench.program("systemctl", script.format("not-found"))
    assert (await bench.nas().check_unmount()).endswith("detached: install systemd/upsd-detach@.service")


async def test_a_rehearsed_command_of_ones_own_is_looked_for_and_sudo_is_asked(bench: Bench) -> None:
    """Neither is run."""
    bench.program("release", "exit 1")
    await bench.nas(unmount_command=["release", "nas"]).check_unmount()
    assert bench.calls == []
    bench.program("sudo", "echo a password is required >&2; exit 1")
    with pytest.raises(RackError, match="a password is required"):
        await bench.nas(unmount_command=["sudo", "-n", "umount", "/mnt/nas"]).check_unmount()
    assert bench.calls == ["sudo -n -l umount /mnt/nas"]
    with pytest.raises(RackError, match="there is no program upsd-none"):
        await bench.nas(unmount_command=["upsd-none"]).check_unmount()


async def test_a_rehearsed_flush_runs_nothing_that_might_be_the_power_off(bench: Bench) -> None:
    """Unless somebody has said that what is forced on the NAS knows the flush."""
    remote = Remote()
    with pytest.raises(RackError, match="flush was not run"):
        await bench.nas(remote).rehearsed().flush(WITHIN_S)
    assert remote.commands == []
    await replace(bench.nas(remote), forced_is_safe=True).rehearsed().flush(WITHIN_S)
    assert remote.commands == [flush_command(2)]
