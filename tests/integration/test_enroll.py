"""`upsctl enroll` against a real sshd, with the real useradd, visudo and sudo.

The sshd runs in a mount namespace of its own, in which whatever is written to the system's directories goes into a
scratch directory: so the tests are root there, and leave nothing behind. Only the helper's checks run, and no
power-off.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh
import pytest

from tests.integration.overlays import inside as namespace
from tests.integration.overlays import need_overlays
from tests.integration.sshd import HOST, OpenSshServer
from upsd.ctl import openssh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PROGRAMS = ("ssh", "ssh-keyscan", "useradd", "visudo", "sudo")


@dataclass(frozen=True)
class Enrolment:
    """A master's files and a machine that nobody has enrolled yet."""

    directory: Path
    server: OpenSshServer
    administrator: Path

    @property
    def key_file(self) -> Path:
        """Our key, once it is made."""
        return self.directory / "state" / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """Which host keys we trust."""
        return self.directory / "known_hosts"

    @property
    def fingerprint(self) -> str:
        """Of the machine's host key."""
        return self.server.host_key.get_fingerprint()

    async def upsctl(self, *words: str, typed: bytes = b"") -> tuple[int, str, str]:
        """Run `upsctl enroll` for the machine, at a terminal if something is typed; its exit code and what it says."""
        keyboard, terminal = os.openpty()
        os.write(keyboard, typed)
        try:
            return await self._upsctl(*words, stdin=terminal if typed else asyncio.subprocess.DEVNULL)
        finally:
            os.close(terminal)
            os.close(keyboard)

    async def _upsctl(self, *words: str, stdin: int) -> tuple[int, str, str]:
        settings = self.directory / "upsd.toml"
        settings.write_text(
            f'[master]\nname = "m"\nwatts = 1\n[ssh]\nkey_file = "{self.key_file}"\n'
            f'known_hosts_file = "{self.known_hosts}"\n'
        )
        place = [HOST, "--port", str(self.server.port), "--config", str(settings)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "upsd.ctl.main", "enroll", *place, "--identity", str(self.administrator), *words),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(), complained.decode()


@pytest.fixture
async def enrolment(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Enrolment]:
    """A machine whose administrator is root, with a key of that person's; the parameter is run there before."""
    need_overlays(tmp_path / "tried", *_PROGRAMS)
    key = asyncssh.generate_private_key("ssh-ed25519")
    administrator = tmp_path / "administrator"
    administrator.touch(mode=0o600)
    administrator.write_bytes(key.export_private_key())
    for name in ("sshd", "scratch", "state"):
        (tmp_path / name).mkdir()
    keys = f"{tmp_path / 'sshd' / 'authorized_keys'} .ssh/authorized_keys"
    inside = [*namespace(tmp_path / "scratch"), "sh", "-ec", f'{getattr(request, "param", ":")}; exec "$@"', "sh"]
    async with OpenSshServer(tmp_path / "sshd", key, inside=inside, AuthorizedKeysFile=keys) as server:
        yield Enrolment(tmp_path, server, administrator)


async def test_a_worker_is_enrolled_and_proven_once_and_again(enrolment: Enrolment) -> None:
    """From nothing to a proof by the real sudo, with a key that can do four things; then nothing is left to do."""
    status, said, complained = await enrolment.upsctl("--fingerprint", enrolment.fingerprint)
    assert (status, complained) == (0, "")
    assert said.splitlines()[:8] == [
        f"The key {enrolment.key_file} was made.",
        f"{HOST} shows the host key {enrolment.fingerprint} (ssh-ed25519).",
        f"It is pinned in {enrolment.known_hosts}.",
        f"Logging in to {HOST} as root.",
        "upsd: made the user upsd",
        "upsd: wrote /usr/local/sbin/upsd-worker",
        "upsd: wrote /etc/sudoers.d/upsd",
        "upsd: wrote /var/lib/upsd/.ssh/authorized_keys",
    ]
    assert "Proven with the new key: upsd-worker: may power this machine off; k3s is " in said
    assert f'name = "{os.uname().nodename}"\nhost = "{HOST}"\nwatts = 7\nport = {enrolment.server.port}\n' in said
    assert "rehearse_command" not in said
    assert enrolment.key_file.stat().st_mode & 0o777 == 0o600

    status, said, _ = await enrolment.upsctl()
    assert status == 0
    assert f"{HOST} was enrolled before; nothing was changed." in said
    assert "wrote" not in said


@pytest.mark.parametrize(
    "enrolment",
    [
        "sed -i '/^HOME_MODE/d' /etc/login.defs; echo 'HOME_MODE 0700' >>/etc/login.defs",
        "useradd --system --home-dir /var/lib/upsd --shell /bin/sh --password '*' upsd; mkdir -m 0700 /var/lib/upsd",
    ],
    indirect=True,
    ids=["a new user", "a user of an earlier try"],
)
async def test_a_distribution_that_closes_new_homes_does_not_lock_the_key_out(enrolment: Enrolment) -> None:
    """As Debian 13 does."""
    status, said, complained = await enrolment.upsctl("--fingerprint", enrolment.fingerprint)
    assert (status, complained) == (0, "")
    assert "upsd: opened /var/lib/upsd to upsd\n" in said
    assert "Proven with the new key: " in said


