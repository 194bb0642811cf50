from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.machines import (
    POWEROFF_COMMAND,
    MachineState,
    SimulatedMachine,
    SimulatedNas,
    SimulatedSshServer,
    write_client_key,
    write_known_hosts,
)
from upsd.domain.rack import PortAnswer, RackError
from upsd.rack.ssh import SshHost
from upsd.rack.ssh_identity import SshIdentity
from upsd.rack.ssh_line import SshLine

if TYPE_CHECKING:
    from pathlib import Path

ON, OFF = True, False


@pytest.fixture
def machine() -> SimulatedMachine:
    """A machine that runs."""
    return SimulatedMachine("pi3", 6.0, shutdown_s=20.0, boot_s=30.0)


@pytest.fixture
def nas(tmp_path: Path) -> SimulatedNas:
    """A NAS that runs and has acknowledged three writes."""
    made = SimulatedNas(SimulatedMachine("nas", 20.0, shutdown_s=20.0, boot_s=60.0), tmp_path, flush_s=5.0)
    for _ in range(3):
        made.write()
    return made


async def test_a_machine_that_shuts_down_first_is_clean(machine: SimulatedMachine) -> None:
    """It takes its time, draws power until it is off, and then loses nothing with its power."""
    machine.shut_down()
    await asyncio.sleep(19.9)
    assert machine.state is MachineState.STOPPING
    assert machine.draws_w == 6.0
    await asyncio.sleep(0.2)
    assert machine.draws_w == 0.0
    machine.power(OFF)
    assert machine.clean


@pytest.mark.parametrize("stopping_for_s", [None, 19.0])
async def test_a_machine_that_was_not_off_yet_is_unclean(
    machine: SimulatedMachine, stopping_for_s: float | None
) -> None:
    """Power cut a second before the end of the shutdown is as bad as without one."""
    if stopping_for_s is not None:
        machine.shut_down()
        await asyncio.sleep(stopping_for_s)
    doing = machine.state
    machine.power(OFF)
    assert not machine.clean
    assert machine.cuts == [doing]
    await asyncio.sleep(60)
    assert machine.state is MachineState.OFF


async def test_a_machine_that_shut_itself_down_stays_off_until_its_outlet_is_cycled(machine: SimulatedMachine) -> None:
    """That mains came back meanwhile does not start it: this is what the outlet cycle is for."""
    machine.shut_down()
    await asyncio.sleep(30)
    machine.power(ON)
    await asyncio.sleep(60)
    assert (machine.boots, machine.draws_w) == (0, 0.0)
    machine.power(OFF)
    machine.power(ON)
    assert (machine.boots, machine.draws_w) == (0, 6.0)
    await asyncio.sleep(31)
    assert machine.boots == 1
    assert machine.state is MachineState.RUNNING


async def test_each_change_of_a_machine_is_told(machine: SimulatedMachine) -> None:
    """A screen or an outlet that listens sees every state once, in order."""
    seen: list[MachineState] = []
    machine.on_change(lambda changed: seen.append(changed.state))
    machine.shut_down()
    machine.shut_down()
    await asyncio.sleep(30)
    machine.power(OFF)
    machine.power(ON)
    await asyncio.sleep(60)
    assert seen == [MachineState.STOPPING, MachineState.OFF, MachineState.BOOTING, MachineState.RUNNING]


async def test_what_was_flushed_survives_a_cut(nas: SimulatedNas) -> None:
    """A flush before the power goes saves every acknowledged write, and the file shows it."""
    await nas.flush()
    nas.machine.power(OFF)
    assert (nas.on_disk, nas.lost, nas.unflushed) == (3, 0, 0)


async def test_what_was_not_flushed_is_lost_in_a_cut(nas: SimulatedNas, tmp_path: Path) -> None:
    """Acknowledged is not written: this is the loss that the whole project is to prevent."""
    await nas.flush()
    nas.write()
    nas.machine.power(OFF)
    assert (nas.on_disk, nas.lost, nas.unflushed) == (3, 1, 0)
    assert not nas.write()
    assert (tmp_path / "export").read_text().splitlines() == ["0", "1", "2"]


async def test_a_flush_that_the_cut_interrupts_saves_nothing(nas: SimulatedNas) -> None:
    """A flush that was begun too late is no flush."""
    flushing = asyncio.create_task(nas.flush())
    await asyncio.sleep(4.9)
    nas.machine.power(OFF)
    await flushing
    assert (nas.on_disk, nas.lost) == (0, 3)


async def test_an_orderly_shutdown_of_the_nas_flushes(nas: SimulatedNas) -> None:
    """What is acknowledged up to its shutdown is on the disks when it is off."""
    nas.machine.shut_down()
    await asyncio.sleep(21)
    nas.machine.power(OFF)
    assert (nas.on_disk, nas.lost) == (3, 0)


async def test_the_writer_goes_quiet_with_the_last_client(nas: SimulatedNas, machine: SimulatedMachine) -> None:
    """Once the workers are down nobody writes any more, so that a flush then is complete."""
    writing = asyncio.create_task(nas.run_writer([machine], interval_s=1.0))
    await asyncio.sleep(10.5)
    written = nas.acknowledged
    machine.shut_down()
    await asyncio.sleep(100)
    writing.cancel()
    assert written == 3 + 11
    assert nas.acknowledged == written


async def test_a_whole_machine_s_life_over_real_ssh_takes_no_real_time(
    machine: SimulatedMachine, tmp_path: Path
) -> None:
    """Our own client and the simulated server work under virtual time, a hanging host included."""
    loop = asyncio.get_running_loop()
    key = write_client_key(tmp_path / "ssh_key")
    async with SimulatedSshServer(machine, key) as server:
        write_known_hosts(tmp_path / "known_hosts", [server])
        identity = SshIdentity(tmp_path / "ssh_key", tmp_path / "known_hosts")
        host = SshHost(SshLine("pi3", "127.0.0.1", server.port, "upsd", identity, 5.0))
        await host.run(POWEROFF_COMMAND)
        assert loop.time() == pytest.approx(0, abs=1.0)
        while await host.call_port() is PortAnswer.ACCEPTS:  # noqa: ASYNC110 - a port has no event
            await asyncio.sleep(0.1)
        assert loop.time() < 2.0
        assert machine.state is MachineState.STOPPING
        await asyncio.sleep(25)
        machine.power(OFF)
        machine.power(ON)
        await asyncio.sleep(31)
        server.hang = True
        asked_at = loop.time()
        with pytest.raises(RackError, match="did not answer within 5 s"):
            await host.run("true")
        assert loop.time() - asked_at == pytest.approx(5.0, abs=0.1)
