"""A worker on a network that fails in every way: a real sshd in a network namespace, at the end of a cable of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh
import pytest

from hardware_sim.machines import write_client_key
from tests.integration.cable import Cable, cable
from tests.integration.ssh_clients import Client
from tests.integration.sshd import DEADLINE_S, OpenSshServer
from upsd.domain.plan import Step, StepKind, StepState
from upsd.domain.rack import PortAnswer, RackError
from upsd.shutdown.engine import Outcome, StepContext
from upsd.shutdown.steps.confirm_off import ConfirmOff
from upsd.shutdown.steps.off_evidence import OffEvidence
from upsd.shutdown.steps.poweroff import GoingOff, RemoteMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from upsd.domain.power import Scalar
    from upsd.rack.ssh import SshHost
    from upsd.rack.ssh_line import SshLine

CONNECT_S = 2.0
# A call of the port gives up after two seconds, a connection after its own time; and a moment for a busy machine.
MOMENT_S = 1.0
CALL_S = 2.0


@dataclass(frozen=True)
class Worker:
    """A machine with a real sshd, and the cable to it."""

    cable: Cable
    server: OpenSshServer
    client: Client

    @property
    def host(self) -> SshHost:
        """As the daemon sees it."""
        return self.client.host_at(
            self.server.port, host=self.cable.there, user=self.server.user, connect_timeout_s=CONNECT_S
        )


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Worker]]]:
    """A factory of workers that are well."""
    async with contextlib.AsyncExitStack() as stack:

        async def make() -> Worker:
            link = await stack.enter_async_context(cable())
            directory = tmp_path / link.there
            (directory / "sshd").mkdir(parents=True)
            client = Client(directory, write_client_key(directory / "ssh_key"))
            server = await stack.enter_async_context(_sshd(link, client, directory / "sshd"))
            return Worker(link, server, client)

        yield make


async def together(
    workers: Callable[[], Awaitable[Worker]], *trials: Callable[[Worker], Coroutine[None, None, None]]
) -> None:
    """Try all of it at the same time; one that fails ends the others before their workers go."""
    made = [await workers() for _ in trials]
    async with asyncio.TaskGroup() as group:
        for trial, worker in zip(trials, made, strict=True):
            group.create_task(trial(worker))


def _sshd(link: Cable, client: Client, directory: Path) -> OpenSshServer:
    server = OpenSshServer(directory, client.key, host=link.there, inside=link.inside)
    client.trust(server.known_hosts_line)
    return server


async def failure(host: SshHost, within_s: float) -> str:
    """The text of the error in which a command ends, in that time."""
    with pytest.raises(RackError) as caught:
        async with asyncio.timeout(within_s + MOMENT_S):
            await host.run("true")
    return str(caught.value)


async def answer(host: SshHost) -> PortAnswer:
    """What the port answers, in time."""
    async with asyncio.timeout(CALL_S + MOMENT_S):
        return await host.call_port()


async def test_each_failure_of_the_network_is_told_in_time(workers: Callable[[], Awaitable[Worker]]) -> None:
    """Each on a worker of its own."""
    await together(
        workers,
        _a_slow_line_is_no_error,
        _lost_packets_end_in_time,
        _our_own_pulled_link_is_not_taken_for_a_machine_that_is_off,
        _a_machine_that_is_off_is_silent_while_our_link_is_up,
        _a_port_that_refuses_is_told,
        _an_sshd_that_hangs_after_it_accepted_is_given_up_in_time,
        _another_host_key_is_told_at_once,
        _a_line_that_is_held_outlives_a_short_cut,
    )


async def test_off_is_told_from_cut_off(workers: Callable[[], Awaitable[Worker]]) -> None:
    """Each on a worker of its own."""
    await together(
        workers,
        _a_machine_that_goes_off_is_confirmed,
        _a_machine_behind_our_own_pulled_link_is_not_confirmed,
        _a_machine_that_was_never_heard_of_is_not_confirmed,
        _a_machine_whose_sshd_hangs_is_not_confirmed,
        _a_machine_whose_port_refuses_is_waited_for_until_there_is_no_time,
        _a_machine_that_refuses_and_then_is_silent_is_confirmed,
    )


async def _a_slow_line_is_no_error(worker: Worker) -> None:
    """With 300 ms more on the way a command takes longer than usual, and goes through."""
    worker.cable.delay_s = 0.15
    host = worker.client.host_at(worker.server.port, host=worker.cable.there, user=worker.server.user)
    assert await answer(host) is PortAnswer.ACCEPTS
    assert await host.run("echo there") == "there\n"


async def _lost_packets_end_in_time(worker: Worker) -> None:
    """The machine is not reached, and that its port is silent is told as it is."""
    worker.cable.carries = False
    assert f"did not answer within {CONNECT_S:g} s" in await failure(worker.host, CONNECT_S)
    assert await answer(worker.host) is PortAnswer.SILENT


async def _our_own_pulled_link_is_not_taken_for_a_machine_that_is_off(worker: Worker) -> None:
    """As when the switch is the first to go: nobody can tell, and the link is named."""
    assert await worker.host.run("true") == ""
    worker.cable.pull()
    assert "did not answer within" in await failure(worker.host, CONNECT_S)
    with pytest.raises(RackError, match=r"nobody can tell: this machine's own link upsdn\S+ is down"):
        await answer(worker.host)
    worker.cable.plug_in()
    await _reached(worker.host)


async def _a_machine_that_is_off_is_silent_while_our_link_is_up(worker: Worker) -> None:
    """That is what tells the one from the other."""
    worker.cable.switch_off_there()
    assert await answer(worker.host) is PortAnswer.SILENT


async def _a_port_that_refuses_is_told(worker: Worker) -> None:
    """Its kernel runs, and its sshd does not."""
    await worker.server.stop()
    assert "refuses connections" in await failure(worker.host, CONNECT_S)
    assert await answer(worker.host) is PortAnswer.REFUSES


async def _an_sshd_that_hangs_after_it_accepted_is_given_up_in_time(worker: Worker) -> None:
    """The kernel still accepts for it: the machine is not off."""
    with hung(worker.server):
        assert f"did not answer within {CONNECT_S:g} s" in await failure(worker.host, CONNECT_S)
        assert await answer(worker.host) is PortAnswer.ACCEPTS


async def _another_host_key_is_told_at_once(worker: Worker) -> None:
    """Another machine at its address, or one that was installed anew."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    worker.client.trust(f"[{worker.cable.there}]:{worker.server.port} {other}")
    assert "host key changed" in await failure(worker.host, CONNECT_S)


