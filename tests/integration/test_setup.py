"""`upsctl setup` on a master that has a cluster, a UPS and nothing else: the real daemon, sshd, kubectl and files."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import asyncssh
import pytest

from hardware_sim.kubernetes.rbac import Rights, Rule
from tests.integration.kubectl import installed_kubectl
from tests.integration.masters import new_master
from tests.integration.overlays import inside
from tests.integration.sshd import HOST, OpenSshServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.masters import Master

_SETTINGS = "/etc/upsd/upsd.toml"
_ANSWERS = "/etc/upsd/setup-answers.toml"
_NOWHERE = "install_system_files = false\nstart_service = false\n[workers.pi3]\nleft_out = true\n"
"""Answers for a master on which only the settings are of interest."""


async def test_a_rack_is_set_up_and_the_next_run_changes_nothing(tmp_path: Path) -> None:
    """From nothing to a rehearsal in which all is proven, never armed; then one answer changes, and only that."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    administrator = tmp_path / "administrator"
    administrator.touch(mode=0o600)
    administrator.write_bytes(key.export_private_key())
    for name in ("sshd", "worker"):
        (tmp_path / name).mkdir()
    keys = f"{tmp_path / 'sshd' / 'authorized_keys'} .ssh/authorized_keys"
    async with (
        new_master(tmp_path, ["pi4-a"]) as master,
        OpenSshServer(tmp_path / "sshd", key, inside=inside(tmp_path / "worker"), AuthorizedKeysFile=keys) as worker,
    ):
        answers = (
            f'administrator = "root"\n[workers.pi4-a]\nhost = "{HOST}"\nport = {worker.port}\n'
            f'identity = "{administrator}"\nfingerprint = "{worker.host_key.get_fingerprint()}"\nwatts = 7\n'
        )
        master.answers.write_text(answers)
        result = await master.upsctl("setup", "--yes", "--answers", str(master.answers))
        assert (result.code, result.err) == (0, ""), result.out
        assert "found: USV5, 800 VA at usb:1-4" in result.out
        assert "found: servers: k3s-master; agents: pi4-a" in result.out
        assert "all 9 steps are proven; nothing was changed" in result.out
        assert "let an outage start the shutdown: upsctl arm. Until then upsd only watches" in result.out
        assert "NOT ARMED" in (await master.upsctl("status")).out
        await _belongs_to_the_daemon(master)
        await _has_only_its_rights(master, tmp_path)

        before, commands = dict(_files(master)), _systemctl(master)
        result = await master.upsctl("setup", "--yes")
        assert (result.code, result.err) == (0, ""), result.out
        assert result.out.count("  nothing to do: ") == 5
        assert "every step is proven, and nothing was changed" in result.out
        assert dict(_files(master)) == before
        assert _systemctl(master) == [*commands, "is-enabled --quiet upsd.service"]

        master.answers.write_text(f"rehearse = false\n{answers}".replace("watts = 7", "watts = 9"))
        result = await master.upsctl("setup", "--yes", "--answers", str(master.answers))
        assert (result.code, result.err) == (0, ""), result.out
        assert "  -watts = 7\n  +watts = 9\n" in result.out
        assert _systemctl(master)[-1] == "restart upsd.service"
        after = dict(_files(master))
        changed = {path for path in after if after[path] != before.get(path)}
        (kept,) = changed - {_SETTINGS, _ANSWERS}
        assert after[kept][1] == before[_SETTINGS][1]


async def _belongs_to_the_daemon(master: Master) -> None:
    """What it reads is root's, and readable to its group, who may look; but for what lets one act in its name."""
    user, group = (
        next(int(line.split(":")[2]) for line in master.file(file).read_text().splitlines() if line.startswith("upsd:"))
        for file in ("/etc/passwd", "/etc/group")
    )
    for name in (_SETTINGS, _ANSWERS, "/etc/upsd/kubeconfig"):
        found = master.file(name).stat()
        expected = (0o600, user, group) if name == "/etc/upsd/kubeconfig" else (0o640, 0, group)
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == expected, name
    units = master.file("/etc/systemd/system")
    assert {path.name for path in units.glob("upsd*")} == {
        "upsd.service",
        "upsd-detach@.service",
        "upsd-snapshot@.service",
    }


