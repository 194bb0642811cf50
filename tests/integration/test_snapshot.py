"""A snapshot of a real SQLite database, in WAL mode and written to all the time, as our unit takes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.integration.mounts import run
from upsd.domain.rack import RackError
from upsd.rack.datastore import UnitDatastore
from upsd.settings_datastore import DatastoreSettings
from upsd.snapshot import __main__ as program
from upsd.snapshot.errors import SnapshotError
from upsd.snapshot.keep import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTAGE = "20261126T151524Z-0a1b"
ROOT = Path(__file__).parents[2]


@dataclass
class Bench:
    """A database as k3s has one, and a directory for its snapshots."""

    directory: Path

    @property
    def database(self) -> Path:
        """What k3s writes to."""
        return self.directory / "state.db"

    @property
    def snapshots(self) -> Path:
        """Where the copies go."""
        return self.directory / "snapshots"

    @property
    def settings(self) -> DatastoreSettings:
        """The [datastore] table."""
        return DatastoreSettings(path=self.database, directory=self.snapshots, keep=3)

    @property
    def config(self) -> Path:
        """A settings file with that table and more that is none of the program's business."""
        path = self.directory / "upsd.toml"
        path.write_text(
            f'[mqtt]\nhost = 7\n[datastore]\npath = "{self.database}"\ndirectory = "{self.snapshots}"\nkeep = 3\n'
        )
        return path

    def kept(self) -> list[str]:
        """What is in the directory."""
        return sorted(path.name for path in self.snapshots.iterdir())

    def snapshot(self, outage: str = OUTAGE) -> Path:
        """Take one."""
        program.take(self.settings, outage)
        return self.snapshots / file_name(outage)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A database with a table, in WAL mode."""
    made = Bench(tmp_path)
    made.snapshots.mkdir()
    with contextlib.closing(sqlite3.connect(made.database)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE kine (id INTEGER PRIMARY KEY, value BLOB)")
        database.executemany("INSERT INTO kine VALUES (?, ?)", [(-row, os.urandom(2000)) for row in range(1, 2000)])
        database.commit()
    return made


class Writer:
    """Somebody who commits one row after the other, never two at once."""

    def __init__(self, path: Path) -> None:
        """Take the database."""
        self.committed = 0
        self._path = path
        self._over = threading.Event()
        self._some = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        """Begin, and let some rows be there."""
        self._thread.start()
        assert self._some.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._over.set()
        self._thread.join(10)

    def _write(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as database:
            while not self._over.is_set():
                row = self.committed + 1
                database.execute("INSERT INTO kine VALUES (?, ?)", (row, os.urandom(500)))
                self.committed = row
                if row == 20:
                    self._some.set()


def rows_of(copy: Path) -> list[int]:
    """The rows of the writer that a copy has, once SQLite has found no fault with it; from a place of its own."""
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row for (row,) in database.execute("SELECT id FROM kine WHERE id > 0 ORDER BY id")]


def test_a_copy_is_whole_and_holds_everything_that_was_committed_before(bench: Bench) -> None:
    """Again and again, while somebody writes on, whom it keeps waiting for nothing."""
    before = 0
    with Writer(bench.database) as writer:
        for _ in range(5):
            before = writer.committed
            rows = rows_of(bench.snapshot())
            assert rows == list(range(1, len(rows) + 1))
            assert len(rows) >= before >= 20
        assert writer.committed > before
    assert bench.kept() == [file_name(OUTAGE)]


def test_a_copy_is_for_nobody_else_s_eyes(bench: Bench) -> None:
    """It has the secrets of the cluster in it."""
    assert bench.snapshot().stat().st_mode & 0o777 == 0o600


def test_what_a_killed_copy_left_behind_is_removed_and_an_older_one_of_the_name_replaced(bench: Bench) -> None:
    """A torn file never has the name of a snapshot."""
    for left in (f"{file_name(OUTAGE)}.part", f"{file_name(OUTAGE)}.part-journal", "k3s-older.db.part"):
        (bench.snapshots / left).write_bytes(b"torn")
    (bench.snapshots / file_name(OUTAGE)).write_bytes(b"the one of a daemon that was started again")
    with Writer(bench.database):
        assert rows_of(bench.snapshot())
    assert bench.kept() == [file_name(OUTAGE)]


def test_a_copier_that_is_killed_leaves_the_older_snapshot_as_it_was(bench: Bench) -> None:
    """As when the unit is ended because it takes too long."""
    older = bench.snapshot()
    content = older.read_bytes()
    script = (
        "import os, signal, sys; from pathlib import Path; from upsd.snapshot import sqlite;"
        "sqlite._on_disk = lambda _: os.kill(os.getpid(), signal.SIGKILL);"
        "sqlite.copy_database(*map(Path, sys.argv[1:]))"
    )
    ended = subprocess.run([sys.executable, "-c", script, bench.database, older], check=False, cwd=ROOT, timeout=30)
    assert ended.returncode == -9
    assert older.read_bytes() == content
    assert len(bench.kept()) > 1
    bench.snapshot()
    assert bench.kept() == [file_name(OUTAGE)]


def test_only_so_many_are_kept(bench: Bench) -> None:
    """The oldest go, and nothing that is not ours."""
    (bench.snapshots / "notes.txt").touch()
    outages = [f"2026112{day}T151524Z-0a1b" for day in range(1, 6)]
    for outage in outages:
        bench.snapshot(outage)
    assert bench.kept() == [*map(file_name, outages[-3:]), "notes.txt"]


def test_a_damaged_database_gives_no_snapshot_and_costs_none(bench: Bench) -> None:
    """The older ones may be all that there is."""
    older = bench.snapshot("20261101T000000Z-0000")
    with contextlib.closing(sqlite3.connect(bench.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with bench.database.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(b"\xff" * 4096 * 20)
    with pytest.raises(SnapshotError, match=r"damaged|malformed"):
        bench.snapshot()
    assert bench.kept() == [older.name]


def test_a_database_that_is_not_there_is_told(bench: Bench) -> None:
    """And is not made."""
    bench.database.unlink()
    with pytest.raises(SnapshotError, match="could not be copied"):
        bench.snapshot()
    assert not bench.database.exists()
    assert bench.kept() == []


@pytest.fixture
def small(bench: Bench) -> Iterator[Bench]:
    """The same, with a place for snapshots that can't hold a second one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    run("mount", "-t", "tmpfs", "-o", f"size={bench.database.stat().st_size * 3 // 2}", "tmpfs", bench.snapshots)
    try:
        yield bench
    finally:
        subprocess.run(["umount", "--lazy", bench.snapshots], check=False)


