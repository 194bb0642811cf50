"""Which version this is, of when, and by whom: the same for everybody who builds this commit."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from upsd import __version__

MAINTAINER = "The upsd developers <upsd@users.noreply.github.com>"
VERSION = f"{__version__}-1"


def epoch() -> int:
    """The time of everything in the package, in seconds: SOURCE_DATE_EPOCH, else that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        here = Path(__file__).parent
        command = ["git", "-C", str(here), "log", "-1", "--format=%ct"]
        given = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(given)


def changelog() -> str:
    """That of the packaging, which is not kept apart: the program's own tells what changed."""
    date = format_datetime(datetime.fromtimestamp(epoch(), UTC))
    return (
        f"upsd ({VERSION}) unstable; urgency=medium\n\n"
        f"  * Version {__version__}; /usr/share/doc/upsd/changelog.gz tells what is new.\n\n"
        f" -- {MAINTAINER}  {date}\n"
    )