async def _has_only_its_rights(master: Master, directory: Path) -> None:
    """As kubectl sees it, with the administrator's kubeconfig and with ours."""
    kubectl = installed_kubectl(directory / "kubectl")
    code, said = await kubectl.run(master.api, "get", "clusterrolebinding", "upsd", "--output", "json")
    assert (code, json.loads(said)["subjects"][0]["name"]) == (0, "upsd"), said
    ours = f"--kubeconfig={master.file('/etc/upsd/kubeconfig')}"
    for question, answer in (
        ("create pods --subresource=eviction", "yes"),
        ("delete nodes", "no"),
        ("get secrets", "no"),
    ):
        _, said = await kubectl.run(master.api, "auth", "can-i", *question.split(), "--all-namespaces", ours)
        assert said.splitlines()[-1] == answer, question


async def test_what_fails_is_named_and_stops_nothing_else(tmp_path: Path) -> None:
    """No UPS, no right to grant rights, a worker that is off, a new NAS: the settings are there, all is told."""
    (tmp_path / "sshd").mkdir()
    async with (
        new_master(tmp_path, ["pi3"], plugged=False) as master,
        OpenSshServer(tmp_path / "sshd", asyncssh.generate_private_key("ssh-ed25519")) as nas,
    ):
        reads = Rule(frozenset([""]), frozenset(["nodes"]), frozenset(["list"]))
        master.api.rights = Rights("alice", (reads,))
        master.answers.write_text(
            "install_system_files = false\nstart_service = false\naccept_new_host_keys = true\n"
            f'[ups]\ngo_on_without = true\n[workers.pi3]\nhost = "{HOST}"\nport = 1\n'
            f'[nas]\nmount = "/mnt/nas"\nhost = "{HOST}"\nport = {nas.port}\n'
        )
        master.file("/etc/upsd").mkdir()
        master.file("/var/lib/upsd").mkdir()
        result = await master.upsctl("setup", "--yes", "--answers", str(master.answers))
        assert master.file("/etc/upsd/known_hosts").read_text().split() == nas.known_hosts_line.split()
    said = " ".join(result.out.split())
    assert result.code == 1
    assert "left out: going on without it, as you wish: usb: no UPS is plugged in; check its cable" in said
    assert "done: wrote /etc/upsd/upsd.toml" in said
    assert "403 Forbidden to apply the Namespace upsd: /etc/rancher/k3s/k3s.yaml is not the administrator's" in said
    assert "failed: not enrolled: pi3" in said
    assert "- pi3 is not enrolled: mend what is said above, then `upsctl enroll pi3`" in said
    assert "- start upsd: systemctl enable --now upsd.service" in said
    assert f"{HOST} shows no host key on port 1" in result.err
    assert '.ssh/authorized_keys of upsd: restrict,command="/usr/local/bin/upsd-nas" ssh-ed25519 ' in said


