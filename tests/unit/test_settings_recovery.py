"""What a person may count on who says how the rack is brought back, and who goes off early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.settings_files import RACK, load, problems
from upsd.settings_advice import advise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the settings file is."""
    return tmp_path / "upsd.toml"


@pytest.mark.parametrize("written", ["DC:A6:32:01:02:03", "dc-a6-32-01-02-03", "dca6.3201.0203", "dca632010203"])
def test_a_mac_address_is_taken_as_people_write_it(path: Path, written: str) -> None:
    """Tools print it in many ways; it is one machine."""
    settings = load(path, RACK.replace("[kubernetes]", f'mac = "{written}"\n[kubernetes]'))
    assert settings.workers[1].mac == "dc:a6:32:01:02:03"
    assert settings.workers[0].mac is None


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("dc:a6:32:01:02", "is no MAC address; write it like dc:a6:32:01:02:03"),
        ("dc:a6:32:01:02:0g", "is no MAC address; write it like dc:a6:32:01:02:03"),
        ("ff:ff:ff:ff:ff:ff", "is the MAC address of no machine; `ip link` on it shows its own, after link/ether"),
        ("00:00:00:00:00:00", "is the MAC address of no machine; `ip link` on it shows its own, after link/ether"),
    ],
)
def test_a_mac_address_that_wakes_nobody_is_refused(path: Path, written: str, why: str) -> None:
    """A machine would stay off, and nobody would know why."""
    (problem,) = problems(path, RACK.replace("[kubernetes]", f'mac = "{written}"\n[kubernetes]'))
    assert problem.endswith(why)


def test_a_nas_that_is_not_powered_off_is_not_woken(path: Path) -> None:
    """Its mac would promise something that never happens."""
    nas = '[nas]\nmount = "/mnt/nas"\nwatts = 18\nhost = "192.168.7.20"\nmac = "dc:a6:32:01:02:14"\n'
    (problem,) = problems(path, RACK + nas)
    assert "add poweroff_command" in problem
    assert load(path, RACK + nas + 'poweroff_command = "poweroff"\n').nas


def test_wake_on_lan_goes_to_an_address_and_not_to_a_name(path: Path) -> None:
    """In an outage there may be no name server."""
    (problem,) = problems(path, RACK + '[recovery]\nwake_address = "lan.example"\n')
    assert problem.endswith("is no IPv4 address; write one like 192.168.7.255")


SHEDDING = '[[shedding]]\nname = "extras"\nworkers = ["pi4-a"]\n'


def test_a_group_is_shed_for_one_reason_or_two(path: Path) -> None:
    """Either will do."""
    settings = load(path, RACK + SHEDDING + 'on_battery = "2min"\nruntime = "15min"\n')
    (group,) = settings.shedding
    assert (group.name, group.workers, group.on_battery, group.runtime) == ("extras", ["pi4-a"], 120, 900)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SHEDDING, "set one of them, or the group never goes off"),
        (SHEDDING.replace("pi4-a", "pi9") + "runtime = 900\n", '"pi9" in group extras is no worker'),
        (SHEDDING.replace('["pi4-a"]', "[]") + "runtime = 900\n", "workers"),
        (
            f"{SHEDDING}runtime = 900\n{SHEDDING.replace('extras', 'more')}runtime = 600\n",
            '"pi4-a" is in the groups extras and more; keep one of them',
        ),
        (
            f"{SHEDDING}runtime = 900\n{SHEDDING.replace('pi4-a', 'pi4-b')}runtime = 600\n",
            "two groups have the same name",
        ),
    ],
)
def test_a_group_that_could_never_be_shed_as_meant_is_refused(path: Path, text: str, why: str) -> None:
    """A person learns it now, and not in the outage."""
    assert any(why in problem for problem in problems(path, RACK + text))


SERVERS = RACK.replace("watts = 7", 'watts = 7\nrole = "server"')


def test_no_more_servers_are_shed_than_the_quorum_can_spare(path: Path) -> None:
    """In all groups together, since all may be off at once; of two there is none to spare."""
    one = SHEDDING + "runtime = 900\n"
    both = one + one.replace("extras", "more").replace("pi4-a", "pi4-b")
    assert load(path, SERVERS + one).servers == 3
    (problem,) = problems(path, SERVERS + both)
    assert problem.endswith(
        "pi4-a, pi4-b: of 3 k3s servers (with the master) 2 must stay on, or there is no API; take 1 of them out of the"
        " groups"
    )
    two = RACK.replace("watts = 7", 'watts = 7\nrole = "server"', 1)
    assert any("of 2 k3s servers (with the master) 2 must stay on" in problem for problem in problems(path, two + one))
    assert load(path, two + one.replace("pi4-a", "pi4-b")).servers == 2


def test_a_worker_that_can_be_shed_but_not_woken_is_warned_of(path: Path) -> None:
    """It would stay off after every short outage."""
    settings = load(path, RACK + SHEDDING + "runtime = 900\n")
    assert any("pi4-a can be shed but not woken" in advice for advice in advise(settings))
    woken = RACK.replace("watts = 7\n[[workers]]", 'watts = 7\nmac = "dc:a6:32:01:02:03"\n[[workers]]')
    assert not any("woken" in advice for advice in advise(load(path, woken + SHEDDING + "runtime = 900\n")))


def test_a_flicker_sheds_nobody_unless_somebody_wants_it(path: Path) -> None:
    """It is warned of."""
    settings = load(path, RACK + SHEDDING + "on_battery = 1\n")
    assert any("a flicker can power it off" in advice for advice in advise(settings))
