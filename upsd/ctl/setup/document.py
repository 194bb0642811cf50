"""The text of a settings file, and whether a file is still as setup wrote it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsd.settings_problems import toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MARK = "# Untouched since setup: "
_HEAD = """\
# The settings of upsd on this rack, written by `upsctl setup`. config/upsd.toml in its source explains every key, also
# those that have their defaults here. Change what you like and run `upsctl config check`; setup asks before it replaces
# a file that somebody has changed.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file: `[ups]` or `[[workers]]`, what is said above it, and its keys; `None` leaves one out."""

    header: str
    about: str
    values: Mapping[str, object]


def settings_text(tables: Iterable[Table]) -> str:
    """The whole file."""
    body = _HEAD + "".join(f"\n{_table(table)}" for table in tables)
    return f"{_MARK}{_digest(body)}\n{body}"


def is_untouched(text: str) -> bool:
    """Whether setup wrote it, and nobody has changed it since."""
    first, _, body = text.partition("\n")
    return first == f"{_MARK}{_digest(body)}"


def _table(table: Table) -> str:
    keys = [f"{name} = {toml(value)}" for name, value in table.values.items() if value is not None]
    about = [f"# {table.about}"] if table.about else []
    return "".join(f"{line}\n" for line in (*about, table.header, *keys))


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
