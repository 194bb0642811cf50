"""The outages that are over, in a directory: for each its report as JSON and as Markdown, and its records.

They are numbered in the order in which they were filed: a machine that was long without power may have a wrong clock,
so their dates do not tell which is the newest.

Filing one can be cut short at any instant and done again: the journal keeps the records until all three files are
whole.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from upsd.files import sync_directory, write_whole
from upsd.shutdown.records import is_over, records_in
from upsd.shutdown.report import is_name, is_worth_a_report, make_report
from upsd.shutdown.report_text import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEPT = 50
_RECORDS, _DOCUMENT, _TEXT = ".jsonl", ".json", ".md"
_SUMMARY = ("outage", "ending", "began_at", "mains_away_s", "reason", "troubles")


class UnknownOutageError(Exception):
    """There is no report of that name; the text says what there is."""


def file_outage(directory: Path, lines: Sequence[str], *, ups: str, boot_id: str) -> str | None:
    """File what the journal's lines tell, if it is over.

    Returns the name of the outage, "" if the lines tell of none and may be forgotten, and `None` if it goes on.

    Raises:
        OSError: it can't be written.
    """
    if not lines or not is_over(lines, boot_id):
        return None
    records = records_in(lines)
    if not is_worth_a_report(records):
        return ""
    report = make_report(records, ups)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)
    path = directory / report.outage
    numbers = _numbers(directory)
    number = numbers.get(report.outage) or max(numbers.values(), default=0) + 1
    write_whole(_with(path, _TEXT), markdown(report))
    write_whole(_with(path, _DOCUMENT), json.dumps({**report.document(), "number": number}, indent=2) + "\n")
    write_whole(_with(path, _RECORDS), "".join(f"{line}\n" for line in lines))
    _forget_oldest(directory)
    return report.outage


def list_outages(directory: Path) -> list[dict[str, Any]]:
    """What there is, newest first, each with the heads of its report; one that can't be read has its name only."""
    return [_summary(directory, name) for name in _names(directory)]


def show_outage(directory: Path, name: str | None) -> dict[str, Any]:
    """The report of that name, or the newest, as `document` and `markdown`.

    Raises:
        UnknownOutageError: there is none.
    """
    if name is None:
        name = next(iter(_names(directory)), None)
        if name is None:
            raise UnknownOutageError("there has been no outage yet; a report is made when one is over")
    path = directory / name
    try:
        if not is_name(name):
            raise FileNotFoundError
        document = json.loads(_with(path, _DOCUMENT).read_text(encoding="utf-8"))
        text = _with(path, _TEXT).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise UnknownOutageError(f"there is no report of an outage {name[:80]!r}; see: upsctl outages") from None
    return {"document": document, "markdown": text}


def _summary(directory: Path, name: str) -> dict[str, Any]:
    document = _document(directory, name)
    return {key: document.get(key) for key in _SUMMARY} | {"outage": name}


def _document(directory: Path, name: str) -> dict[str, Any]:
    """The report of that name; empty if it can't be read."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads(_with(directory / name, _DOCUMENT).read_text(encoding="utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def _numbers(directory: Path) -> dict[str, int]:
    """The number of each outage; 0 where it can't be read."""
    with contextlib.suppress(OSError):
        names = [path.stem for path in directory.glob(f"*{_DOCUMENT}") if is_name(path.stem)]
        numbers = {name: _document(directory, name).get("number") for name in names}
        return {name: number if isinstance(number, int) else 0 for name, number in numbers.items()}
    return {}


def _names(directory: Path) -> list[str]:
    """Newest first; of those without a number by their dates, with which a name begins."""
    numbers = _numbers(directory)
    return sorted(numbers, key=lambda name: (numbers[name], name), reverse=True)


def _forget_oldest(directory: Path) -> None:
    for name in _names(directory)[KEPT:]:
        for ending in (_RECORDS, _TEXT, _DOCUMENT):
            with contextlib.suppress(OSError):
                _with(directory / name, ending).unlink()


def _with(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")
