"""The right to power a machine off, proven over SSH by the real sshd and sudo, with nothing powered off."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardware_sim.machines import (
    POWEROFF_COMMAND,
    MachineState,
    SimulatedMachine,
    SimulatedSshServer,
    write_client_key,
    write_known_hosts,
)
from tests.integration.sshd import HOST, OpenSshServer
from tests.integration.worker import FORCED
from tests.integration.worker import Worker as HelperWorker
from upsd.domain.rack import RackError
from upsd.domain.worker import NetworkMounts, parse_mounts, parse_status
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_identity import SshIdentity
from upsd.rack.ssh_line import SshLine
from upsd.shutdown.steps import RemoteMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAS_HELPER = Path(__file__).parents[2] / "config" / "nas" / "upsd-nas"
PLAIN_POWEROFF = "sudo -n systemctl poweroff"
SUDO = shutil.which("sudo")
MAY_SUDO = (
    SUDO is not None and subprocess.run([SUDO, "-n", "-l", "true"], capture_output=True, check=False).returncode == 0
)


@dataclass(frozen=True)
class Worker:
    """A machine with a real sshd; `trace` appears when it is powered off."""

    server: OpenSshServer
    identity: SshIdentity
    trace: Path

    @property
    def off(self) -> bool:
        """Whether the power-off was run."""
        return self.trace.exists()

    def machine(self, poweroff_command: str, rehearse_command: str | None = None) -> RemoteMachine:
        """As the plan sees it."""
        host = SshHost(SshLine("pi3", HOST, self.server.port, self.server.user, self.identity, 5.0))
        return RemoteMachine(host, poweroff_command, rehearse_command=rehearse_command)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker that our key may log in to."""
    key = write_client_key(tmp_path / "ssh_key")
    (tmp_path / "sshd").mkdir()
    async with OpenSshServer(tmp_path / "sshd", key) as server:
        (tmp_path / "known_hosts").write_text(f"{server.known_hosts_line}\n")
        yield Worker(server, SshIdentity(tmp_path / "ssh_key", tmp_path / "known_hosts"), tmp_path / "powered-off")


@pytest.mark.skipif(not MAY_SUDO, reason="needs a sudo that lets this user do everything")
async def test_sudo_says_what_it_would_run_and_does_not_run_it(worker: Worker) -> None:
    """The derived check, by the real sudo."""
    await worker.machine(f"sudo -n touch {worker.trace}").check_power_off()
    assert not worker.off


@pytest.mark.skipif(SUDO is None, reason="needs sudo")
async def test_a_program_that_sudo_can_t_run_is_told(worker: Worker) -> None:
    """The complaint of sudo reaches the reader."""
    with pytest.raises(RackError, match="sudo -n -l upsd-no-such-program"):
        await worker.machine("sudo -n upsd-no-such-program").check_power_off()


