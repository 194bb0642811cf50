"""`upsctl enroll`: has a worker take the daemon's key for what an outage needs, and for nothing else.

It works without the daemon, and asks before it trusts a machine. What is as it should be stays untouched.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from upsd.ctl import openssh
from upsd.ctl.system_files import shipped
from upsd.settings import EXIT_CONFIG, SettingsError, load_settings

if TYPE_CHECKING:
    from argparse import Namespace

    from upsd.settings import Settings

OK, FAILED = 0, 1
_HELPER = "/usr/local/sbin/upsd-worker"
_MARK = "permitlisten"
_SAID = "upsd: "
_NODE = "this is the node "


class Place(NamedTuple):
    """Which machine, and who we will be there."""

    host: str
    port: int
    user: str


def run(options: Namespace) -> int:
    """Enroll a worker, or show how; the exit status."""
    try:
        settings = load_settings(Path(options.config), os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    place = _place(options, settings)
    try:
        if options.print:
            _show(place, settings)
        else:
            _enroll(place, settings, options)
    except openssh.OpenSshError as error:
        print(f"upsctl: {error}", file=sys.stderr)
        return FAILED
    return OK


def _place(options: Namespace, settings: Settings) -> Place:
    """What the options say, else the settings, if they know the machine."""
    known = next((worker for worker in settings.workers if options.host in {worker.name, worker.host}), None)
    return Place(
        known.host if known else options.host,
        options.port or (known.port if known else 22),
        options.user or (known.user if known else "upsd"),
    )


def _show(place: Place, settings: Settings) -> None:
    print(f"# On {place.host}, as root:")
    print(_installation(place, openssh.public_key(settings.ssh.key_file)))
    print(
        f"# Here: its host key, once compared, into {settings.ssh.known_hosts_file}:\n"
        f"#   ssh-keyscan -t ed25519 -p {place.port} {place.host}\n"
        "# And into the settings:"
    )
    print("".join(f"#   {line}\n" for line in _table(place, "NODE", marked=True)), end="")


def _enroll(place: Place, settings: Settings, options: Namespace) -> None:
    ssh = settings.ssh
    made = openssh.make_key(ssh.key_file)
    print(f"The key {ssh.key_file} {'was made' if made else 'is there'}.")
    pinned = trust(place, ssh.known_hosts_file, options)
    administrator = options.administrator or getpass.getuser()
    print(f"Logging in to {place.host} as {administrator}.", flush=True)
    said = openssh.run_as_administrator(
        _installation(place, openssh.public_key(ssh.key_file)),
        place.host,
        place.port,
        administrator,
        ssh.known_hosts_file,
        identity=options.identity,
        terminal=sys.stdin.isatty(),
    )
    lines = [line.removeprefix(_SAID) for line in said.splitlines() if line.startswith(_SAID)]
    done = [line for line in lines if not line.startswith(_NODE)]
    node = next((line.removeprefix(_NODE) for line in lines if line.startswith(_NODE)), place.host)
    proof = openssh.prove("check", place.host, place.port, place.user, ssh.key_file, ssh.known_hosts_file)
    print(f"Proven with the new key: {proof.output}")
    if not (made or pinned or done):
        print(f"{place.host} was enrolled before; nothing was changed.")
    if place.host not in {worker.host for worker in settings.workers}:
        print(f"\nPut this into {options.config}, with its watts, and start upsd anew:\n")
        print("\n".join(_table(place, node, marked=_MARK in proof.key_options)))
    elif _MARK not in proof.key_options:
        print(f'Its sshd does not name the helper; add rehearse_command = "check" to its table in {options.config}')


def trust(place: Place, known_hosts: Path, options: Namespace) -> bool:
    """See that its host key is pinned, which may take a question; whether it was pinned now.

    Raises:
        OpenSshError: it is not, with the reason.
    """
    shown = openssh.host_keys(place.host, place.port)
    pinned = openssh.pinned(known_hosts, place.host, place.port)
    prints = {key.fingerprint for key in shown}
    if pinned:
        if not prints & {key.fingerprint for key in pinned}:
            raise openssh.OpenSshError(
                f"the host key of {place.host} is another one than {known_hosts} has: {shown[0].fingerprint}; if the"
                " machine was installed anew, remove its line there"
            )
        print(f"Its host key is pinned in {known_hosts}.")
        return False
    wanted = options.fingerprint
    if wanted and wanted not in prints:
        raise openssh.OpenSshError(f"{place.host} shows {', '.join(sorted(prints))}, not {wanted}; nothing is trusted")
    key = next(key for key in shown if wanted in {None, key.fingerprint})
    print(f"{place.host} shows the host key {key.fingerprint} ({key.kind}).")
    if not (wanted or options.yes) and not _agreed():
        raise openssh.OpenSshError("nothing is trusted, and nothing was changed there")
    openssh.pin(known_hosts, key)
    print(f"It is pinned in {known_hosts}.")
    return True


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise openssh.OpenSshError("nobody can be asked here: say --fingerprint SHA256:..., or --yes")
    print("Compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    return input("Is it the same? [y/N] ").strip().lower() in {"y", "yes"}


def _installation(place: Place, public_key: str) -> str:
    """What root runs there; a whole script."""
    key_line = f'restrict,{_MARK}="1",command="{_HELPER}" {public_key}'
    sudoers = shipped("config/worker/sudoers").replace("\nupsd ALL=", f"\n{place.user} ALL=")
    return "\n".join(
        [
            f"user='{place.user}'",
            f"key_line='{key_line}'",
            *("helper() {", "cat <<'END_OF_HELPER'", shipped("config/worker/upsd-worker") + "END_OF_HELPER", "}"),
            *("sudoers() {", "cat <<'END_OF_SUDOERS'", sudoers + "END_OF_SUDOERS", "}"),
            shipped("config/worker/install.sh"),
        ]
    )


def _table(place: Place, node: str, *, marked: bool) -> list[str]:
    lines = ["[[workers]]", f'name = "{node}"', f'host = "{place.host}"', "watts = 7"]
    lines += [f"port = {place.port}"] if place.port != 22 else []
    lines += [f'user = "{place.user}"'] if place.user != "upsd" else []
    return lines if marked else [*lines, 'rehearse_command = "check"']
