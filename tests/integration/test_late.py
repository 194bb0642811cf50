"""The last program that runs before the power goes, as a process of its own, against a UPS on a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.faults import UNTIL_SET_BACK, Faults
from hardware_sim.ups.profiles import CRC_MODE, IPLUG_800
from hardware_sim.ups.pty import serial_port
from hardware_sim.ups.server import let_time_pass
from upsd.late.__main__ import main
from upsd.late.hook import STAGE_S
from upsd.ups.cycle_order import FILE, CycleOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hardware_sim.ups.profiles import Profile

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-OO", "-X", "no_debug_ranges")
FLAGS = "-IOO -X no_debug_ranges -X pycache_prefix=/usr/lib/upsd/bytecode"
LINE_SPEED = 10.0
LONGEST_S = 10.5
"""The program's own limit, and what a busy machine takes to start it."""


@dataclass
class LastMoment:
    """This machine a moment before its end, the UPS, and what the daemon has left."""

    device: UpsDevice
    faults: Faults
    directory: Path
    order: CycleOrder

    def leave(self, **changes: Any) -> None:
        """Leave the order as the daemon does."""
        self.order = replace(self.order, **changes)
        (self.directory / FILE).write_text(json.dumps(asdict(self.order)), encoding="utf-8")

    async def come(self, verb: str = "poweroff") -> str:
        """Run the program; what it tells."""
        console = self.directory / "console"
        console.touch()
        process = await asyncio.create_subprocess_exec(
            *(*PYTHON, "-m", "upsd.late", verb, self.directory, console), env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        async with asyncio.timeout(LONGEST_S):
            assert await process.wait() == 0
        return console.read_bytes().decode()


@contextlib.asynccontextmanager
async def last_moment(directory: Path, profile: Profile = IPLUG_800) -> AsyncIterator[LastMoment]:
    """A UPS on a line ten times as fast as a real one; the daemon that spoke to it has ended."""
    device, faults = UpsDevice(profile, load_w=lambda: 25.0), Faults()
    async with serial_port(device, faults, LINE_SPEED) as port:
        device.advance(asyncio.get_running_loop().time())
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        order = CycleOrder(port=f"serial:{port}", baud=1200, off_after_s=180, restore_after=60, at_s=now_s - 12)
        life = asyncio.create_task(let_time_pass(device, 0.01))
        try:
            yield LastMoment(device, faults, directory, order)
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


@pytest.mark.parametrize("profile", [IPLUG_800, CRC_MODE], ids=lambda profile: profile.model)
async def test_a_ups_that_counts_down_is_left_alone(tmp_path: Path, profile: Profile) -> None:
    """The console tells for how long."""
    async with last_moment(tmp_path, profile) as last:
        last.device.shutdown_and_restore(180, 60)
        last.leave(accepted=True, shown=True)
        assert await last.come() == "upsd: the UPS counts down; the outlets go off in about 168 s\r\n"
        assert last.device.shutdown_in_s is not None
        assert last.device.shutdown_in_s > 160


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_ups_that_does_not_count_down_is_told_again(tmp_path: Path, *, accepted: bool) -> None:
    """Whether it has forgotten the command or never got it; the mains may be back, and the machines still need it."""
    async with last_moment(tmp_path) as last:
        last.leave(accepted=accepted, shown=accepted)
        assert (
            await last.come() == "upsd: the UPS did not count down, and was told again; the outlets go off in 20 s\r\n"
        )
        assert last.device.shutdown_in_s is not None
        assert STAGE_S - LONGEST_S < last.device.shutdown_in_s <= STAGE_S
        last.device.advance(asyncio.get_running_loop().time() + STAGE_S)
        assert last.device.outlets.restore_pending


async def test_a_ups_that_only_switches_off_is_told_that(tmp_path: Path) -> None:
    """As a bench test has found out about it."""
    async with last_moment(tmp_path) as last:
        last.leave(restore_after=None)
        await last.come()
        last.device.advance(asyncio.get_running_loop().time() + STAGE_S)
        assert not last.device.outlets.on
        assert not last.device.outlets.restore_pending


@pytest.mark.parametrize(
    ("shown", "says", "left_s"),
    [(False, "takes no second one", 180.0), (True, "was told again", float(STAGE_S))],
)
async def test_what_hinders_a_second_command_is_the_first_unless_it_was_seen_to_be_gone(
    tmp_path: Path, *, shown: bool, says: str, left_s: float
) -> None:
    """A unit that never shows what it counts keeps it; of one that has shown it, it is cancelled to make room."""
    async with last_moment(tmp_path) as last:
        last.device.shutdown_and_restore(180, 60)
        last.faults.override({"shutdown_active": False, "shutdown_imminent": False}, UNTIL_SET_BACK)
        last.leave(accepted=True, shown=shown)
        assert says in await last.come()
        assert last.device.shutdown_in_s is not None
        assert left_s - LONGEST_S < last.device.shutdown_in_s <= left_s


async def test_a_ups_that_says_nothing_does_not_keep_the_machine_on(tmp_path: Path) -> None:
    """Within ten seconds it is given up, with a line that says what that may mean."""
    async with last_moment(tmp_path) as last:
        last.faults.silent = True
        last.leave()
        told = await last.come()
        assert told.startswith("upsd: whether the outlets will be cycled is not known: ")
        assert told.endswith("; it has not taken the command, so they may stay off\r\n")


async def test_a_moment_of_trouble_is_no_reason_to_give_up(tmp_path: Path) -> None:
    """One reply that is damaged is asked for again."""
    async with last_moment(tmp_path) as last:
        last.faults.corrupt_replies = 1
        last.leave()
        assert "was told again" in await last.come()


@pytest.mark.parametrize(
    ("verb", "asked_s_ago"),
    [("reboot", 12.0), ("kexec", 12.0), ("", 12.0), ("poweroff", 3600.0), ("poweroff", -60.0), ("poweroff", None)],
)
def test_any_other_end_of_the_machine_is_none_of_its_business(
    tmp_path: Path, verb: str, asked_s_ago: float | None
) -> None:
    """A reboot, a power-off without an outage, or one of somebody else, long after the outage's."""
    if asked_s_ago is not None:
        at_s = time.clock_gettime(time.CLOCK_BOOTTIME) - asked_s_ago
        order = CycleOrder(port="serial:/dev/null", baud=1200, off_after_s=180, restore_after=60, at_s=at_s)
        (tmp_path / FILE).write_text(json.dumps(asdict(order)), encoding="utf-8")
    (tmp_path / "console").touch()
    main(verb, tmp_path, [tmp_path / "console"])
    assert (tmp_path / "console").read_bytes() == b""


@pytest.mark.parametrize(
    "text", ["", "[" * 5000, "{}", '{"port": "serial:/dev/../etc/shadow"}', "null", "\udcff\udcfe", '{"port": 7}']
)
def test_a_file_that_makes_no_sense_does_not_keep_the_machine_on(tmp_path: Path, text: str) -> None:
    """The daemon that writes it is less trusted than the program that reads it; without a console it says nothing."""
    (tmp_path / FILE).write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "kmsg").touch()
    main("poweroff", tmp_path, [tmp_path / "no-console", tmp_path / "kmsg"])
    said = (tmp_path / "kmsg").read_bytes().decode()
    assert said.startswith("upsd: the outlet cycle could not be looked after: ")
    main("poweroff", tmp_path, [])