async def test_settings_are_changed_only_with_consent_and_never_lost(tmp_path: Path) -> None:
    """Hand-written ones stay, wrong answers and a full disk leave what was there, and with consent a copy is kept."""
    async with new_master(tmp_path, ["pi3"]) as master:
        settings = master.file(_SETTINGS)
        full = ["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", "/etc/upsd"]
        await _run(master, "mkdir", "-p", "/etc/upsd", "/var/lib/upsd")
        await _run(master, *full)
        by_hand = '[master]\nname = "k3s-master"\nwatts = 1\n'
        settings.write_text(by_hand)

        async def setup(answers: str) -> tuple[int | None, str]:
            master.answers.write_text(answers + _NOWHERE)
            result = await master.upsctl("setup", "--yes", "--answers", str(master.answers))
            return result.code, " ".join((result.out + result.err).split())

        code, said = await setup("")
        assert (code, settings.read_text()) == (0, by_hand), said
        assert f"nothing to do: {_SETTINGS} stays as it is, as you wish; it is valid" in said

        code, said = await setup("rehearse = 'x'\n")
        assert (code, settings.read_text()) == (1, by_hand)
        assert "answers.toml: rehearse: must be yes or no" in said

        ballast = master.file("/etc/upsd/ballast")
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(65536))
        code, said = await setup("replace_settings = true\n")
        assert (code, settings.read_text()) == (1, by_hand), said
        assert "can't be written (No space left on device); what was there is untouched" in said
        assert sorted(path.name for path in settings.parent.iterdir()) == ["ballast", "setup-answers.toml", "upsd.toml"]

        ballast.unlink()
        code, said = await setup("replace_settings = true\n")
        assert code == 0, said
        kept = [path for path in settings.parent.glob("upsd.toml.*") if path.read_text() == by_hand]
        assert len(kept) == 1
        assert 'name = "k3s-master"\nwatts = 30\n' in settings.read_text()


async def test_a_person_is_asked_may_err_stop_and_go_on(tmp_path: Path) -> None:
    """A wrong answer is asked for again, Ctrl-C leaves no settings, and the answers are the next defaults."""
    async with new_master(tmp_path, ["pi3"]) as master:
        master.answers.write_text(_NOWHERE)
        await _run(master, "mkdir", "-p", "/etc/upsd", "/var/lib/upsd")
        async with master.terminal("setup", "--answers", str(master.answers)) as person:
            await person.shows(r"What does this machine draw .*\n.*\n  \[30\] > $")
            person.types("much")
            await person.shows(r"That must be a number, not text; for example watts = 25\.\n  \[30\] > $")
            person.types("22")
            await person.shows(r"pi3 +192\.168\.10\.11 +agent +left alone")
            await person.shows(r"Are these right\?.* \[yes\] $")
            person.types("")
            await person.shows(r"Where is the NAS mounted here\?\n.*\n  .*> $")
            person.interrupts()
            assert await person.ends() == 130
            assert "Go on with: upsctl setup; your answers so far are its defaults then." in person.seen
        assert not master.file(_SETTINGS).exists()
        async with master.terminal("setup", "--answers", str(master.answers)) as person:
            await person.shows(r"What does this machine draw .*\n.*\n  \[22\] > $")


async def test_nobody_is_asked_without_a_terminal(tmp_path: Path) -> None:
    """And what has no answer is named with its key."""
    async with new_master(tmp_path, [], plugged=False) as master:
        result = await master.upsctl("setup")
        assert result.code == 1
        assert "nobody can be asked here; at a terminal, or as: upsctl setup --yes --answers FILE" in result.err
        master.answers.write_text(
            'install_system_files = false\n[ups]\ngo_on_without = true\n[cluster]\nkubeconfig = "none"\n'
        )
        result = await master.upsctl("setup", "--yes", "--answers", str(master.answers))
        assert result.code == 1
        assert "master.watts is missing in the answers: What does this machine draw under load" in result.err
        assert not master.file(_SETTINGS).exists()
        assert "[workers.pi4-a]" in (await master.upsctl("setup", "--print-answers")).out


async def _run(master: Master, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*master.command(*command))
    assert await process.wait() == 0


def _files(master: Master) -> Iterator[tuple[str, tuple[int, str]]]:
    """Everything that setup writes: when it was written, and what."""
    for directory in ("/etc/upsd", "/etc/systemd/system", "/etc/sysusers.d", "/etc/udev/rules.d"):
        for path in master.file(directory).rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield f"{directory}/{path.name}", (path.stat().st_mtime_ns, path.read_text(errors="replace"))


def _systemctl(master: Master) -> list[str]:
    return (master.directory / "systemctl.log").read_text().splitlines()