def test_a_full_disk_costs_no_older_snapshot_and_keeps_no_part(small: Bench) -> None:
    """What is there is worth more than what does not fit."""
    older = small.snapshot("20261101T000000Z-0000")
    with pytest.raises(SnapshotError, match=r"disk is full|No space left"):
        small.snapshot()
    assert small.kept() == [older.name]
    assert rows_of(older) == []


def test_a_directory_that_is_not_there_is_told_and_not_made(bench: Bench) -> None:
    """It may be that of a NAS that is not mounted: a copy below it would be in nobody's way and of no use."""
    bench.snapshots.rmdir()
    with pytest.raises(SnapshotError, match="No such file or directory; make room or mount it"):
        bench.snapshot()
    assert not bench.snapshots.exists()


def test_a_rehearsal_copies_and_checks_and_keeps_nothing(bench: Bench) -> None:
    """It does not cost one of those that are kept either."""
    outages = [f"2026112{day}T151524Z-0a1b" for day in range(1, 4)]
    for outage in outages:
        bench.snapshot(outage)
    assert "was whole, and is removed" in program.take(bench.settings, "rehearsal")
    assert bench.kept() == [file_name(outage) for outage in outages]


# the program, and the daemon that has it started


def fake_systemctl(bench: Bench, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a systemctl of ours in front of the system's, which notes how it is called."""
    path = bench.directory / "bin" / "systemctl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$*" >> {bench.directory}/calls\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def as_the_unit(bench: Bench) -> str:
    """Run the unit's program for the instance that is started."""
    words = [
        sys.executable,
        "-m",
        "upsd.snapshot",
        "--config",
        bench.config,
        "--result",
        bench.directory / "result.json",
    ]
    return f'name=${{2#upsd-snapshot@}}; exec {shlex.join(map(str, words))} "${{name%.service}}"'


def datastore(bench: Bench, timeout_s: float = 20.0, stop_unit: str | None = None) -> UnitDatastore:
    """As the daemon sees it."""
    return UnitDatastore(timeout_s=timeout_s, stop_unit=stop_unit, result=bench.directory / "result.json")


async def test_the_daemon_hears_what_the_program_of_the_unit_did(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads nothing else of the settings, and the daemon's user may read its result."""
    fake_systemctl(bench, monkeypatch, as_the_unit(bench))
    detail = await datastore(bench).snapshot(OUTAGE)
    assert detail.startswith(f"{bench.snapshots}/{file_name(OUTAGE)} has ")
    assert (bench.directory / "result.json").stat().st_mode & 0o777 == 0o644
    assert "is removed" in await datastore(bench).check_snapshot()
    assert bench.kept() == [file_name(OUTAGE)]


async def test_the_daemon_hears_why_there_is_no_snapshot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the program's words, and not those of systemd, who only knows an exit code."""
    bench.database.unlink()
    fake_systemctl(bench, monkeypatch, as_the_unit(bench))
    with pytest.raises(RackError, match=f"^{bench.database} could not be copied"):
        await datastore(bench).snapshot(OUTAGE)
    bench.config.write_text("")
    fake_systemctl(bench, monkeypatch, as_the_unit(bench).replace(str(bench.config), "/none/upsd.toml"))
    with pytest.raises(RackError, match=r"/none/upsd\.toml has no \[datastore\] that can be used"):
        await datastore(bench).snapshot(OUTAGE)


async def test_an_older_result_is_not_taken_for_this_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a file that is none."""
    (bench.directory / "result.json").write_text(json.dumps({"outage": "another", "detail": "fine", "problem": ""}))
    fake_systemctl(bench, monkeypatch, "")
    with pytest.raises(RackError, match="does not tell how"):
        await datastore(bench).snapshot(OUTAGE)
    (bench.directory / "result.json").write_text("torn {")
    with pytest.raises(RackError, match="does not tell how"):
        await datastore(bench).snapshot(OUTAGE)


async def test_a_snapshot_without_the_right_says_what_to_grant(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit, and the rule."""
    fake_systemctl(bench, monkeypatch, "echo 'Interactive authentication required.' >&2; exit 4")
    with pytest.raises(RackError, match=r"authentication required.*install systemd/upsd-snapshot@\.service.*50-upsd"):
        await datastore(bench).snapshot(OUTAGE)


async def test_a_snapshot_that_takes_too_long_can_be_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the NAS is not kept busy by it."""
    fake_systemctl(bench, monkeypatch, '[ "$1" = stop ] || exec sleep 60')
    with pytest.raises(RackError, match="did not end within"):
        await datastore(bench, timeout_s=0.2).snapshot(OUTAGE)
    async with asyncio.timeout(5):
        await datastore(bench).give_up(OUTAGE)
    calls = (bench.directory / "calls").read_text().splitlines()
    assert calls == [f"start upsd-snapshot@{OUTAGE}.service", f"stop upsd-snapshot@{OUTAGE}.service"]


async def test_the_server_is_stopped_started_and_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its unit; without one in the settings there is nothing to stop."""
    fake_systemctl(bench, monkeypatch, "[ $1 != show ] || printf 'LoadState=loaded\\nCanStop=yes\\n'")
    server = datastore(bench, stop_unit="k3s.service")
    await server.check_stop()
    await server.stop()
    await server.start()
    calls = (bench.directory / "calls").read_text().splitlines()
    assert calls[1:] == ["stop k3s.service", "start k3s.service"]
    fake_systemctl(bench, monkeypatch, "echo denied >&2; exit 4")
    with pytest.raises(RackError, match=r"denied; give the daemon's user the right to stop k3s\.service"):
        await server.stop()
    fake_systemctl(bench, monkeypatch, "echo LoadState=not-found; echo CanStop=no")
    with pytest.raises(RackError, match=r"systemd can't stop k3s\.service: set datastore\.stop_unit"):
        await server.check_stop()


def fake_k3s(bench: Bench, monkeypatch: pytest.MonkeyPatch, script: str = "") -> DatastoreSettings:
    """Put a k3s of ours on the PATH; the settings for it."""
    fake_systemctl(bench, monkeypatch, "")
    path = bench.directory / "bin" / "k3s"
    path.write_text(f'#!/bin/sh\necho "$*" >> {bench.directory}/calls\n{script}\n')
    path.chmod(0o755)
    return DatastoreSettings(kind="etcd", directory=bench.snapshots, keep=4)


def test_etcd_is_saved_and_pruned_by_k3s(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the words of its command line; a rehearsal only lists."""
    settings = fake_k3s(bench, monkeypatch)
    program.take(settings, OUTAGE)
    program.take(settings, "rehearsal")
    where = f"--etcd-snapshot-dir={bench.snapshots}"
    assert (bench.directory / "calls").read_text().splitlines() == [
        f"etcd-snapshot save --name upsd-{OUTAGE} {where}",
        f"etcd-snapshot prune --name upsd --snapshot-retention 4 {where}",
        f"etcd-snapshot ls {where}",
    ]


def test_what_k3s_complains_of_is_told_and_nothing_is_pruned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last line, as its log goes to standard error too."""
    settings = fake_k3s(bench, monkeypatch, "echo INFO starting >&2; echo FATA etcd datastore disabled >&2; exit 1")
    with pytest.raises(SnapshotError, match="`k3s etcd-snapshot save` failed: FATA etcd datastore disabled"):
        program.take(settings, OUTAGE)
    assert len((bench.directory / "calls").read_text().splitlines()) == 1
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(SnapshotError, match="is this a k3s server"):
        program.take(settings, OUTAGE)