@pytest.mark.parametrize(
    ("verb", "left", "begins"),
    [("poweroff", True, True), ("halt", True, True), ("reboot", True, False), ("poweroff", False, False)],
)
async def test_systemd_s_hook_begins_it_only_if_there_is_anything_to_do(
    tmp_path: Path, verb: str, *, left: bool, begins: bool
) -> None:
    """At every other power-off it costs no more than a shell; and whatever the program's exit code is, its own is 0."""
    witness, order, hook = tmp_path / "python", tmp_path / FILE, tmp_path / "upsd-late"
    witness.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/began\nexit 14\n', encoding="utf-8")
    witness.chmod(0o755)
    text = (ROOT / "systemd/upsd-late").read_text(encoding="utf-8")
    text = text.replace("/usr/lib/upsd/bin/python3", str(witness)).replace(f"/run/upsd/{FILE}", str(order))
    hook.write_text(text, encoding="utf-8")
    if left:
        order.touch()
    process = await asyncio.create_subprocess_exec("sh", hook, verb)
    assert await process.wait() == 0
    began = (tmp_path / "began").read_text(encoding="utf-8") if (tmp_path / "began").exists() else None
    assert began == (f"{FLAGS} -m upsd.late {verb}\n" if begins else None)


async def test_it_starts_without_any_of_the_daemon_s_libraries() -> None:
    """On a small machine each of them would take a second of the ten."""
    text = "import sys, upsd.late.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    process = await asyncio.create_subprocess_exec(
        *(*PYTHON, "-c", text), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    said, _ = await process.communicate()
    loaded = {name for name in said.decode().split() if not name.startswith("_")}
    # Some distributions' Python loads one of these by itself.
    assert loaded - sys.stdlib_module_names - {"sitecustomize", "usercustomize"} == {"upsd"}
