"""What the steps know and hand on to the next."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from upsd.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from upsd.ctl.setup.interview import Interview, Paint
    from upsd.rack.kubernetes.administration import ClusterNode
    from upsd.settings import Settings

GROUP = "upsd"
ANSWERS_FILE = "setup-answers.toml"


@dataclass(slots=True)
class Situation:
    """One run of setup.

    Attributes:
        path: of the settings.
        environment: in which the daemon's own variables change them, as for the daemon.
        interview: who is asked.
        paint: gives a text a colour.
        socket: of the daemon.
        keeps_settings: whether settings that somebody wrote by hand stay as they are.
        admin_kubeconfig: of the cluster's administrator; `None` without a cluster.
        nodes: those of the cluster.
        ups_port: where the UPS is.
        settings: as they are in the file, once they are.
        left: what a person still has to do, in sentences.
    """

    path: Path
    environment: Mapping[str, str]
    interview: Interview
    paint: Paint
    socket: str
    keeps_settings: bool = False
    admin_kubeconfig: Path | None = None
    nodes: tuple[ClusterNode, ...] = ()
    ups_port: str = "usb"
    settings: Settings | None = None
    left: list[str] = field(default_factory=list)

    @property
    def checked(self) -> Settings:
        """The settings; the steps that ask for them come after the one that has them."""
        if self.settings is None:
            raise RuntimeError("the settings are not read yet")
        return self.settings


def write_for_the_daemon(path: Path, text: str) -> None:
    """A file of root's that the daemon may read, and the members of its group, who may look at everything.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    write_whole(path, text, mode=0o640, group=_daemon()[1])


def write_secret_for_the_daemon(path: Path, text: str) -> None:
    """A file that the daemon may read and nobody else: to look is not to act in its name.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    owner, group = _daemon()
    write_whole(path, text, mode=0o600, owner=owner, group=group)


def _daemon() -> tuple[int | None, int | None]:
    """Its user and its group; only root can give a file to them."""
    if os.geteuid() != 0:
        return None, None
    try:
        return pwd.getpwnam(GROUP).pw_uid, grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None, None
