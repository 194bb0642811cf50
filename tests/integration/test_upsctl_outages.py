"""`upsctl outages`, from the report files to the terminal."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_line import upsctl
from upsd.acts import outage_inquiries
from upsd.control import ControlServer
from upsd.shutdown.outages import file_outage
from upsd.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOOT = "b1"


def outage(day: int, *, reason: str | None) -> list[str]:
    """The records of a short outage on that day, with a shutdown that was undone if it had a reason."""

    def record(clock: str, kind: str, **fields: object) -> str:
        at = f"2026-01-{day:02}T{clock}.000Z"
        return json.dumps({"at": at, "record": kind, "boot_id": BOOT, **fields})

    name = f"202601{day:02}T031502Z-7f3a"
    lines = [record("03:10:00", "supply", lost_at=1.0, for_s=0.0)]
    if reason:
        lines += [
            record("03:15:02", "outage", outage=name, reason=reason),
            record("03:15:02", "step", step="cordon", state="running", outage=name, plan="shutdown"),
            record("03:15:03", "step", step="cordon", state="failed", detail="403 \x1b[31m", outage=name),
        ]
    lines.append(record("03:15:10", "supply", lost_at=None))
    if reason:
        lines += [
            record("03:15:11", "undoing", outage=name, plan="abort"),
            record("03:15:12", "closed", outage=name, how="aborted"),
        ]
    return lines


@pytest.fixture
async def state_directory(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Where the daemon keeps its reports; its socket is there, too."""
    with tempfile.TemporaryDirectory(prefix="upsd-") as directory:
        path = Path(directory)
        monkeypatch.setenv("UPSD_CONTROL__SOCKET", str(path / "control.sock"))
        inquiries = outage_inquiries(path / "outages")
        async with ControlServer(StatusBoard("iplug"), path / "control.sock", inquiries=inquiries):
            yield path


def file_two(state_directory: Path) -> None:
    """One outage that needed no shutdown, and a day later one that did."""
    for day, reason in ((13, None), (14, "battery-low")):
        assert file_outage(state_directory / "outages", outage(day, reason=reason), ups="iplug", boot_id=BOOT)


async def test_the_list_has_the_newest_outage_first(state_directory: Path) -> None:
    """What one wants to see of each on one line."""
    file_two(state_directory)
    result = await upsctl("outages")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "began (UTC)       mains away   ended      wrong  id",
        "2026-01-14 03:10  5 min 10 s   aborted    1      20260114T031502Z-7f3a",
        "2026-01-13 03:10  5 min 10 s   outlasted  -      20260113T031000Z",
    ]
    listed = json.loads((await upsctl("outages", "--json")).out)
    assert [each["ending"] for each in listed] == ["aborted", "outlasted"]


async def test_a_report_is_shown_by_its_id_or_the_newest(state_directory: Path) -> None:
    """As Markdown, without what could drive a terminal, or as JSON."""
    file_two(state_directory)
    newest = await upsctl("outages", "show")
    assert (newest.code, newest.err) == (0, "")
    assert newest.out.startswith("# Outage of 14 January 2026, 03:10\n")
    assert "- cordon failed: 403  [31m\n" in newest.out
    named = await upsctl("outages", "show", "20260113T031000Z", "--json")
    assert json.loads(named.out)["ending"] == "outlasted"


async def test_who_asks_for_what_is_not_there_is_told(state_directory: Path) -> None:
    """No outage yet, no such outage, and nothing else in the daemon's directories."""
    assert "there has been no outage yet" in (await upsctl("outages", "show")).err
    assert (await upsctl("outages")).out == "no outage has been seen from its beginning to its end yet\n"
    file_two(state_directory)
    (state_directory / "secret.json").write_text("{}")
    (state_directory / "secret.md").write_text("secret")
    result = await upsctl("outages", "show", "../secret")
    assert (result.code, result.out) == (1, "")
    assert result.err == "upsctl: upsd says: there is no report of an outage '../secret'; see: upsctl outages\n"
