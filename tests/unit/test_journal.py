"""What a daemon that was killed can count on to have been written down, and what a bad disk may cost it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.files import lines_of
from upsd.shutdown import journal as journal_module
from upsd.shutdown.journal import FileJournal, JournalError
from upsd.shutdown.records import Unfinished, gather, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upsd.domain.power import Scalar

NOW = "2025-11-23T18:00:00+00:00"
OUTAGE: dict[str, Scalar] = {"record": "outage", "outage": "o1", "reason": "battery-low", "boot_id": "b1"}
UNDOING: dict[str, Scalar] = {"record": "undoing", "outage": "o1"}
CLOSED: dict[str, Scalar] = {"record": "closed", "outage": "o1", "how": "recovered"}


def step(name: str, state: str, *, commits: bool = False) -> dict[str, Scalar]:
    """A step's record."""
    return {"record": "step", "step": name, "state": state, "commits": commits}


STORY: list[dict[str, Scalar]] = [
    OUTAGE,
    step("announce", "running"),
    step("announce", "done"),
    step("drain pi4-a", "running"),
    step("drain pi4-b", "running"),
    step("drain pi4-a", "forced"),
    step("drain pi4-b", "timed-out"),
    step("poweroff pi4-a", "running", commits=True),
    step("poweroff pi4-a", "failed", commits=True),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def journal(path: Path) -> Iterator[FileJournal]:
    """A journal on a good disk."""
    made = FileJournal(path, lambda: NOW)
    yield made
    made.close()


def as_lines(records: list[dict[str, Scalar]]) -> list[str]:
    """The records as a good disk holds them."""
    return [json.dumps({"at": NOW, **record}) for record in records]


def left_in(path: Path) -> Unfinished | None:
    """What a new daemon would find unfinished."""
    return replay(gather(lines_of(path)).lines)


def raising(code: int) -> Callable[..., Any]:
    """A system call that fails."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


async def test_what_was_appended_is_there_after_a_restart(journal: FileJournal, path: Path) -> None:
    """A new daemon finds the outage, what began and what ended well."""
    for record in STORY:
        await journal.append(record)
    assert left_in(path) == Unfinished(
        outage="o1",
        reason="battery-low",
        boot_id="b1",
        committed=True,
        began=frozenset({"announce", "drain pi4-a", "drain pi4-b", "poweroff pi4-a"}),
        ended=frozenset({"announce", "drain pi4-a"}),
        tried=frozenset({"announce", "drain pi4-a", "drain pi4-b", "poweroff pi4-a"}),
    )


def test_what_ran_before_the_first_outage_is_remembered_until_it_is_closed() -> None:
    """A second outage in the recovery changes nothing of it, and a damaged record nothing at all."""
    counted: dict[str, Scalar] = {"record": "workloads", "pods": '{"web/nginx": 3}'}
    torn: dict[str, Scalar] = {"record": "workloads", "pods": '{"web'}
    second = {**OUTAGE, "outage": "o2", "boot_id": "b2"}
    found = replay(as_lines([OUTAGE, counted, *STORY[1:], UNDOING, second, torn]))
    assert found is not None
    assert (found.outage, found.workloads) == ("o2", {"web/nginx": 3})
    fresh = replay(as_lines([OUTAGE, counted, CLOSED, second]))
    assert fresh is not None
    assert fresh.workloads is None


def test_where_else_the_nas_was_mounted_is_remembered_until_the_outage_is_closed() -> None:
    """Across a boot and an undoing; a damaged record, or one of another shape, changes nothing."""
    mounts: dict[str, Scalar] = {"record": "mounts", "others": '["/mnt/a", "/mnt/b"]'}
    torn: list[dict[str, Scalar]] = [{"record": "mounts", "others": others} for others in ('["/mnt', "7", None)]
    odd: dict[str, Scalar] = {"record": "workloads", "pods": "[]"}
    found = replay(as_lines([OUTAGE, mounts, UNDOING, {**OUTAGE, "outage": "o2", "boot_id": "b2"}, *torn, odd]))
    assert found is not None
    assert found.mounts == {"/mnt/a", "/mnt/b"}
    fresh = replay(as_lines([OUTAGE, mounts, CLOSED, OUTAGE]))
    assert fresh is not None
    assert fresh.mounts == frozenset()


def test_who_was_left_on_the_nas_is_what_the_last_drain_of_the_node_has_seen() -> None:
    """A drain that begins anew finds out anew, and what is undone is nobody's any more."""
    left = [
        {**step("drain pi4-a", "timed-out"), "on_nas": "web/a, web/b"},
        {**step("drain pi4-b", "timed-out"), "on_nas": "db/c"},
    ]
    story = [OUTAGE, *left]
    for more, expected in (
        ([], {"pi4-a": "web/a, web/b", "pi4-b": "db/c"}),
        ([step("drain pi4-a", "running")], {"pi4-b": "db/c"}),
        ([step("flush nas", "running")], {"pi4-a": "web/a, web/b", "pi4-b": "db/c"}),
        ([UNDOING], {}),
        ([{**OUTAGE, "outage": "o2", "boot_id": "b2"}], {}),
    ):
        found = replay(as_lines([*story, *more]))
        assert found is not None
        assert found.on_nas == expected


SHED: list[dict[str, Scalar]] = [
    {"record": "shedding", "outage": "o1", "reason": "extras", "workers": "pi3, pi4-a", "boot_id": "b1"},
    step("drain pi3", "running"),
    step("drain pi3", "done"),
    step("poweroff pi3", "running", commits=True),
    step("poweroff pi3", "done", commits=True),
]


def test_a_shedding_is_no_shutdown() -> None:
    """A restarted daemon knows who was shed and what is done, and takes nothing for past its point of no return."""
    found = replay(as_lines(SHED))
    assert found is not None
    assert (found.only_shed, found.committed) == (True, False)
    assert found.shed == {"pi3", "pi4-a"}
    assert found.ended == {"drain pi3", "poweroff pi3"}
    more = {**SHED[0], "workers": "pi3, pi4-a, pi4-b"}
    again = replay(as_lines([*SHED, more]))
    assert again is not None
    assert again.shed == {"pi3", "pi4-a", "pi4-b"}
    assert again.ended == found.ended


def test_a_drill_whose_first_record_is_lost_is_no_shutdown_either() -> None:
    """A restarted daemon must not shut the rack down because of it."""
    lost = [{**record, "plan": "drill", "outage": "o1", "boot_id": "b1"} for record in SHED[1:]]
    found = replay(as_lines(lost))
    assert found is not None
    assert (found.only_shed, found.committed) == (True, False)


def test_a_shutdown_after_a_shedding_has_done_what_that_did() -> None:
    """But only in the same boot: after another one the machines may be on again."""
    found = replay(as_lines([*SHED, OUTAGE]))
    assert found is not None
    assert not found.only_shed
    assert found.shed == {"pi3", "pi4-a"}
    assert found.ended == {"drain pi3", "poweroff pi3"}
    assert {"drain pi3", "poweroff pi3"} <= found.began
    other_boot = replay(as_lines([*SHED, {**OUTAGE, "boot_id": "b2"}]))
    assert other_boot is not None
    assert other_boot.ended == set()


def test_a_machine_that_is_being_woken_is_not_taken_for_off() -> None:
    """Mains back and gone again: the shutdown asks everybody."""
    found = replay(as_lines([*SHED, UNDOING, step("wait-host pi3", "running"), OUTAGE]))
    assert found is not None
    assert found.ended == set()
    assert found.shed == {"pi3", "pi4-a"}


async def test_a_closed_outage_is_not_unfinished(journal: FileJournal, path: Path) -> None:
    """Nothing is taken up again that was brought to its end."""
    for record in (*STORY, CLOSED):
        await journal.append(record)
    assert left_in(path) is None


async def test_what_was_done_is_not_done_any_more_once_it_is_being_undone(journal: FileJournal, path: Path) -> None:
    """A shutdown that goes on after an abort cordons and drains again, and can still be undone whole."""
    for record in (*STORY, UNDOING, step("uncordon", "running")):
        await journal.append(record)
    found = left_in(path)
    assert found is not None
    assert found.ended == set()
    assert {"announce", "drain pi4-a"} <= found.began
    assert not found.committed, "an outage that is being undone must not be taken up again on mains"


def test_what_was_left_out_has_not_begun() -> None:
    """There is nothing of it to undo, and the next attempt may do it."""
    found = replay(as_lines([OUTAGE, step("announce", "done"), step("cordon", "left-out")]))
    assert found is not None
    assert found.began == found.ended == {"announce"}


def test_no_journal_is_no_outage(path: Path) -> None:
    """The first start of all is quiet."""
    assert left_in(path) is None


async def test_each_record_is_on_disk_before_append_returns(
    journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after it loses nothing: the file is synced, and for a new file its directory too."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(str(Path(f"/proc/self/fd/{file}").readlink())))
    await journal.append(OUTAGE)
    assert synced == [str(path), str(path.parent)]
    await journal.append(CLOSED)
    assert synced[2:] == [str(path)]


async def test_steps_that_begin_together_are_all_written(journal: FileJournal, path: Path) -> None:
    """Parallel drains don't cost each other their records."""
    names = [f"drain pi{number}" for number in range(8)]
    await journal.append(OUTAGE)
    await asyncio.gather(*(journal.append(step(name, "running")) for name in names))
    found = left_in(path)
    assert found is not None
    assert found.began == set(names)


@pytest.mark.parametrize("torn", [b'{"at": "x", "record": "clo', b"{", b"\x00" * 512, b"\xff\xfe", b'"closed"', b"[1]"])
async def test_a_torn_last_line_is_not_counted_and_does_not_spoil_the_next(
    journal: FileJournal, path: Path, torn: bytes
) -> None:
    """What a kill or a power cut tore is as if it had not been written."""
    await journal.append(OUTAGE)
    with path.open("ab") as file:
        file.write(torn)
    before = left_in(path)
    assert before is not None
    assert before.outage == "o1"
    await journal.append(step("announce", "done"))
    after = left_in(path)
    assert after is not None
    assert after.ended == {"announce"}


@pytest.mark.parametrize("cut", range(0, sum(len(line) + 1 for line in as_lines(STORY)), 3))
def test_every_prefix_of_a_journal_replays(cut: int) -> None:
    """Cut anywhere, it shows a state that the daemon was in: no step that did not begin, none undone."""
    lines = as_lines(STORY)
    found = replay("\n".join(lines)[:cut].splitlines())
    whole = sum(1 for end in range(len(lines)) if cut >= len("\n".join(lines[: end + 1])))
    assert found == replay(lines[:whole])


@given(
    st.lists(
        st.sampled_from([*as_lines([*STORY, UNDOING, CLOSED]), "", "{", "null", "[]", '"x"', '{"record": "step"}'])
    )
)
def test_any_mix_of_lines_replays(lines: list[str]) -> None:
    """A journal that somebody edited or a disk has scrambled is read as far as it makes sense."""
    found = replay(lines)
    assert found is None or found.ended <= found.began


@given(st.text())
def test_rubbish_is_no_outage(text: str) -> None:
    """A file that is no journal starts no shutdown."""
    assert replay(text.splitlines()) is None


@pytest.mark.parametrize(
    ("name", "why"), [("/proc/journal.jsonl", "No such file or directory"), ("/dev/full", "No space left on device")]
)
async def test_a_place_that_takes_no_journal_is_an_error_that_says_what_to_do(name: str, why: str) -> None:
    """A directory that takes no files, a disk that takes no bytes: a clear message, and no crash."""
    lost = FileJournal(Path(name), lambda: NOW)
    with pytest.raises(JournalError, match=f"the journal {name} can't be written: {why}; make room and check who"):
        await lost.append(OUTAGE)
    lost.close()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
async def test_a_file_that_cannot_be_opened_is_a_journal_error(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Read-only, not ours, or a dying card: said in the system's words."""
    monkeypatch.setattr(os, "open", raising(code))
    with pytest.raises(JournalError, match=os.strerror(code)):
        await journal.append(OUTAGE)


@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_a_full_disk_is_a_journal_error_and_heals(
    journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What could not be written is said; once there is room, the journal goes on."""
    await journal.append(OUTAGE)
    with monkeypatch.context() as full:
        full.setattr(os, call, raising(errno.ENOSPC))
        with pytest.raises(JournalError, match="No space left on device; make room"):
            await journal.append(step("announce", "running"))
    await journal.append(step("cordon", "done"))
    found = left_in(path)
    assert found is not None
    assert found.ended == {"cordon"}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow past this size, as if the disk were full then."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_line_that_fits_only_in_part_is_a_journal_error(journal: FileJournal, path: Path) -> None:
    """It is taken away again, and written whole as soon as there is room, before what came later."""
    await journal.append(OUTAGE)
    with room_for(150), pytest.raises(JournalError, match="make room"):
        await journal.append(step("announce", "done"))
    await journal.append(step("cordon", "done"))
    found = left_in(path)
    assert found is not None
    assert found.ended == {"announce", "cordon"}
    assert gather(lines_of(path)).damaged == 0


@pytest.fixture
def hanging_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk on which no sync returns until the event is set; patience is shortened to keep the test short."""
    released = threading.Event()

    def fsync(_: int) -> None:
        released.wait(10)

    assert journal_module._WRITE_S <= 2.0
    monkeypatch.setattr(journal_module, "_WRITE_S", 0.1)
    monkeypatch.setattr(os, "fsync", fsync)
    yield released
    released.set()


async def test_a_hanging_disk_holds_nobody_up(journal: FileJournal, path: Path, hanging_disk: threading.Event) -> None:
    """The caller gets its error in time, and later ones at once, until the disk is back."""
    loop = asyncio.get_running_loop()
    with pytest.raises(JournalError, match="hangs"):
        await journal.append(OUTAGE)
    began = loop.time()
    for _ in range(20):
        with pytest.raises(JournalError, match="still hangs"):
            await journal.append(step("announce", "running"))
    assert loop.time() - began < journal_module._WRITE_S

    hanging_disk.set()
    async with asyncio.timeout(5):
        while True:
            try:
                await journal.append(step("announce", "done"))
                break
            except JournalError:
                await asyncio.sleep(0.01)
    found = left_in(path)
    assert found is not None
    assert found.ended == {"announce"}


async def test_steps_that_begin_together_on_a_hanging_disk_wait_together(
    journal: FileJournal, hanging_disk: threading.Event
) -> None:
    """Five drains are held up no longer than one."""
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    results = await asyncio.gather(
        *(journal.append(step(f"drain pi{number}", "running")) for number in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, JournalError) for result in results)
    assert loop.time() - began < 3 * journal_module._WRITE_S
    assert not hanging_disk.is_set()


async def test_a_daemon_ends_while_the_disk_hangs(journal: FileJournal, hanging_disk: threading.Event) -> None:
    """Closing does not wait for the write."""
    with pytest.raises(JournalError):
        await journal.append(OUTAGE)
    journal.close()
    assert not hanging_disk.is_set()


async def test_an_append_that_is_called_off_is_called_off(
    journal: FileJournal, hanging_disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abort that comes just as a write ends must not be swallowed by it."""
    monkeypatch.setattr(journal_module, "_WRITE_S", 5.0)
    written = threading.Event()

    async def append() -> None:
        await journal.append(OUTAGE)
        written.set()

    task = asyncio.create_task(append())
    await asyncio.sleep(0.01)
    hanging_disk.set()
    journal._thread.submit(int).result(5)  # the write has ended in its thread; the loop has not heard of it yet
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: loop.call_soon(task.cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not written.is_set()
