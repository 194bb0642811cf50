"""What a start makes of a journal that a kill, a power cut or a bad disk has spoilt, and of one that is over."""

# ruff: noqa: ASYNC240 - these files are small and nobody else waits

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.files import lines_of
from upsd.shutdown import journal as journal_module
from upsd.shutdown.journal import FileJournal, JournalError
from upsd.shutdown.outages import KEPT, UnknownOutageError, file_outage, list_outages, show_outage
from upsd.shutdown.records import Contents, gather, replay, replay_lost_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from upsd.domain.power import Scalar

BOOT = "boot-1"
NAME = "20251123T180000Z-7f3a"


def line(number: int, record: str, **fields: Scalar) -> bytes:
    """A record as the daemon writes it."""
    at = f"2025-11-23T18:{number // 60:02}:{number % 60:02}.000Z"
    return json.dumps({"n": number, "at": at, "record": record, "boot_id": BOOT, **fields}).encode() + b"\n"


def step(number: int, name: str, state: str, *, plan: str = "shutdown", commits: bool = False) -> bytes:
    """A step's record."""
    return line(number, "step", step=name, state=state, plan=plan, outage=NAME, commits=commits)


SHUTDOWN = [
    line(0, "supply", lost_at=2.0, for_s=3.0),
    line(1, "outage", outage=NAME, reason="on-battery"),
    step(2, "cordon", "running"),
    step(3, "cordon", "done"),
    step(4, "drain pi3", "running"),
    step(5, "drain pi3", "forced"),
    step(6, "poweroff pi3", "running", commits=True),
    step(7, "poweroff pi3", "done", commits=True),
    step(8, "confirm-off pi3", "running"),
]
OVER = [
    *SHUTDOWN[:4],
    line(4, "supply", lost_at=None),
    line(5, "undoing", outage=NAME, plan="abort"),
    step(6, "uncordon", "running", plan="abort"),
    step(7, "uncordon", "done", plan="abort"),
    line(8, "closed", outage=NAME, how="aborted"),
]
RUBBISH = {
    "binary": b"\x00\x9f\xde\xad{\xbe\xef\n",
    "invalid UTF-8": b'{"record": "step", "step": "\xff\xfe"}\n',
    "no record": b'{"step": "drain pi3"}\n',
    "endless": b'{"record": "' + b"x" * 300_000 + b'"}\n',
    "deep": b"[" * 50_000 + b"\n",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def spare(tmp_path: Path) -> Path:
    """Where its spare is."""
    return tmp_path / "spare.jsonl"


@pytest.fixture
def journal(path: Path, spare: Path) -> Iterator[FileJournal]:
    """The journal of a new run."""
    made = FileJournal(path, lambda: "2025-11-23T19:00:00.000Z", spare)
    yield made
    made.close()


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_a_damaged_line_is_counted_and_kept_aside_and_costs_no_other(
    journal: FileJournal, path: Path, rubbish: bytes
) -> None:
    """The daemon goes on with all that is intact, and a second start finds nothing to complain of."""
    path.write_bytes(b"".join([*SHUTDOWN[:5], rubbish, *SHUTDOWN[5:]]))
    before = path.read_bytes()
    found = journal.take_up()
    assert (found.contents.damaged, found.contents.torn, found.trouble) == (1, False, None)
    assert replay(found.contents.lines) == replay(gather(SHUTDOWN).lines)
    assert found.aside == path.with_name("journal.jsonl.damaged-20251123T190000000Z")
    assert found.aside.read_bytes() == before
    assert journal.take_up().contents == Contents(gather(SHUTDOWN).lines)


@pytest.mark.parametrize("torn", [b'{"record": "clo', b"\x00" * 4096, b"\xff\xfe", b"{"])
async def test_a_torn_last_line_is_normal(journal: FileJournal, path: Path, torn: bytes) -> None:
    """A kill or a power cut leaves it: it is noted and taken out, and nothing is kept aside."""
    path.write_bytes(b"".join(SHUTDOWN) + torn)
    found = journal.take_up()
    assert (found.contents.damaged, found.contents.torn, found.aside, found.trouble) == (0, True, None, None)
    await journal.append({"record": "started"})
    assert gather(lines_of(path)).damaged == 0
    assert len(gather(lines_of(path)).lines) == len(SHUTDOWN) + 1


def test_records_of_a_later_version_are_left_alone(journal: FileJournal, path: Path) -> None:
    """A downgrade in an outage neither forgets what began nor loses what it does not understand."""
    later = [
        line(9, "weather", wind="strong"),
        line(10, "step", step="hibernate pi4", state="dreaming", mood=[1], outage=NAME),  # type: ignore[arg-type]
    ]
    path.write_bytes(b"".join([*SHUTDOWN, *later]))
    found = journal.take_up()
    unfinished = replay(found.contents.lines)
    assert unfinished
    assert "hibernate pi4" in unfinished.began
    assert unfinished.committed
    assert (found.contents.damaged, len(found.contents.lines)) == (0, len(SHUTDOWN) + 2)


def test_a_record_that_is_there_twice_counts_once(journal: FileJournal, path: Path) -> None:
    """As after a disk that hung, and wrote what it was given again."""
    path.write_bytes(b"".join([*SHUTDOWN[:7], *SHUTDOWN[4:]]))
    assert journal.take_up().contents.lines == gather(SHUTDOWN).lines


@pytest.mark.parametrize("obstacle", ["directory", "device"])
async def test_what_is_no_journal_is_put_aside_and_the_spare_knows_that_we_are_committed(
    journal: FileJournal, path: Path, spare: Path, obstacle: str
) -> None:
    """It is said; the new journal begins with what the spare has kept, and can be written."""
    spare.write_bytes(SHUTDOWN[6])
    if obstacle == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/full")
    found = journal.take_up()
    assert found.trouble
    assert "can't be read" in found.trouble
    assert found.aside
    unfinished = replay(found.contents.lines)
    assert unfinished
    assert (unfinished.committed, unfinished.boot_id, unfinished.outage) == (True, BOOT, NAME)
    await journal.append({"record": "started"})
    assert len(gather(lines_of(path)).lines) == 2


async def test_a_journal_that_belongs_to_somebody_else_is_put_aside(
    journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the directory may do that, and writes a new one."""
    path.write_bytes(b"".join(SHUTDOWN))

    def refused(_: object) -> Iterator[bytes]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as foreign:
        foreign.setattr(journal_module, "lines_of", refused)
        found = journal.take_up()
    assert found.trouble == f"the journal {path} can't be read: Permission denied; check who owns it"
    assert found.aside
    assert found.aside.exists()
    await journal.append({"record": "started"})
    assert path.exists()


def test_a_damaged_journal_on_a_full_disk_is_read_all_the_same(
    journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be mended; what is intact counts, and nothing is lost in the attempt."""
    spoilt = b"".join([*SHUTDOWN[:3], RUBBISH["binary"], *SHUTDOWN[3:]])
    path.write_bytes(spoilt)
    monkeypatch.setattr(os, "write", raising(errno.ENOSPC))
    found = journal.take_up()
    assert found.trouble == f"the journal {path} can't be mended: No space left on device; make room for it"
    assert replay(found.contents.lines) == replay(gather(SHUTDOWN).lines)
    assert path.read_bytes() == spoilt


def test_a_disk_that_hangs_does_not_hold_up_the_start(
    journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon starts without its journal, and says so."""
    released = threading.Event()

    def hang(_: object) -> Iterator[bytes]:
        released.wait(10)
        return iter(())

    monkeypatch.setattr(journal_module, "_WRITE_S", 0.05)
    monkeypatch.setattr(journal_module, "lines_of", hang)
    found = journal.take_up()
    released.set()
    assert found.trouble == f"the disk under {path} hangs: look at it, and restart upsd once it is well"


@pytest.mark.parametrize("number", range(len(SHUTDOWN)))
async def test_a_disk_that_is_full_from_any_record_on_loses_nothing(
    journal: FileJournal, path: Path, spare: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A run after a kill knows everything, most of all that we are committed; so does the disk, once there is room."""
    records = [{key: value for key, value in json.loads(line).items() if key not in {"n", "at"}} for line in SHUTDOWN]
    for record in records[:number]:
        await journal.append(record)
    write = os.write

    def full(file: int, data: bytes) -> int:
        if path.samefile(f"/proc/self/fd/{file}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        for record in records[number:]:
            with pytest.raises(JournalError, match="No space left on device"):
                await journal.append(record)
    expected = replay(gather(SHUTDOWN).lines)
    assert replay(gather(lines_of(path), lines_of(spare)).lines) == expected
    await journal.append({"record": "started"})
    assert replay(gather(lines_of(path)).lines) == expected


def raising(code: int) -> Callable[..., Any]:
    """A system call that fails."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@given(st.integers(0, len(b"".join(SHUTDOWN))))
def test_cut_off_anywhere_a_journal_forgets_only_what_was_cut_off(size: int) -> None:
    """No step whose record is whole is forgotten, nor that it can't be undone."""
    found = gather(b"".join(SHUTDOWN)[:size].splitlines(keepends=True))
    assert found.damaged == 0
    ends = [len(b"".join(SHUTDOWN[: index + 1])) - 1 for index in range(len(SHUTDOWN))]
    whole = [record for record, end in zip(SHUTDOWN, ends, strict=True) if size >= end]
    assert_remembered(found, whole)


@given(st.integers(0, len(SHUTDOWN) - 1), st.binary(max_size=200) | st.sampled_from(list(RUBBISH.values())))
def test_any_one_damaged_line_costs_no_more_than_itself(number: int, rubbish: bytes) -> None:
    """Not even the one that began the outage."""
    damaged = rubbish.replace(b"\n", b"?")
    found = gather([*SHUTDOWN[:number], damaged + b"\n", *SHUTDOWN[number + 1 :]])
    assert found.damaged <= 1
    assert_remembered(found, [*SHUTDOWN[:number], *SHUTDOWN[number + 1 :]])


def assert_remembered(found: Contents, intact: list[bytes]) -> None:
    """Every begun step of the intact records is known, and a commitment, and since when the mains is away."""
    records = [json.loads(record) for record in intact]
    began = {record["step"] for record in records if record["record"] == "step"}
    unfinished = replay(found.lines)
    assert (set(unfinished.began) if unfinished else set()) == began
    assert (unfinished is not None and unfinished.committed) == any(record.get("commits") for record in records)
    if records and records[0]["record"] == "supply":
        assert replay_lost_at(found.lines, BOOT) == 2.0


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["record", "step", "state", "plan", "n", "lost_at"]),
            st.text() | st.none() | st.integers() | st.lists(st.none()),
        )
    )
)
def test_any_records_replay(records: list[dict[str, Any]]) -> None:
    """Whatever stands in the fields, reading it raises nothing."""
    found = gather(json.dumps(record).encode() + b"\n" for record in records)
    replay(found.lines)
    replay_lost_at(found.lines, BOOT)


