from __future__ import annotations

import asyncio
import os
import shutil
import socket
from typing import TYPE_CHECKING

import asyncssh
import pytest

from hardware_sim.machines import (
    POWEROFF_COMMAND,
    MachineState,
    SimulatedMachine,
    SimulatedSshServer,
    write_client_key,
    write_known_hosts,
)
from tests.integration.ssh_clients import Client
from tests.integration.sshd import DEADLINE_S, HOST, OpenSshServer
from upsd.domain.rack import PortAnswer, RackError
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_line import SshLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

Server = OpenSshServer | SimulatedSshServer
# Goes on until nobody reads what it says, so that a real machine is not left with it.
HANGING = "while sleep 0.1; do echo; done"


def host_of(client: Client, server: Server, *, connect_timeout_s: float = 5.0, cut_is_error: bool = False) -> SshHost:
    """The server as the daemon sees it."""
    user = server.user if isinstance(server, OpenSshServer) else "upsd"
    return client.host_at(server.port, user=user, connect_timeout_s=connect_timeout_s, cut_is_error=cut_is_error)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client with a key that trusts nobody yet."""
    made = Client(tmp_path, write_client_key(tmp_path / "ssh_key"))
    made.trust()
    return made


@pytest.fixture
async def openssh(client: Client, tmp_path: Path) -> AsyncIterator[OpenSshServer]:
    """A real sshd that our client trusts and that takes its key."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    async with OpenSshServer(directory, client.key) as server:
        client.trust(server.known_hosts_line)
        yield server


@pytest.fixture
def machine() -> SimulatedMachine:
    """A simulated worker that runs."""
    return SimulatedMachine("pi3", 6.0, shutdown_s=0.1, boot_s=0.1)


@pytest.fixture
async def simulated(client: Client, machine: SimulatedMachine) -> AsyncIterator[SimulatedSshServer]:
    """A simulated server that our client trusts and that takes its key."""
    async with SimulatedSshServer(machine, client.key, {HANGING: forever, "yes": endless}) as server:
        write_known_hosts(client.known_hosts_file, [server])
        yield server


