"""The files of readiness: written whole or not at all, and never the reason why the rack dies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_ledger import step
from upsd.domain.plan import StepProgress, StepState
from upsd.shutdown.ledger import How, Ledger, noted
from upsd.shutdown.readiness_files import Arming, load_arming, load_ledger, save_arming, save_ledger

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = noted(
    Ledger(), StepProgress(step("a"), StepState.DONE), How.REHEARSED, datetime(2026, 11, 26, tzinfo=UTC), "1"
)


def test_a_ledger_outlives_the_daemon(tmp_path: Path) -> None:
    """And a directory without one is one in which nothing is proven."""
    assert load_ledger(tmp_path) == (Ledger(), None)
    save_ledger(tmp_path, LEDGER)
    assert load_ledger(tmp_path) == (LEDGER, None)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"steps": {"a": {"proof": 1}}}', "\x00" * 64, pytest.param("[" * 100_000, id="deep")]
)
def test_a_ledger_that_makes_no_sense_is_put_aside_and_told(tmp_path: Path, text: str) -> None:
    """What was in it may still help a person; nothing counts as proven by it."""
    (tmp_path / "ledger.json").write_text(text)
    ledger, trouble = load_ledger(tmp_path)
    assert ledger == Ledger()
    assert "ledger.bad: run upsctl rehearse" in str(trouble)
    assert (tmp_path / "ledger.bad").read_text() == text
    assert load_ledger(tmp_path) == (Ledger(), None)


def test_a_ledger_that_can_t_be_read_is_told(tmp_path: Path) -> None:
    """A directory in its place stands for a disk that fails."""
    (tmp_path / "ledger.json").mkdir()
    ledger, trouble = load_ledger(tmp_path)
    assert ledger == Ledger()
    assert "can't be read (Is a directory)" in str(trouble)


def test_only_a_file_that_is_not_there_means_not_armed(tmp_path: Path) -> None:
    """Whoever armed it is known, and disarming takes the file away."""
    assert load_arming(tmp_path) == (None, None)
    arming = Arming(uid=1000, at="2026-11-26T12:00:00+00:00", fingerprint="abc")
    save_arming(tmp_path, arming)
    assert load_arming(tmp_path) == (arming, None)
    save_arming(tmp_path, None)
    assert load_arming(tmp_path) == (None, None)
    save_arming(tmp_path, None)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', json.dumps({"uid": 0})[:-3], "\xff", pytest.param("[" * 100_000, id="deep")]
)
def test_a_torn_file_means_armed_and_says_so(tmp_path: Path, text: str) -> None:
    """In an outage a daemon that does nothing is worse than one that was disarmed and acts."""
    (tmp_path / "armed.json").write_bytes(text.encode("latin-1"))
    arming, trouble = load_arming(tmp_path)
    assert arming is not None
    assert "so upsd takes itself for armed: run upsctl arm again" in str(trouble)


def test_a_disk_that_fails_means_armed(tmp_path: Path) -> None:
    """The file is there; nobody can tell what it says."""
    (tmp_path / "armed.json").mkdir()
    arming, trouble = load_arming(tmp_path)
    assert arming is not None
    assert trouble


def test_a_disk_without_room_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle takes neither the old ledger nor the arming away."""
    save_ledger(tmp_path, LEDGER)
    save_arming(tmp_path, Arming(uid=0))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upsd.files.os.write", full)
    with pytest.raises(OSError, match="No space"):
        save_ledger(tmp_path, Ledger())
    with pytest.raises(OSError, match="No space"):
        save_arming(tmp_path, Arming(uid=1))
    assert load_ledger(tmp_path) == (LEDGER, None)
    assert load_arming(tmp_path) == (Arming(uid=0), None)
