"""OpenSSH's own programs: keys, host keys, and a login as the person at the terminal has it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SCAN_S = 5
_LOGIN_S = 10
_PROOF_S = 30.0
# The one to pin first, if a machine has several.
_HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
_KEY_OPTIONS = "key options:"
# What `ssh -v` says besides complaints.
_CHATTER = ("debug", "OpenSSH_", "Authenticated", "Transferred:", "Bytes per second:")


class OpenSshError(Exception):
    """A key, a host key or a login is not to be had; the text says what to do."""


class HostKey(NamedTuple):
    """What a machine shows: the line for `known_hosts`, and what people compare."""

    line: str
    kind: str
    fingerprint: str


class Proof(NamedTuple):
    """What a command over the new key has said, and as what sshd knows that key (the options, without values)."""

    output: str
    key_options: frozenset[str]


def make_key(key_file: Path) -> bool:
    """Make an ed25519 key for whoever owns the directory, unless there is a key; whether one was made.

    Raises:
        OpenSshError: it can't be made.
    """
    if key_file.exists():
        return False
    try:
        owner = key_file.parent.stat()
        # As that user: root would follow whatever links he has put there.
        whose = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        make = ["-q", "-t", "ed25519", "-N", "", "-C", f"upsd@{os.uname().nodename}", "-f", str(key_file)]
        _run(["ssh-keygen", *make], whose=whose)
    except OSError as error:
        raise OpenSshError(f"no key can be made at {key_file} ({error.strerror}); run this as root") from error
    return True


def public_key(key_file: Path) -> str:
    """Type and key, as `authorized_keys` has them, and the name of this machine.

    Raises:
        OpenSshError: there is no such key, or it is of another type.
    """
    if not os.access(key_file, os.R_OK):
        raise OpenSshError(f"{key_file} is not there or can't be read; run upsctl enroll as root, without --print")
    kind, blob, *_ = [*_run(["ssh-keygen", "-y", "-P", "", "-f", str(key_file)]).split(), "", ""]
    if kind != "ssh-ed25519":
        raise OpenSshError(f"{key_file} is no ed25519 key; move it away, and another one is made")
    return f"{kind} {blob} upsd@{os.uname().nodename}"


def host_keys(host: str, port: int) -> list[HostKey]:
    """What the machine shows, the best one first.

    Raises:
        OpenSshError: it shows none.
    """
    command = ["ssh-keyscan", "-T", str(_SCAN_S), "-p", str(port), "-t", "ed25519,ecdsa,rsa", "--", host]
    lines = [line for line in _run(command, fails=True).splitlines() if line.count(" ") == 2 and line[0] != "#"]
    found = [HostKey(line, line.split()[1], _fingerprint(line.split()[2])) for line in lines]
    found = [key for key in found if key.kind in _HOST_KEY_TYPES]
    if not found:
        raise OpenSshError(f"{host} shows no host key on port {port}: is it on, and does its sshd run?")
    return sorted(found, key=lambda key: _HOST_KEY_TYPES.index(key.kind))


def pinned(known_hosts: Path, host: str, port: int) -> list[HostKey]:
    """The host keys that the file has for the machine."""
    if not known_hosts.exists():
        return []
    place = host if port == 22 else f"[{host}]:{port}"
    found = _run(["ssh-keygen", "-F", place, "-f", str(known_hosts)], fails=True).splitlines()
    lines = [line for line in found if line and not line.startswith(("#", "@"))]
    return [HostKey(line, line.split()[1], _fingerprint(line.split()[2])) for line in lines]


def pin(known_hosts: Path, key: HostKey) -> None:
    """Trust the host key from now on.

    Raises:
        OpenSshError: the file can't be written.
    """
    try:
        torn = known_hosts.exists() and known_hosts.stat().st_size and not known_hosts.read_bytes().endswith(b"\n")
        is_new = not known_hosts.exists()
        file = os.open(known_hosts, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with os.fdopen(file, "w") as opened:
            if is_new:
                os.fchmod(file, 0o644)  # whatever the umask: host keys are no secret, and the daemon is another user
            opened.write(("\n" if torn else "") + key.line + "\n")
    except OSError as error:
        raise OpenSshError(f"{known_hosts} can't be written ({error.strerror}); run this as root") from error


def run_as_administrator(
    script: str, host: str, port: int, user: str, known_hosts: Path, *, identity: str | None, terminal: bool
) -> str:
    """Run a script as root over `ssh`, with whatever keys, agent or password the person has; its output, also shown.

    Raises:
        OpenSshError: the login or the script failed; both have said why on the terminal.
    """
    command = script if user == "root" else f"sudo sh -c {_quoted(script)}"
    options = [*(["-t"] if terminal else []), *(["-i", identity] if identity else [])]
    options += [f"-oUserKnownHostsFile={known_hosts}", "-oStrictHostKeyChecking=yes", f"-oConnectTimeout={_LOGIN_S}"]
    arguments = [_program("ssh"), *options, "-p", str(port), "-l", user, "--", host, f"sh -c {_quoted(command)}"]
    said = b""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as running:
        # Shown as it comes: sudo may ask there for a password.
        while running.stdout and (piece := os.read(running.stdout.fileno(), 4096)):
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            said += piece
    if running.returncode:
        raise OpenSshError(
            f"logging in to {host} as {user}, or the installation there, failed (exit code {running.returncode});"
            " try --as with another administrator, or paste what --print shows"
        )
    return said.decode(errors="replace").replace("\r", "")


def prove(verb: str, host: str, port: int, user: str, key_file: Path, known_hosts: Path) -> Proof:
    """Run one of the helper's verbs with the daemon's own key, and nothing but that.

    Raises:
        OpenSshError: it failed.
    """
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": str(_LOGIN_S),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    arguments = ["ssh", "-v", "-F", "/dev/null", "-i", str(key_file), *options, "-p", str(port), "-l", user, "--", host]
    done = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            [_program(arguments[0]), *arguments[1:], verb],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROOF_S,
        )
    if done is None:
        raise OpenSshError(f"`{verb}` with the new key took longer than {_PROOF_S:.0f} s on {host}")
    said = [line for line in done.stderr.splitlines() if not line.startswith(_CHATTER)]
    if done.returncode:
        why = " ".join(said) or f"exit code {done.returncode}"
        raise OpenSshError(f"`{verb}` with the new key failed on {host}: {why}")
    options_told = [line.partition(_KEY_OPTIONS)[2] for line in done.stderr.splitlines() if _KEY_OPTIONS in line]
    return Proof(done.stdout.strip(), frozenset(" ".join(options_told).split()))


def _fingerprint(blob: str) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
    except binascii.Error as error:
        raise OpenSshError(f"{blob[:40]} is no host key: {error}") from error
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _program(name: str) -> str:
    return shutil.which(name) or _missing(name)


def _missing(name: str) -> str:
    raise OpenSshError(f"there is no {name} here: apt-get install openssh-client")


def _run(command: Sequence[str], *, fails: bool = False, whose: Mapping[str, Any] | None = None) -> str:
    """What the program says; one that `fails` may do so. `whose` it is if not ours, as `subprocess` has it."""
    arguments = [_program(command[0]), *command[1:]]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **(whose or {})
    )
    if done.returncode and not fails:
        raise OpenSshError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