class _KilledError(BaseException):
    """The daemon ends here."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """End the daemon right before its system call of that number that changes the disk."""
    left = [number]

    def mortal(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise _KilledError
            return real(*arguments, **more)

        monkeypatch.setattr(module, name, call)

    for name in ("write", "fsync", "replace", "unlink", "mkdir"):
        mortal(os, name)


@pytest.mark.parametrize("number", range(24))
def test_killed_anywhere_in_filing_an_outage_is_filed_by_the_next_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """At every instant the records are in the journal or in the archive; in the end report and records are there."""
    path.write_bytes(b"".join(OVER))
    directory = tmp_path / "outages"

    def file_all() -> None:
        with_journal = FileJournal(path, lambda: "2025-11-23T19:00:00.000Z")
        try:
            with_journal._hand_over(lambda lines: file_outage(directory, lines, ups="iplug", boot_id=BOOT), ())
        finally:
            with_journal.close()

    with monkeypatch.context() as mortal:
        killed_at(mortal, number)
        try:
            file_all()
        except _KilledError:
            assert number < 23
        else:
            assert number >= 13, "it does less than it should"
    archived = directory / f"{NAME}.jsonl"
    assert path.exists() or gather(lines_of(archived)).lines == gather(OVER).lines
    file_all()
    assert not path.exists()
    assert gather(lines_of(archived)).lines == gather(OVER).lines
    assert show_outage(directory, None)["document"]["ending"] == "aborted"


async def test_an_outage_that_goes_on_is_not_filed(journal: FileJournal, path: Path, tmp_path: Path) -> None:
    """Neither one that is unfinished, nor one that is undone with the mains away again."""
    for goes_on in (SHUTDOWN, [*OVER, line(9, "supply", lost_at=9.0)]):
        path.write_bytes(b"".join(goes_on))
        made = await journal.hand_over(
            lambda lines: file_outage(tmp_path / "outages", lines, ups="iplug", boot_id=BOOT)
        )
        assert made is None
        assert path.read_bytes() == b"".join(goes_on)


async def test_a_flicker_of_records_without_an_outage_does_not_let_the_journal_grow(
    journal: FileJournal, path: Path, tmp_path: Path
) -> None:
    """A supply that was only noted to be there is no outage: the journal begins anew, and there is no report."""
    path.write_bytes(line(0, "supply", lost_at=None))
    made = await journal.hand_over(lambda lines: file_outage(tmp_path / "outages", lines, ups="iplug", boot_id=BOOT))
    assert made == ""
    assert not path.exists()
    assert list_outages(tmp_path / "outages") == []


async def test_a_report_that_cannot_be_written_leaves_the_records_where_they_are(
    journal: FileJournal, path: Path, tmp_path: Path
) -> None:
    """It is an error with its reason, and a later attempt files it."""
    path.write_bytes(b"".join(OVER))
    (tmp_path / "outages").write_text("in the way")
    with pytest.raises(JournalError, match="make room and check who owns it"):
        await journal.hand_over(lambda lines: file_outage(tmp_path / "outages", lines, ups="iplug", boot_id=BOOT))
    assert path.read_bytes() == b"".join(OVER)


def test_only_the_newest_outages_are_kept(tmp_path: Path) -> None:
    """Fifty of them, with all their files."""
    for day in range(KEPT + 3):
        name = f"2025{day // 28 + 1:02}{day % 28 + 1:02}T180000Z-7f3a"
        lines = [record.decode().replace(NAME, name).strip() for record in OVER]
        assert file_outage(tmp_path / "outages", lines, ups="iplug", boot_id=BOOT) == name
    names = [outage["outage"] for outage in list_outages(tmp_path / "outages")]
    assert len(names) == KEPT
    assert names[-1] == "20250104T180000Z-7f3a"
    assert len(list((tmp_path / "outages").iterdir())) == 3 * KEPT


def test_an_outage_that_began_with_a_wrong_clock_is_the_newest_all_the_same(tmp_path: Path) -> None:
    """Filing it twice, as after a kill, leaves it where it is; one before it is forgotten in its stead."""
    directory = tmp_path / "outages"

    def file(name: str) -> None:
        lines = [record.decode().replace(NAME, name).strip() for record in OVER]
        assert file_outage(directory, lines, ups="iplug", boot_id=BOOT) == name

    for second in range(KEPT):
        file(f"20251123T1800{second:02}Z-7f3a")
    file("20150101T000001Z-7f3a")
    assert show_outage(directory, None)["document"]["outage"] == "20150101T000001Z-7f3a"
    file("20251123T180049Z-7f3a")
    names = [outage["outage"] for outage in list_outages(directory)]
    assert names[:2] == ["20150101T000001Z-7f3a", "20251123T180049Z-7f3a"]
    assert (len(names), names[-1]) == (KEPT, "20251123T180001Z-7f3a")


@pytest.mark.parametrize("name", ["../journal", "/etc/passwd", "..", "", ".", "a/b", "x" * 65, "a\n", "ä", "a.json"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    """Who asks for something else than an outage is told so, whatever file that would be."""
    (tmp_path / "outages").mkdir()
    for ending in (".json", ".md"):
        (tmp_path / f"journal{ending}").write_text("{}")
    with pytest.raises(UnknownOutageError, match="there is no report of an outage"):
        show_outage(tmp_path / "outages", name)


def test_a_name_that_the_cluster_made_up_names_no_file(tmp_path: Path) -> None:
    """The mark on a node can be written by others; what they wrote is not believed."""
    evil = [record.decode().replace(NAME, "../../evil").strip() for record in OVER]
    assert file_outage(tmp_path / "outages", evil, ups="iplug", boot_id=BOOT) == "20251123T180000Z"


async def test_only_the_newest_damaged_journals_are_kept(path: Path) -> None:
    """A dying disk must not be filled too."""
    for second in range(6):
        path.write_bytes(RUBBISH["binary"])
        journal = FileJournal(path, lambda second=second: f"2025-11-23T19:00:0{second}.000Z")  # type: ignore[misc]
        await asyncio.to_thread(journal.take_up)
        journal.close()
    kept = sorted(each.name for each in path.parent.iterdir())
    assert kept == [f"journal.jsonl.damaged-20251123T19000{second}000Z" for second in (3, 4, 5)]