@pytest.fixture(params=["openssh", "simulated"])
def server(request: pytest.FixtureRequest) -> Server:
    """Either server: what the tests state holds for both, so the simulated one may stand in for the real one."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose connections the kernel accepts, and on which nobody ever says a word."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


async def failure(asked: Awaitable[object]) -> str:
    """The text of the `RackError` that the request ends in, in time."""
    with pytest.raises(RackError) as caught:
        async with asyncio.timeout(DEADLINE_S):
            await asked
    return str(caught.value)


async def endless() -> str:
    """Say more than anybody wants to hear."""
    return "y\n" * 1_000_000


async def forever() -> None:
    """Hang."""
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - polled on purpose: real sockets have no common event
            await asyncio.sleep(0.01)


async def test_a_command_runs_and_a_running_machine_answers(client: Client, server: Server) -> None:
    """The plain case: the command ends well, and the port is seen to be open."""
    host = host_of(client, server)
    assert await host.run("true") == ""
    assert await host.call_port() is PortAnswer.ACCEPTS


async def test_the_output_of_a_command_comes_back(client: Client, openssh: OpenSshServer) -> None:
    """Standard output is the answer, even where it is not UTF-8."""
    assert await host_of(client, openssh).run(r"printf 'mounted\n\377'") == "mounted\n�"


async def test_a_command_finds_no_input_to_wait_for(client: Client, openssh: OpenSshServer) -> None:
    """A command that reads its input ends at once instead of holding up the shutdown."""
    async with asyncio.timeout(DEADLINE_S):
        assert await host_of(client, openssh).run("cat") == ""


async def test_a_failed_command_tells_its_exit_code_and_complaint(client: Client, server: Server) -> None:
    """Who reads the error learns which machine, which command, the code and the first line of the complaint."""
    message = await failure(host_of(client, server).run("no-such-command"))
    assert f"pi3 ({HOST}:{server.port}): `no-such-command` failed (exit code 127): " in message
    assert "not found" in message
    assert "\n" not in message


async def test_a_machine_that_talks_without_end_is_cut_off(client: Client, server: Server) -> None:
    """A worker in wrong hands must not take the memory of the machine that has to shut down all others."""
    message = await failure(host_of(client, server).run("yes"))
    assert message == (
        f"pi3 ({HOST}:{server.port}): `yes` says too much, more than 64 KiB: the line was cut;"
        " run it there by hand to see what is wrong"
    )
    assert await host_of(client, server).run("true") == ""


async def test_a_machine_that_complains_without_end_is_cut_off(client: Client, openssh: OpenSshServer) -> None:
    """The same on standard error; and the line is closed, so that the machine has nobody left to talk to."""
    message = await failure(host_of(client, openssh).run("yes >&2"))
    assert "says too much" in message
    assert len(message) < 300
    await until(lambda: not openssh.sessions)


async def test_a_held_line_on_which_a_machine_talks_without_end_is_replaced(
    client: Client, openssh: OpenSshServer
) -> None:
    """What has to be run there next, such as the power-off, does not wait behind the flood."""
    host = host_of(client, openssh)
    host.line.hold()
    try:
        await openssh.logged("Accepted publickey")
        await until(lambda: host.line._held is not None)
        assert "says too much" in await failure(host.run("yes"))
        async with asyncio.timeout(DEADLINE_S):
            assert await host.run("echo next") == "next\n"
    finally:
        host.line.let_go()


async def test_an_answer_of_64_kib_is_whole(client: Client, openssh: OpenSshServer) -> None:
    """The limit does not damage what a machine with many mounts has to say."""
    assert await host_of(client, openssh).run("yes | head -c 65536") == "y\n" * 32768


async def test_a_long_complaint_is_cut(client: Client, openssh: OpenSshServer) -> None:
    """It becomes a line of the journal, and one that is too long there counts as damaged."""
    message = await failure(host_of(client, openssh).run("yes sorry, | head -c 60000 | tr '\\n' ' ' >&2; exit 3"))
    _, _, complaint = message.partition("failed (exit code 3): ")
    assert complaint.startswith("sorry, sorry, ")
    assert complaint.endswith("…")
    assert len(complaint) <= 301


async def test_a_refused_key_says_whose_authorized_keys_lack_it(server: Server, tmp_path: Path) -> None:
    """The error names the key and the file on the other machine that it belongs into."""
    other = tmp_path / "other"
    other.mkdir()
    stranger = Client(other, write_client_key(other / "ssh_key"))
    stranger.trust(server.known_hosts_line)
    message = await failure(host_of(stranger, server).run("true"))
    assert f"refused the key {stranger.key_file}" in message
    assert ".ssh/authorized_keys there" in message


async def test_a_changed_host_key_is_refused_and_says_where_to_replace_it(client: Client, server: Server) -> None:
    """A machine with another key than the known one gets no command, and the person who reinstalled it a hint."""
    impostor = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    client.trust(f"[{HOST}]:{server.port} {impostor}")
    message = await failure(host_of(client, server).run("true"))
    assert f"host key changed; if that is right, replace its line in {client.known_hosts_file}" in message


async def test_a_host_key_of_another_type_counts_as_changed(client: Client, server: Server) -> None:
    """A machine that has only other types of keys than we know does not end in talk of algorithms."""
    impostor = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    client.trust(f"[{HOST}]:{server.port} {impostor}")
    assert "host key changed" in await failure(host_of(client, server).run("true"))


async def test_an_unknown_host_is_refused_and_says_how_to_add_it(client: Client, server: Server) -> None:
    """A machine that nobody has vouched for gets no command."""
    client.trust()
    message = await failure(host_of(client, server).run("true"))
    assert f"host key unknown: compare it with `ssh-keyscan -p {server.port} {HOST}`" in message


async def test_a_line_that_is_cut_by_the_machine_going_off_is_no_error(client: Client, openssh: OpenSshServer) -> None:
    """A power-off takes its own connection down: that is what success looks like."""
    assert await host_of(client, openssh).run("kill -9 $PPID") == ""


async def test_a_line_that_is_cut_is_an_error_where_the_command_must_have_finished(
    client: Client, openssh: OpenSshServer
) -> None:
    """A flush whose end nobody saw must not pass for done."""
    message = await failure(host_of(client, openssh, cut_is_error=True).run("kill -9 $PPID"))
    assert "the line was cut before" in message


async def test_a_command_killed_by_a_signal_is_an_error(client: Client, openssh: OpenSshServer) -> None:
    """What was killed did not do its work."""
    assert "(killed by SIGKILL)" in await failure(host_of(client, openssh).run("kill -9 $$"))


async def test_a_closed_port_is_an_error_to_run_and_no_answer(client: Client, openssh: OpenSshServer) -> None:
    """A machine whose sshd is gone is told apart from one that is up."""
    host = host_of(client, openssh)
    await openssh.stop()
    assert "refuses connections" in await failure(host.run("true"))
    assert await host.call_port() is PortAnswer.REFUSES


async def test_a_host_that_accepts_and_hangs_is_given_up_in_time(client: Client, silent_port: int) -> None:
    """The connect timeout holds for the whole way to the login."""
    message = await failure(client.host_at(silent_port, connect_timeout_s=0.2).run("true"))
    assert message == f"pi3 ({HOST}:{silent_port}): did not answer within 0.2 s"


async def test_a_host_that_accepts_and_hangs_is_not_taken_for_off(client: Client, silent_port: int) -> None:
    """A kernel that accepts is running: cutting its power now would cost its data."""
    async with asyncio.timeout(DEADLINE_S):
        assert await client.host_at(silent_port).call_port() is PortAnswer.ACCEPTS


async def test_a_simulated_machine_that_hangs_behaves_as_a_silent_port(
    client: Client, simulated: SimulatedSshServer
) -> None:
    """The simulated fault is the one that the previous tests are about."""
    simulated.hang = True
    host = host_of(client, simulated, connect_timeout_s=0.2)
    assert "did not answer within 0.2 s" in await failure(host.run("true"))
    assert await host.call_port() is PortAnswer.ACCEPTS


async def test_a_name_without_an_address_is_not_taken_for_off(client: Client) -> None:
    """That we can't find a machine does not mean that it is off."""
    host = client.host_at(22, host="pi3.invalid", connect_timeout_s=DEADLINE_S)
    assert "no address found for pi3.invalid" in await failure(host.run("true"))
    assert "no address found for pi3.invalid" in await failure(host.call_port())