async def _a_line_that_is_held_outlives_a_short_cut(worker: Worker) -> None:
    """A cable that is put back, or a switch that changes over to another supply."""
    host = worker.host
    host.line.hold()
    await _held(host.line)
    worker.cable.pull()
    await asyncio.sleep(0.7)
    worker.cable.plug_in()
    assert await host.run("echo there") == "there\n"
    host.line.let_go()
    assert sum("Accepted publickey" in line for line in worker.server.log) == 1


async def _a_machine_that_goes_off_is_confirmed(worker: Worker) -> None:
    """It took the command, and is silent from then on."""
    worker.cable.switch_off_there()
    outcome = await confirm(worker, told=True)
    assert outcome == Outcome(detail="port silent")


async def _a_machine_behind_our_own_pulled_link_is_not_confirmed(worker: Worker) -> None:
    """It may still be writing; its time is over before anybody can tell."""
    worker.cable.pull()
    with pytest.raises(TimeoutError):
        await confirm(worker, told=True, within_s=4 * CALL_S)


async def _a_machine_that_was_never_heard_of_is_not_confirmed(worker: Worker) -> None:
    """It may be off, or cut from the network."""
    worker.cable.carries = False
    outcome = await confirm(worker, told=False)
    assert outcome.state is StepState.FAILED
    assert "is cut from the network" in outcome.detail


async def _a_machine_whose_sshd_hangs_is_not_confirmed(worker: Worker) -> None:
    """It runs, and is asked again in vain."""
    with hung(worker.server), pytest.raises(TimeoutError):
        await confirm(worker, told=True, within_s=4.0)


async def _a_machine_whose_port_refuses_is_waited_for_until_there_is_no_time(worker: Worker) -> None:
    """Its kernel runs, and perhaps still writes; the power-off usually takes a second here."""
    await worker.server.stop()
    began_at = asyncio.get_running_loop().time()
    outcome = await confirm(worker, told=True, within_s=8.0)
    assert outcome == Outcome(StepState.FORCED, "port refuses, no more time")
    assert asyncio.get_running_loop().time() - began_at > 8.0 - 2 * MOMENT_S


async def _a_machine_that_refuses_and_then_is_silent_is_confirmed(worker: Worker) -> None:
    """As most machines go off."""
    await worker.server.stop()
    asyncio.get_running_loop().call_later(4.0, worker.cable.switch_off_there)
    assert await confirm(worker, told=True, within_s=30.0) == Outcome(detail="port silent")


async def confirm(worker: Worker, *, told: bool, within_s: float = 15.0) -> Outcome:
    """How the step ends that waits for the machine to go off."""
    going_off = GoingOff(acknowledged={"pi3"} if told else set())
    evidence = OffEvidence(going_off, None, lambda: None, {})
    step = ConfirmOff({"pi3": RemoteMachine(worker.host, "poweroff")}, going_off, evidence)
    now = asyncio.get_running_loop().time()
    context = StepContext("o", now + within_s, now, 1.0, say=lambda _: None, record=_forget)
    async with asyncio.timeout(within_s):
        return await step(
            Step(
                id="confirm-off pi3",
                kind=StepKind.CONFIRM_OFF,
                target="pi3",
                needs=(),
                expected_s=1.0,
                minimum_s=1.0,
                limit_s=within_s,
            ),
            context,
        )


async def _forget(_: Mapping[str, Scalar]) -> None:
    """Write nothing down."""


async def _reached(host: SshHost) -> None:
    """Wait until a command goes through; the kernel takes a moment to believe in a link again."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(RackError):
                await host.run("true")
                return
            await asyncio.sleep(0.1)


async def _held(line: SshLine) -> None:
    """Wait until the line is held."""
    async with asyncio.timeout(CONNECT_S + MOMENT_S):
        while True:
            with line.borrowed() as connection:
                if connection is not None:
                    return
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def hung(server: OpenSshServer) -> Iterator[None]:
    """An sshd that does nothing any more."""
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