async def test_a_missing_right_is_told_with_the_words_of_the_machine(worker: Worker, tmp_path: Path) -> None:
    """By a sudo that refuses, as one without our line in sudoers does."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        f'#!/bin/sh\n[ "$2" = -l ] || touch {worker.trace}\necho "sudo: a password is required" >&2\nexit 1\n'
    )
    sudo.chmod(0o755)
    with pytest.raises(RackError, match=r"may not power it off: .* a password is required; see the README"):
        await worker.machine(f"{sudo} -n systemctl poweroff").check_power_off()
    assert not worker.off


async def test_a_command_without_sudo_is_only_looked_for(worker: Worker) -> None:
    """It is found, or named as missing; it is not run."""
    await worker.machine(f"touch {worker.trace}").check_power_off()
    assert not worker.off
    with pytest.raises(RackError, match="command -v upsd-no-such-program"):
        await worker.machine("upsd-no-such-program now").check_power_off()


@pytest.mark.parametrize("command", [POWEROFF_COMMAND, PLAIN_POWEROFF])
async def test_a_forced_power_off_is_not_set_off_by_a_rehearsal(worker: Worker, command: str) -> None:
    """It would run whatever is asked for; a real outage still does."""
    worker.server.tie_key_to(f"touch {worker.trace}")
    machine = worker.machine(command)
    with pytest.raises(RackError, match=r"logged in; authorized_keys there has a forced command: nothing was run"):
        await machine.check_power_off()
    assert not worker.off
    await machine.ask_to_power_off()
    assert worker.off


async def test_a_worker_without_its_helper_is_told_how_to_get_it(worker: Worker) -> None:
    """The default command is one of the helper."""
    with pytest.raises(RackError, match=r"`check` failed \(exit code 127\).*upsd-worker there\? See upsctl enroll"):
        await worker.machine(POWEROFF_COMMAND).check_power_off()


async def test_the_helper_of_a_worker_is_rehearsed_and_powers_off(worker: Worker) -> None:
    """The shipped helper behind the real sshd, with the settings' defaults; anything else it refuses.

    A network file system that hangs there is named.
    """
    with tempfile.TemporaryDirectory() as directory:
        helper = HelperWorker(Path(directory), "dash")
        worker.server.tie_key_to(helper.forced_command, marked=True)
        machine = worker.machine(POWEROFF_COMMAND)
        assert await machine.check_power_off() == "logged in, and `check` says yes"
        assert not [call for call in helper.calls if "-l" not in call and not call.startswith("systemctl is-active")]
        assert parse_status(await machine.host.run("status")).k3s == "inactive"
        with pytest.raises(
            RackError, match="upsd-worker: not allowed: reboot; only status, poweroff, cancel and check"
        ):
            await machine.host.run("reboot")
        helper.put("proc/self/mounts", "nas:/a /mnt/a nfs4 rw 0 0\nnas:/b /mnt/b nfs4 rw 0 0")
        helper.stand_in("stat", "[ $2 != /mnt/b ] || exec sleep 5")
        assert parse_mounts(await machine.ask_to_power_off()) == NetworkMounts(("/mnt/a",), ("/mnt/b",))
        helper.until(lambda: FORCED in helper.calls)


async def test_the_forced_command_of_a_nas_lets_the_check_through(worker: Worker, tmp_path: Path) -> None:
    """The shipped one, with a sudo and a power-off that leave a trace; anything else it refuses."""
    off = f"touch {worker.trace}"
    programs = {"sudo": f'[ "$2" = -l ] && echo /usr/sbin/poweroff || {off}', "poweroff": off}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    worker.server.tie_key_to(f"PATH={tmp_path}:{os.defpath} {NAS_HELPER}")
    machine = worker.machine("poweroff", "check")
    await machine.check_power_off()
    assert not worker.off
    with pytest.raises(RackError, match="upsd-nas: not allowed here: reboot"):
        await machine.host.run("reboot")
    await machine.ask_to_power_off()
    assert worker.off


@pytest.mark.parametrize("forced", [False, True])
async def test_the_simulated_machine_tells_of_a_forced_command_as_openssh_does(tmp_path: Path, *, forced: bool) -> None:
    """So that what is rehearsed in a simulated rack is what a real one would see."""
    key, machine = write_client_key(tmp_path / "ssh_key"), SimulatedMachine("pi3", 6.0, shutdown_s=0.1, boot_s=0.1)
    async with SimulatedSshServer(machine, key) as server:
        server.forced = forced
        write_known_hosts(tmp_path / "known_hosts", [server])
        identity = SshIdentity(tmp_path / "ssh_key", tmp_path / "known_hosts")
        host = SshHost(SshLine("pi3", HOST, server.port, "upsd", identity, 5.0))
        remote = RemoteMachine(host, POWEROFF_COMMAND)
        if forced:
            with pytest.raises(RackError, match="forced command"):
                await remote.check_power_off()
        else:
            await remote.check_power_off()
        assert server.asked_to_power_off == 0
        assert machine.state is MachineState.RUNNING
