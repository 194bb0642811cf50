"""The first step: what belongs to the system, where no Debian package has installed it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.questions import INSTALL_SYSTEM_FILES
from upsd.ctl.system_files import (
    SYSTEM_FILES,
    packaged,
    python_for_units,
    text_of,
)
from upsd.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from upsd.ctl.setup.situation import Situation
    from upsd.ctl.system_files import SystemFile

_TAKE_UP: Final = (
    ("systemd-sysusers", "/etc/sysusers.d/upsd.conf"),
    ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/upsd.conf"),
    ("udevadm", "control", "--reload"),
    ("udevadm", "trigger", "--subsystem-match=usb"),
    ("systemctl", "daemon-reload"),
)


def install(situation: Situation) -> Outcome:
    """Install what is missing or of an older version, and have it taken up."""
    python = python_for_units()
    missing = _left_out_by_the_package() if packaged() else differing(SYSTEM_FILES, python, Path("/"))
    if not missing:
        return Outcome(State.NOTHING_TO_DO, "all of it is there")
    if not situation.interview.agrees(INSTALL_SYSTEM_FILES):
        return Outcome(State.LEFT_OUT, f"as you wish; not there or of another version: {_names(missing)}")
    for file in missing:
        put(file, python, Path("/"))
        print(f"  wrote {file.local}")
    compiles = (python, "-IB", "-m", "upsd.ctl.bytecode")
    untold = tuple(trouble for command in (*_TAKE_UP, compiles) if (trouble := _trouble_of(command)) is not None)
    if untold:
        return Outcome(State.FAILED, f"they are there, but: {'; '.join(untold)}")
    return Outcome(State.DONE, "they are there, and in use")


def _left_out_by_the_package() -> list[SystemFile]:
    """Those that are nowhere, since somebody has put its virtual environment there by hand."""
    return [file for file in SYSTEM_FILES if not (file.packaged.exists() or file.local.exists())]


def differing(files: Iterable[SystemFile], python: str, root: Path) -> list[SystemFile]:
    """Those that are not there as they should be, below the root."""
    return [file for file in files if _text_at(_place(file, root)) != text_of(file, python)]


def put(file: SystemFile, python: str, root: Path) -> None:
    """Write one of them; a file that somebody wrote in its place is kept beside it.

    Raises:
        SetupError: it can't be written.
    """
    place = _place(file, root)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        before = _text_at(place)
        if before is not None:
            write_whole(place.with_name(f"{place.name}.before-setup"), before)
        write_whole(place, text_of(file, python), mode=file.mode)
    except OSError as error:
        raise SetupError(
            f"{place} can't be written ({error.strerror}); mend that, and run upsctl setup again"
        ) from None


def _place(file: SystemFile, root: Path) -> Path:
    return root / file.local.relative_to("/")


def _text_at(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _names(files: Sequence[SystemFile]) -> str:
    return ", ".join(str(file.local) for file in files)


def _trouble_of(command: Sequence[str]) -> str | None:
    """Run it; a sentence on what went wrong."""
    program = shutil.which(command[0])
    if program is None:
        return f"there is no {command[0]} here"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    said = (done.stderr.strip() or done.stdout.strip()).partition("\n")[0]
    return f"{' '.join(command)}: {said or f'exit code {done.returncode}'}" if done.returncode else None
