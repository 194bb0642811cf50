"""Keys and host keys that root makes for the daemon, which is another user."""

from __future__ import annotations

import os
from pwd import getpwnam
from typing import TYPE_CHECKING

import pytest

from upsd.ctl import openssh
from upsd.ctl.openssh import HostKey, OpenSshError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST_KEY = HostKey("pi4-a ssh-ed25519 AAAA", "ssh-ed25519", "SHA256:x")


@pytest.fixture
def somebody(tmp_path: Path) -> Iterator[Path]:
    """A directory of another user, who may have put anything there."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a key for somebody else")
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o711)
    directory = tmp_path / "state"
    directory.mkdir()
    user = getpwnam("nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)
    yield directory
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o700)


def test_a_key_belongs_to_the_directory_s_owner(somebody: Path) -> None:
    """Who can read it, and nobody else."""
    assert openssh.make_key(somebody / "ssh_key")
    assert not openssh.make_key(somebody / "ssh_key")
    for file, mode in (("ssh_key", 0o600), ("ssh_key.pub", 0o644)):
        found = (somebody / file).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (getpwnam("nobody").pw_uid, mode)


@pytest.mark.parametrize("name", ["ssh_key", "ssh_key.pub"])
def test_a_link_that_its_owner_has_put_there_makes_nothing_his(somebody: Path, tmp_path: Path, name: str) -> None:
    """A daemon that was taken over must not become root by asking for a new key."""
    roots = tmp_path / "shadow"
    if name == "ssh_key.pub":
        roots.write_text("secret")
        roots.chmod(0o600)
    (somebody / name).symlink_to(roots)
    with pytest.raises(OpenSshError):
        openssh.make_key(somebody / "ssh_key")
    assert roots.exists() == (name == "ssh_key.pub")
    if roots.exists():
        assert (roots.read_text(), roots.stat().st_uid, roots.stat().st_mode & 0o777) == ("secret", 0, 0o600)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_daemon_can_read_the_host_keys_that_root_has_pinned(tmp_path: Path, umask: int) -> None:
    """Whatever root's umask is; the proof by root would not notice."""
    before = os.umask(umask)
    try:
        openssh.pin(tmp_path / "known_hosts", HOST_KEY)
    finally:
        os.umask(before)
    assert (tmp_path / "known_hosts").stat().st_mode & 0o777 == 0o644