async def test_the_key_is_good_for_nothing_else(enrolment: Enrolment) -> None:
    """Neither for a shell nor for a tunnel, and its user can't change that."""
    assert (await enrolment.upsctl("--yes"))[0] == 0
    known_hosts, key = str(enrolment.known_hosts), str(enrolment.key_file)
    async with asyncssh.connect(
        HOST, enrolment.server.port, username="upsd", client_keys=[key], known_hosts=known_hosts, config=None
    ) as line:
        refused = await line.run("id; cat /etc/shadow")
        assert refused.exit_status == 1
        assert "upsd-worker: not allowed: id; cat /etc/shadow" in str(refused.stderr)
        assert str((await line.run("status")).stdout).startswith("version=1\n")
        with pytest.raises(asyncssh.ChannelListenError):
            await line.forward_remote_port("", 1, HOST, 1)
        with pytest.raises(asyncssh.ChannelOpenError):
            await line.open_connection(HOST, enrolment.server.port)


async def test_an_sshd_that_does_not_name_the_helper_needs_one_more_line(enrolment: Enrolment, tmp_path: Path) -> None:
    """One that forbids forwarding to everybody; a rehearsal could not tell the helper from a bare power-off."""
    await enrolment.server.stop()
    (tmp_path / "strict").mkdir()
    keys = f"{tmp_path / 'strict' / 'authorized_keys'} .ssh/authorized_keys"
    administrator = asyncssh.read_private_key(enrolment.administrator)
    (tmp_path / "scratch2").mkdir()
    inside = namespace(tmp_path / "scratch2")
    async with OpenSshServer(
        tmp_path / "strict", administrator, inside=inside, AuthorizedKeysFile=keys, AllowTcpForwarding="no"
    ) as strict:
        status, said, _ = await Enrolment(tmp_path, strict, enrolment.administrator).upsctl("--yes")
    assert status == 0
    assert 'rehearse_command = "check"' in said


async def test_another_fingerprint_is_not_trusted(enrolment: Enrolment) -> None:
    """Nobody logs in there."""
    status, _, complained = await enrolment.upsctl("--fingerprint", "SHA256:other")
    assert status == 1
    assert f"{HOST} shows {enrolment.fingerprint}, not SHA256:other; nothing is trusted" in complained
    assert not enrolment.known_hosts.exists()
    assert not any("Accepted" in line for line in enrolment.server.log)


async def test_nobody_is_trusted_unasked(enrolment: Enrolment) -> None:
    """Where there is no terminal, one of the options has to say so."""
    status, _, complained = await enrolment.upsctl()
    assert status == 1
    assert "nobody can be asked here: say --fingerprint SHA256:..., or --yes" in complained
    assert not enrolment.known_hosts.exists()


async def test_a_person_is_asked(enrolment: Enrolment) -> None:
    """Whatever is not a yes trusts nobody."""
    status, said, complained = await enrolment.upsctl(typed=b"\n")
    assert status == 1
    assert f"{enrolment.fingerprint} (ssh-ed25519)" in said
    assert "nothing is trusted, and nothing was changed there" in complained
    assert not enrolment.known_hosts.exists()
    status, said, _ = await enrolment.upsctl(typed=b"y\n")
    assert status == 0
    assert "Proven with the new key" in said


async def test_a_changed_host_key_is_never_replaced(enrolment: Enrolment) -> None:
    """Not even with --yes: who reinstalled the machine removes the old one."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    line = f"[{HOST}]:{enrolment.server.port} {other}"
    enrolment.known_hosts.write_text(line)
    status, _, complained = await enrolment.upsctl("--yes")
    assert status == 1
    assert f"the host key of {HOST} is another one than {enrolment.known_hosts} has" in complained
    assert enrolment.known_hosts.read_text() == line


async def test_an_administrator_who_is_not_let_in_changes_nothing(enrolment: Enrolment) -> None:
    """The error says what else to try."""
    status, _, complained = await enrolment.upsctl("--yes", "--as", "nobody")
    assert status == 1
    assert f"logging in to {HOST} as nobody, or the installation there, failed" in complained


async def test_what_is_printed_is_what_would_be_run(enrolment: Enrolment, tmp_path: Path) -> None:
    """It needs the key, changes nothing, and does the same when it is pasted."""
    status, _, complained = await enrolment.upsctl("--print")
    assert status == 1
    assert "run upsctl enroll as root, without --print" in complained
    openssh.make_key(enrolment.key_file)
    status, script, _ = await enrolment.upsctl("--print")
    assert status == 0
    assert not enrolment.known_hosts.exists()
    (tmp_path / "pasted").mkdir()
    pasted = await asyncio.create_subprocess_exec(
        *namespace(tmp_path / "pasted"),
        *("sh", "-c", f"{script}\ncat /var/lib/upsd/.ssh/authorized_keys"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained_of = await pasted.communicate()
    assert complained_of == b""
    assert b'restrict,permitlisten="1",command="/usr/local/sbin/upsd-worker" ssh-ed25519 ' in said


async def test_wrong_settings_are_told(tmp_path: Path) -> None:
    """It goes by the daemon's own paths, and by no others."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "upsd.ctl.main", "enroll", HOST, "--config", str(tmp_path / "none.toml")),
        stderr=asyncio.subprocess.PIPE,
    )
    _, complained = await process.communicate()
    assert process.returncode == 78
    assert b"none.toml" in complained
