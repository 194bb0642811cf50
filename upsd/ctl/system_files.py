"""The files that systemd, udev, polkit and others need of upsd: their texts, and where each belongs.

The Debian package brings them below /usr. After `pipx install` or `uv tool install` they are put below /etc, with the
Python of that installation in the units; but for the hook of systemd's last stage, which has one place only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

PACKAGED_PREFIX = "/usr/lib/upsd"
"""The private virtual environment of the Debian package; the units in `systemd/` name its Python."""

_PACKAGED_PYTHON = f"{PACKAGED_PREFIX}/bin/python3"
# In the installed package, or in the repository that it is run from.
_ROOTS = (Path(__file__).with_name("files"), Path(__file__).parents[2])
# The unit sees none of them (ProtectHome=), and its user could not read them.
_HOMES = ("/home", "/root", "/run/user")


# systemd looks for it nowhere else.
_LATE = Path("/usr/lib/systemd/system-shutdown/upsd-late")


class SystemFilesError(Exception):
    """The files can't be installed as they are; the message says what to do."""


class SystemFile(NamedTuple):
    """One file: its path in the repository, where the Debian package has it, and where it goes without that."""

    source: str
    packaged: Path
    local: Path
    mode: int = 0o644


def _file(source: str, packaged: str, local: str) -> SystemFile:
    name = source if source.endswith((".rules", ".service")) else "upsd.conf"
    return SystemFile(f"systemd/{source}", Path(packaged, name), Path(local, name))


SYSTEM_FILES = (
    _file("upsd.service", "/usr/lib/systemd/system", "/etc/systemd/system"),
    _file("upsd-detach@.service", "/usr/lib/systemd/system", "/etc/systemd/system"),
    _file("upsd-snapshot@.service", "/usr/lib/systemd/system", "/etc/systemd/system"),
    _file("upsd.sysusers", "/usr/lib/sysusers.d", "/etc/sysusers.d"),
    _file("upsd.tmpfiles", "/usr/lib/tmpfiles.d", "/etc/tmpfiles.d"),
    _file("70-upsd.rules", "/usr/lib/udev/rules.d", "/etc/udev/rules.d"),
    _file("50-upsd.rules", "/usr/share/polkit-1/rules.d", "/etc/polkit-1/rules.d"),
    SystemFile("systemd/upsd-late", _LATE, _LATE, 0o755),
)
"""All of them; once they are there, systemd-sysusers and systemd-tmpfiles are run, and the daemons read them anew."""


def shipped(source: str) -> str:
    """The text of a file of `systemd/` or `config/`, by its path in the repository."""
    return next(root / source for root in _ROOTS if (root / source).exists()).read_text(encoding="utf-8")


def packaged() -> bool:
    """Whether this is the Debian package's upsd, whose files are in place already."""
    return sys.prefix == PACKAGED_PREFIX


def text_of(file: SystemFile, python: str) -> str:
    """What to write there, for an installation whose units shall run this Python."""
    prefix = Path(python).parent.parent
    return shipped(file.source).replace(_PACKAGED_PYTHON, python).replace(PACKAGED_PREFIX, str(prefix))


def python_for_units(executable: str = sys.executable) -> str:
    """The Python that this program runs in, if the units can run it too.

    Raises:
        SystemFilesError: It is in somebody's home directory, as with a plain `pipx install`.
    """
    if any(Path(executable).is_relative_to(home) for home in _HOMES):
        raise SystemFilesError(
            f"{executable} is in a home directory, where the unit can't see it; install upsd for the whole machine:"
            " PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install upsd, or"
            " UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin uv tool install --python /usr/bin/python3 upsd"
        )
    return executable