async def test_cancelling_closes_the_connection_at_once(client: Client, openssh: OpenSshServer) -> None:
    """A command that hangs past its deadline leaves no line behind, here or there."""
    running = asyncio.create_task(host_of(client, openssh).run(HANGING))
    await openssh.logged("Starting session: command")
    running.cancel()
    async with asyncio.timeout(1.0):
        await asyncio.wait({running})
    assert running.cancelled()
    await openssh.logged("Connection closed by")


async def test_the_callers_deadline_ends_a_hanging_command(client: Client, server: Server) -> None:
    """The plan's deadline is the one that counts, and nothing stays behind."""
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await host_of(client, server).run(HANGING)
    await until(lambda: not asyncio.all_tasks() - before)


async def test_missing_files_are_warnings_at_start_and_errors_at_use(client: Client, silent_port: int) -> None:
    """The daemon starts without a key, says what to do about it, and takes the key as soon as it is there."""
    key = client.key_file.read_bytes()
    client.key_file.unlink()
    identity = client.identity()
    (warning,) = identity.warnings()
    assert warning == (
        f"cannot read {client.key_file} (No such file or directory):"
        f" make one with `ssh-keygen -t ed25519 -N '' -f {client.key_file}`"
    )
    host = SshHost(SshLine("pi3", HOST, silent_port, "upsd", identity, 0.2))
    assert f"cannot read {client.key_file}" in await failure(host.run("true"))
    client.key_file.write_bytes(key)
    assert identity.warnings() == []
    assert "did not answer" in await failure(host.run("true"))


