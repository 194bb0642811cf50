"""What the unit forbids and allows, tried from inside on a real kernel, and what systemd does when the daemon hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm import probe
from tests.vm.master import state_on_line
from tests.vm.rack import BOOT_S
from tests.vm.roles import MASTER

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack

REFUSED: Final = {"EPERM", "EACCES", "EROFS", "ENOENT", "EAFNOSUPPORT"}
PROBE: Final = "/run/upsd-probe"
SOURCE: Final = Path(probe.__file__).read_text(encoding="utf-8")
# The unit as it is but for what it runs; the directory in /run is the daemon's, and would go with the probe.
PROBED: Final = f"""\
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/python3 -I {PROBE}.py forbidden allowed
StandardOutput=truncate:{PROBE}.json
Restart=no
RuntimeDirectory=
WatchdogSec=0
"""


async def test_the_unit_lets_the_daemon_do_its_work_and_nothing_else(rack: VirtualRack) -> None:
    """Whatever is refused there, root outside may do: so it is the unit that refuses it, and not a typing error."""
    units = "/run/systemd/system"
    await rack.on(
        MASTER,
        f"cat >{PROBE}.py <<'END'\n{SOURCE}END\n"
        f"mkdir -p {units}/upsd-probe.service.d\n"
        f"cp /usr/lib/systemd/system/upsd.service {units}/upsd-probe.service\n"
        f"cat >{units}/upsd-probe.service.d/probe.conf <<'END'\n{PROBED}END\n"
        # sudo itself would let it.
        "echo 'upsd ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/probe\n"
        "systemctl daemon-reload && systemctl start upsd-probe",
    )
    said = await rack.on(
        MASTER,
        f"cat {PROBE}.json; echo; python3 -I {PROBE}.py forbidden; echo;"
        f"rm -r /etc/sudoers.d/probe {PROBE}.* {units}/upsd-probe.service*; systemctl daemon-reload;"
        # Root has stopped and started ssh.
        " systemctl reset-failed; systemctl start ssh; systemctl is-active ssh mnt-nas.mount upsd",
    )
    inside, outside = (json.loads(line) for line in said.splitlines()[:2])
    assert said.splitlines()[2:] == 3 * ["active"]
    assert outside["forbidden"] == dict.fromkeys(probe.FORBIDDEN, probe.DONE)
    assert inside["allowed"] == dict.fromkeys(probe.ALLOWED, probe.DONE)
    assert {name: said for name, said in inside["forbidden"].items() if not _is_refusal(said)} == {}


def _is_refusal(said: str) -> bool:
    by_polkit = "nteractive authentication required" in said or "Access denied" in said
    return said in REFUSED or by_polkit or '"no new privileges" flag is set' in said


async def test_the_daemon_has_no_rights_of_its_own_and_is_the_last_to_be_killed(rack: VirtualRack) -> None:
    """Neither root nor a capability, no way to get one, and nearly all others go first if memory runs out."""
    said = await rack.on(MASTER, f"cd /proc/{await _main_process(rack)} && cat status oom_score_adj")
    *lines, oom_score_adj = said.splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert "0" not in status["Uid"].split() + status["Gid"].split()
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert oom_score_adj == "-900"


async def test_systemd_finds_little_that_the_unit_leaves_open(rack: VirtualRack) -> None:
    """As measured by the systemd that runs it."""
    said = await rack.on(MASTER, "systemd-analyze security --no-pager upsd.service | tail -n 1")
    assert float(said.partition("upsd.service: ")[2].split()[0]) <= 1.5, said


async def test_a_daemon_that_hangs_is_killed_and_started_again_with_all_that_it_knew(rack: VirtualRack) -> None:
    """By the watchdog of systemd; it is armed as before."""
    drop_in = "/run/systemd/system/upsd.service.d/watchdog.conf"
    # The rack's own is longer, since all there is slow. It has to live long enough under it to prove that it is fed.
    await rack.on(
        MASTER,
        f"mkdir -p {Path(drop_in).parent}; printf '[Service]\\nWatchdogSec=15\\n' >{drop_in};"
        " systemctl daemon-reload; systemctl restart upsd; sleep 20; systemctl show -P NRestarts upsd | grep -x 0",
    )
    frozen = await _main_process(rack)
    await rack.on(MASTER, f"kill -STOP {frozen}")
    await rack.on(
        MASTER,
        "timeout 80 sh -c 'until journalctl -b -u upsd --grep=\"Watchdog timeout\" -q; do sleep 1; done'",
    )
    assert (await state_on_line(rack))["readiness"]["armed"]
    assert await _main_process(rack) != frozen
    assert (await rack.on(MASTER, "systemctl show -P NRestarts upsd")).strip() == "1"
    await rack.on(MASTER, f"rm {drop_in}; systemctl daemon-reload; systemctl restart upsd")
    await state_on_line(rack)


async def test_a_master_boots_without_its_ups_and_finds_it_once_it_is_plugged_in(rack: VirtualRack) -> None:
    """Nothing of the boot waits for it: upsd is ready as soon as with it."""
    with_it_s = await _start_s(rack)
    boots = len(rack.boots[MASTER])
    await rack.on(MASTER, "systemctl disable usbip-ups; (sleep 1; systemctl reboot) >/dev/null 2>&1 &")
    await rack.until(lambda: len(rack.boots[MASTER]) > boots, "the master boots again", BOOT_S)
    await rack.on(MASTER, "systemctl is-system-running --wait; systemctl is-active multi-user.target upsd")
    assert "04b4:5500" not in await rack.on(MASTER, "lsusb", check=False)
    assert await _start_s(rack) < 2 * with_it_s + 5
    assert json.loads(await rack.on(MASTER, "upsctl status --json", check=False))["state"]["power"] == "unknown"
    await rack.on(MASTER, "systemctl enable --now usbip-ups")
    assert (await state_on_line(rack))["readiness"]["armed"]


async def _main_process(rack: VirtualRack) -> str:
    return (await rack.on(MASTER, "systemctl show -P MainPID upsd")).strip()


async def _start_s(rack: VirtualRack) -> float:
    """How long upsd took at this boot until it was ready."""
    said = await rack.on(MASTER, "journalctl -b -u upsd -o short-monotonic -g '^Start(ing|ed) upsd.service'")
    starting, started = (float(line.partition("[")[2].partition("]")[0]) for line in said.splitlines()[:2])
    return started - starting
