"""What the unit forbids and allows, tried from inside on a real kernel, and what systemd does when the daemon hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm import probe
from tests.vm.master import state_on_line
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
    """By the watchdog of systemd, which it has kept content so far; it is armed as before."""
    before = await state_on_line(rack)
    frozen, starts = await _main_process(rack), await _starts(rack)
    await rack.on(MASTER, f"kill -STOP {frozen}")
    await rack.on(
        MASTER, "timeout 170 sh -c 'until journalctl -b -u upsd --grep=\"Watchdog timeout\" -q; do sleep 1; done'"
    )
    assert before["readiness"]["armed"]
    assert (await state_on_line(rack))["readiness"]["armed"]
    assert await _main_process(rack) != frozen
    assert await _starts(rack) == starts + 1


async def _main_process(rack: VirtualRack) -> str:
    return (await rack.on(MASTER, "systemctl show -P MainPID upsd")).strip()


async def _starts(rack: VirtualRack) -> int:
    """How often systemd has started it again at this boot."""
    return int(await rack.on(MASTER, "systemctl show -P NRestarts upsd"))