async def test_known_hosts_are_read_again_when_they_have_changed(client: Client, server: Server) -> None:
    """A host key that is replaced in the file counts without a restart of the daemon."""
    client.trust()
    host = host_of(client, server)
    assert "host key unknown" in await failure(host.run("true"))
    client.trust(server.known_hosts_line)
    assert await host.run("true") == ""


async def test_files_that_vanish_during_an_outage_do_not_matter(client: Client, server: Server) -> None:
    """What was read at start stays good when the disk has gone away."""
    host = host_of(client, server)
    client.key_file.unlink()
    client.known_hosts_file.unlink()
    assert await host.run("true") == ""


def test_a_key_that_is_no_key_is_a_warning(client: Client) -> None:
    """A broken key is told at start, not in the outage."""
    client.key_file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (warning,) = client.identity().warnings()
    assert warning.startswith(f"{client.key_file} is not usable")


async def test_a_simulated_machine_powers_off_and_its_port_closes(
    client: Client, simulated: SimulatedSshServer, machine: SimulatedMachine
) -> None:
    """The whole life: asked over SSH, port closed, off, power away without harm, and back with the power."""
    host = host_of(client, simulated)
    await host.run(POWEROFF_COMMAND)
    await until(lambda: machine.state is MachineState.OFF)
    assert await host.call_port() is PortAnswer.SILENT
    machine.power(False)  # noqa: FBT003
    assert machine.clean
    machine.power(True)  # noqa: FBT003
    await until(lambda: machine.state is MachineState.RUNNING)
    assert await host.run("true") == ""


async def test_a_simulated_machine_without_power_is_unclean_and_silent(
    client: Client, simulated: SimulatedSshServer, machine: SimulatedMachine
) -> None:
    """Cutting the power of a running machine cuts its lines and is held against the plan."""
    host = host_of(client, simulated)
    running = asyncio.create_task(host.run(HANGING))
    await until(lambda: simulated.commands_running == 1)
    machine.power(False)  # noqa: FBT003
    async with asyncio.timeout(DEADLINE_S):
        assert await running == ""
    assert machine.cuts == [MachineState.RUNNING]
    assert await host.call_port() is PortAnswer.SILENT


async def test_a_simulated_machine_can_refuse_the_key_or_ignore_the_power_off(
    client: Client, simulated: SimulatedSshServer, machine: SimulatedMachine
) -> None:
    """The faults that the simulated rack offers are seen by the real client."""
    host = host_of(client, simulated)
    simulated.ignore_poweroff = True
    await host.run(POWEROFF_COMMAND)
    assert simulated.asked_to_power_off == 1
    assert machine.state is MachineState.RUNNING
    simulated.refuse_key = True
    assert "refused the key" in await failure(host.run("true"))


async def test_openssh_s_own_client_takes_the_simulated_server_for_one(
    client: Client, simulated: SimulatedSshServer, machine: SimulatedMachine
) -> None:
    """Exit codes as OpenSSH's `ssh` sees them: a simulated machine is a machine for tools that we did not write."""
    assert await openssh_client(client, simulated.port, "true") == 0
    assert await openssh_client(client, simulated.port, "no-such-command") == 127
    simulated.refuse_key = True
    assert await openssh_client(client, simulated.port, "true") == 255
    simulated.refuse_key = False
    assert await openssh_client(client, simulated.port, POWEROFF_COMMAND) == 0
    await until(lambda: machine.state is MachineState.OFF)
    assert await openssh_client(client, simulated.port, "true") == 255


async def openssh_client(client: Client, port: int, command: str) -> int:
    """The exit code of OpenSSH's client."""
    program = shutil.which("ssh")
    if program is None:
        pytest.fail("ssh is missing: apt-get install openssh-client")
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(client.known_hosts_file),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "2",
    }
    process = await asyncio.create_subprocess_exec(
        program,
        *("-F", "/dev/null", "-i", str(client.key_file), "-p", str(port)),
        *(f"-o{key}={value}" for key, value in options.items()),
        f"upsd@{HOST}",
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    async with asyncio.timeout(DEADLINE_S):
        return await process.wait()
