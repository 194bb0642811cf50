"""What do the settings name that is not on this machine? It may still come, so it is only said."""

from __future__ import annotations

import grp
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.settings import NasSettings, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from upsd.settings import Settings


def absent(settings: Settings) -> tuple[str, ...]:
    """One sentence for each thing that the daemon would miss here, with what to do."""
    return (*_about_files(settings), *_about_the_port(settings), *_about_accounts(settings))


def _about_files(settings: Settings) -> Iterator[str]:
    if not _may_be_there(settings.state_directory):
        yield f"state_directory: there is no {settings.state_directory}; make it, and give it to the user upsd"
    program = settings.master.poweroff_command[0]
    if shutil.which(program) is None:
        yield f"master.poweroff_command: there is no program {program}"
    remote = [machine for machine in settings.machines if isinstance(machine, WorkerSettings | NasSettings)]
    if any(machine.host for machine in remote):
        for name in ("key_file", "known_hosts_file"):
            path = getattr(settings.ssh, name)
            if not _may_be_there(path):
                yield f"ssh.{name}: there is no {path}; see the README's installation, step 4"
    if settings.datastore and not _may_be_there(settings.datastore.directory):
        yield f"datastore.directory: there is no {settings.datastore.directory}; make it, owned by root, or mount it"
    if settings.kubernetes and not _may_be_there(settings.kubernetes.kubeconfig):
        path = settings.kubernetes.kubeconfig
        yield f"kubernetes.kubeconfig: there is no {path}; see the README's installation, step 3"


def _about_the_port(settings: Settings) -> Iterator[str]:
    kind, _, path = settings.ups.port.partition(":")
    if kind != "serial":
        return
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        yield f"ups.port: {path} can't be used ({error.strerror}); check its cable, or name another"
        return
    if not stat.S_ISCHR(mode):
        yield f"ups.port: {path} is no serial port"


def _about_accounts(settings: Settings) -> Iterator[str]:
    group = settings.control.operators
    if group is None:
        return
    try:
        grp.getgrnam(group)
    except KeyError:
        yield f"control.operators: there is no group {group}, so only root may command; groupadd --system {group}"


def _may_be_there(path: Path) -> bool:
    """Whoever may not look can't tell."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
