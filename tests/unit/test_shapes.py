"""What the settings say of recovery and shedding reaches the plan, the decisions and the machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.settings_files import RACK, load
from upsd import adapters, shapes
from upsd.rack.wake import WakeOnLan
from upsd.shutdown.floor import AMPLE
from upsd.shutdown.plan import RecoveryShape
from upsd.shutdown.shedding import ShedGroup

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.settings import Settings
    from upsd.shutdown.steps import Rack

TEXT = (
    RACK.replace("[kubernetes]", 'mac = "DC-A6-32-01-02-03"\n[kubernetes]')
    + """
[recovery]
battery_limit = "2h"
boot_expected = "90s"
boot_limit = "4min"
workloads_limit = "3min"
wake_address = "192.168.7.255"
[[shedding]]
name = "extras"
workers = ["pi4-b"]
runtime = "15min"
"""
)


class NoOutlets:
    """Outlets that nobody switches."""

    async def cycle(self, off_after_s: int, restore_after_min: int) -> bool:
        """Refuse."""
        raise NotImplementedError

    async def check_cycle(self) -> str:
        """Refuse."""
        raise NotImplementedError


def settings(tmp_path: Path) -> Settings:
    """A rack with one worker that can be woken, and is shed."""
    return load(tmp_path / "upsd.toml", TEXT)


def test_the_plan_knows_who_can_be_woken_and_how_long_a_recovery_waits(tmp_path: Path) -> None:
    """The settings' own words, in seconds."""
    shape = shapes.rack_shape(settings(tmp_path))
    assert {worker.name: worker.wakes for worker in shape.workers} == {"pi4-a": False, "pi4-b": True}
    assert shape.recovery == RecoveryShape(boot_s=90, boot_limit_s=240, battery_limit_s=7200, workloads_limit_s=180)


def test_the_plan_knows_which_workers_are_servers(tmp_path: Path) -> None:
    """Only those whose role says so."""
    text = TEXT.replace('name = "pi4-a"\n', 'name = "pi4-a"\nrole = "server"\n')
    shape = shapes.rack_shape(load(tmp_path / "upsd.toml", text))
    assert {worker.name: worker.server for worker in shape.workers} == {"pi4-a": True, "pi4-b": False}


def test_the_decisions_know_the_groups(tmp_path: Path) -> None:
    """Each with its own conditions."""
    rules = shapes.supervisor_rules(settings(tmp_path))
    assert rules.shedding == (ShedGroup(name="extras", workers=("pi4-b",), runtime_s=900),)


def rack_of(found: Settings) -> Rack:
    """The parts that the steps act on."""
    return adapters.rack(
        found,
        emit=lambda _: None,
        outlets=NoOutlets(),
        cluster=None,
        hosts=adapters.ssh_hosts(found, adapters.ssh_identity(found)),
        battery=lambda: AMPLE,
        load=lambda: None,
    )


def test_the_steps_know_the_servers_without_which_no_api_is_asked(tmp_path: Path) -> None:
    """Those of the plan."""
    text = TEXT.replace('name = "pi4-a"\n', 'name = "pi4-a"\nrole = "server"\n')
    assert rack_of(load(tmp_path / "upsd.toml", text)).servers == {"pi4-a"}


def test_only_a_machine_with_a_mac_is_woken_and_by_way_of_its_network(tmp_path: Path) -> None:
    """To the address that the settings name."""
    found = settings(tmp_path)
    rack = rack_of(found)
    assert {name: machine.waker for name, machine in rack.machines.items()} == {
        "pi4-a": None,
        "pi4-b": WakeOnLan("dc:a6:32:01:02:03", "192.168.7.255"),
    }
    assert rack.watts == {machine.name: machine.watts for machine in found.machines}
