"""A line that is open when the switch or the name server goes: held through an outage, by the real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from hardware_sim.machines import write_client_key
from tests.integration.ssh_clients import Client
from tests.integration.sshd import DEADLINE_S, HOST, OpenSshServer, children_of
from upsd.domain.rack import PortAnswer, RackError
from upsd.rack.ssh_line import HeldLines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from typing import Any

    from upsd.rack.ssh import SshHost

NAME = "localhost"
# A dead line is noticed after three unanswered questions, one a second; another one is open some moments later.
NOTICED_S = 12.0
# As soon as a command has not begun on it for two seconds, which leaves most of the ten that a power-off has.
BEGUN_S = 5.0


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client with a key."""
    return Client(tmp_path, write_client_key(tmp_path / "ssh_key"))


@pytest.fixture
async def server(client: Client, tmp_path: Path) -> AsyncIterator[OpenSshServer]:
    """A real sshd that our client trusts by its name, and that takes its key."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    async with OpenSshServer(directory, client.key) as server:
        client.trust(server.known_hosts_line.replace(HOST, NAME))
        yield server


@pytest.fixture
async def host(client: Client, server: OpenSshServer) -> AsyncIterator[SshHost]:
    """The machine, by its name, with a line to it that is held."""
    host = client.host_at(server.port, host=NAME, user=server.user)
    host.line.hold()
    await held(host)
    yield host
    host.line.let_go()


async def held(host: SshHost) -> None:
    """Wait until the line is held."""
    await until(lambda: is_held(host))


def is_held(host: SshHost) -> bool:
    """Whether the line is held now."""
    with host.line.borrowed() as connection:
        return connection is not None


async def until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - polled on purpose: real sockets have no common event
            await asyncio.sleep(0.01)


async def gone(work: Awaitable[object]) -> str:
    """The text of the error that it ends in."""
    with pytest.raises(RackError) as caught:
        await work
    return str(caught.value)


def logins(server: OpenSshServer) -> int:
    """How many connections there were."""
    return sum("Accepted publickey" in line for line in server.log)


@pytest.fixture
def no_name_server(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> SshHost:
    """The machine, once no name can be resolved any more."""
    real = socket.getaddrinfo

    def look_up(name: Any, *arguments: Any, **options: Any) -> Any:
        if name == NAME:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return host


async def test_commands_go_over_the_line_that_is_held(host: SshHost, server: OpenSshServer) -> None:
    """One login is enough for all of them."""
    assert await host.run("echo one") == "one\n"
    assert await host.finishing().run("echo two") == "two\n"
    assert logins(server) == 1


async def test_a_dead_name_server_costs_nothing(no_name_server: SshHost) -> None:
    """The command goes through, and the port can still be called; nobody else is reached any more."""
    assert await no_name_server.run("echo off") == "off\n"
    assert await no_name_server.call_port() is PortAnswer.ACCEPTS
    no_name_server.line.let_go()
    assert "no address found for localhost" in await gone(no_name_server.run("true"))


async def test_a_line_is_replaced_without_the_name_server(no_name_server: SshHost, server: OpenSshServer) -> None:
    """The address that the name had when the outage began is good for another line."""
    for session in server.sessions:
        os.kill(session, signal.SIGKILL)
    await until(lambda: logins(server) == 2)
    assert await no_name_server.run("echo again") == "again\n"


async def test_a_line_that_died_without_a_word_is_noticed_and_replaced(host: SshHost, server: OpenSshServer) -> None:
    """As behind a switch that lost its power: nobody says that the line is cut."""
    with silent(server):
        await until(lambda: logins(server) == 2, NOTICED_S)
        await held(host)
        assert await host.run("echo here") == "here\n"


async def test_a_command_does_not_wait_for_a_line_that_died(host: SshHost, server: OpenSshServer) -> None:
    """It goes over a new one within its time."""
    with silent(server):
        async with asyncio.timeout(BEGUN_S):
            assert await host.run("echo here") == "here\n"


async def test_a_machine_that_is_off_is_an_error_as_ever(host: SshHost, server: OpenSshServer) -> None:
    """The line ends with it, and nothing takes its place."""
    # Of some versions of sshd each session is two processes.
    lines = [process for session in server.sessions for process in (session, *children_of(session))]
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    for process in lines:
        os.kill(process, signal.SIGKILL)
    await stopping
    assert "refuses connections" in await gone(host.run("true"))


async def test_it_is_let_go_when_the_mains_is_back(host: SshHost, server: OpenSshServer) -> None:
    """No connection stays behind, nor anything that would open one."""
    host.line.let_go()
    await until(lambda: not server.sessions)
    assert not is_held(host)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "line to pi3" and not task.cancelling()]


async def test_what_runs_on_it_comes_to_its_end_first(host: SshHost) -> None:
    """A power-off that has begun is not cut by the mains."""
    running = asyncio.create_task(host.finishing().run("sleep 0.3; echo done"))
    await asyncio.sleep(0.1)
    host.line.let_go()
    assert await running == "done\n"


async def test_it_is_held_in_an_outage_until_the_machine_is_off(client: Client, server: OpenSshServer) -> None:
    """And not on mains, nor once the machine was seen going off."""
    host = client.host_at(server.port, host=NAME, user=server.user)
    lines = HeldLines({"pi3": host.line})
    lines.follow(outage=False, off=())
    await asyncio.sleep(0)
    assert logins(server) == 0
    lines.follow(outage=True, off=())
    lines.follow(outage=True, off=())
    await held(host)
    lines.follow(outage=True, off={"pi3"})
    await until(lambda: not server.sessions)
    assert logins(server) == 1


@contextlib.contextmanager
def silent(server: OpenSshServer) -> Iterator[None]:
    """Have the connections that there are answer nothing any more, and nobody say so."""
    found = [process for session in server.sessions for process in (*children_of(session), session)]
    for process in found:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            os.kill(process, signal.SIGKILL)
