"""`upsctl setup` on a master with a systemd, a udev, a cluster, workers and a NAS of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from hardware_sim.rack import WATTS
from tests.vm.master import prove_and_arm, state_on_line
from tests.vm.network import HERE, address
from tests.vm.roles import MASTER, NAS, NUMBERS, WORKERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.vm.rack import VirtualRack

ADMINISTRATOR: Final = "/root/administrator"
ANSWERS: Final = "/root/answers.toml"
ADMIN_KUBECONFIG: Final = "/etc/rancher/k3s/k3s.yaml"
CONFFILE: Final = Path(__file__).parents[2] / "config/debian/upsd.toml"
KEPT: Final = ("/etc/upsd", "/var/lib/upsd")
FORGET: Final = "userdel upsd; rm -rf /var/lib/upsd /etc/sudoers.d/upsd /usr/local/sbin/upsd-worker"
HEAD: Final = f"""\
administrator = "root"
[cluster]
kubeconfig = "{ADMIN_KUBECONFIG}"
[master]
watts = {WATTS[MASTER]}
[loads]
watts = {WATTS["switch"]}
[mqtt]
host = "{HERE}"
[nas]
mount = "/mnt/nas"
watts = {WATTS[NAS]}
"""


@pytest.fixture
async def unset(rack: VirtualRack) -> AsyncIterator[VirtualRack]:
    """A rack on which nothing is set up but the key that the NAS was told; afterwards it is as before."""
    keeps = "; ".join(f"cp -a {place} {place}.kept" for place in KEPT)
    await rack.on(
        MASTER,
        f"systemctl disable --now upsd; {keeps}; rm -r /etc/upsd/*"
        " && find /var/lib/upsd -mindepth 1 ! -name ssh_key -delete"
        f" && cat >/etc/upsd/upsd.toml <<'END'\n{CONFFILE.read_text()}END\n"
        "systemd-tmpfiles --create upsd.conf",
    )
    for worker in WORKERS:
        await rack.on(worker, FORGET, check=False)
    yield rack
    rack.kubernetes.rights = rack.rights
    # The workers keep their new files, which are the old ones.
    gives_back = "; ".join(f"rm -rf {place}; mv {place}.kept {place}" for place in KEPT)
    await rack.on(MASTER, f"systemctl stop upsd; {gives_back}; systemctl enable --now upsd")
    await state_on_line(rack)
    await prove_and_arm(rack)


async def test_setup_ends_with_a_shutdown_that_is_proven(unset: VirtualRack) -> None:
    """From the package as it was installed: real keys to real workers, the real unit, and the real mount of the NAS."""
    rack = unset
    answers = HEAD + await _place(rack, NAS)
    for worker in WORKERS:
        answers += f'[workers.{worker}]\nwatts = {WATTS[worker]}\nidentity = "{ADMINISTRATOR}"\n'
        answers += await _place(rack, worker)
    rack.kubernetes.rights = None  # the token is the administrator's now
    kubeconfig = rack.directory / "admin-kubeconfig"
    rack.kubernetes.write_kubeconfig(kubeconfig)
    files = {
        ANSWERS: answers,
        ADMIN_KUBECONFIG: kubeconfig.read_text(),
        ADMINISTRATOR: rack.machines[MASTER].image.key.read_text(),
    }
    for name, text in files.items():
        place = Path(name)
        await rack.on(MASTER, f"umask 077; mkdir -p {place.parent}; cat >{place} <<'END'\n{text.rstrip()}\nEND")
    said = await rack.on(MASTER, f"upsctl setup --yes --answers {ANSWERS}", within_s=600)
    assert f"enrolled and proven: {', '.join(sorted(WORKERS))}" in " ".join(said.split())
    assert re.search(r"all \d+ steps are proven; nothing was changed", said), said
    assert "let an outage start the shutdown: upsctl arm" in said
    assert (await rack.on(MASTER, "systemctl is-enabled upsd && systemctl is-active upsd")).split() == [
        "enabled",
        "active",
    ]
    assert not (await state_on_line(rack))["readiness"]["armed"]


async def _place(rack: VirtualRack, machine: str) -> str:
    """Its address and the fingerprint of its host key, as answers."""
    said = await rack.on(machine, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    return f'host = "{address(NUMBERS[machine])}"\nfingerprint = "{said.split()[1]}"\n'
