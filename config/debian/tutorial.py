"""The settings' tutorial, which is a TOML file with comments, as the body of a manual page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from debian.roff import text

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHAPTER = re.compile(r"# (.+?) -{5,}")
_TABLE = re.compile(r"(?:# )?(\[+[\w.]+\]+)(?: *#.*)?")
_KEY = re.compile(r"(?:# )?([a-z_]+ = .+)")
_COMMAND = re.compile(r"# {5}(\S.*)")


def tutorial(settings: str) -> Iterator[str]:
    """The page after its first line."""
    yield from (".SH NAME", "upsd.toml \\- settings of upsd, the power daemon", ".SH DESCRIPTION")
    for line in settings.splitlines():
        yield from _line(line)
    yield from (".SH SEE ALSO", ".BR upsctl (1),", ".BR upsd.service (8)")


def _line(line: str) -> Iterator[str]:
    if chapter := _CHAPTER.fullmatch(line):
        yield f".SH {text(chapter[1].upper())}"
    elif table := _TABLE.fullmatch(line):
        yield f".SS {text(table[1])}"
    elif key := _KEY.fullmatch(line):
        yield from (".RS 4", ".nf", f"\\fB{text(key[1])}\\fR", ".fi", ".RE")
    elif command := _COMMAND.fullmatch(line):
        yield from (".RS 4", ".nf", text(command[1]), ".fi", ".RE")
    elif line.startswith("# - "):
        yield from (".IP \\(bu 2", text(line.removeprefix("# - ")))
    else:
        said = line.removeprefix("#").strip()
        yield text(said) if said else ".PP"
