"""What a bench test has measured outlives the daemon, and a damaged file says what to do."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from tests.identities import IPLUG
from upsd.ups.errors import UpsError
from upsd.ups.profile import KNOWN_FILE, PROFILE_FILE, DeviceProfile, load_known, load_profile, save
from upsd.ups.selection import Known

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = DeviceProfile(model="USV5", firmware="SWM036-01-02", measured_on="2026-11-25", packet_pause_s=0.06)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Both records, each in its file, and nothing else is left there."""
    save(tmp_path, PROFILE)
    save(tmp_path, Known("1-4", "USV5", None))
    assert load_profile(tmp_path) == PROFILE
    assert load_known(tmp_path) == Known("1-4", "USV5", None)
    assert {file.name for file in tmp_path.iterdir()} == {PROFILE_FILE, KNOWN_FILE}


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """Nobody has to run the bench test."""
    assert load_profile(tmp_path) is None
    assert load_known(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '"text"',
        json.dumps(asdict(PROFILE) | {"packet_pause_s": "fast"}),
        json.dumps(asdict(PROFILE) | {"cycles_outlets": 1}),
        json.dumps(asdict(PROFILE) | {"longest_delay_s": 2.5}),
        json.dumps(asdict(PROFILE) | {"model": None}),
        "\x00",
    ],
)
def test_a_file_that_makes_no_sense_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    """A wrong type in it never reaches the wire."""
    (tmp_path / PROFILE_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(UpsError, match=f"{PROFILE_FILE}.*remove it"):
        load_profile(tmp_path)


def test_an_unreadable_note_of_which_unit_is_ours_is_as_good_as_none(tmp_path: Path) -> None:
    """It is found again."""
    (tmp_path / KNOWN_FILE).write_text("{", encoding="utf-8")
    assert load_known(tmp_path) is None


def test_a_key_of_a_later_version_is_no_error(tmp_path: Path) -> None:
    """Going back to an older upsd loses nothing."""
    (tmp_path / PROFILE_FILE).write_text(json.dumps(asdict(PROFILE) | {"colour": "black"}), encoding="utf-8")
    assert load_profile(tmp_path) == PROFILE


def test_a_disk_that_takes_nothing_keeps_the_older_file(tmp_path: Path) -> None:
    """And leaves no part of a new one."""
    save(tmp_path, PROFILE)
    (tmp_path / f"{PROFILE_FILE}.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        save(tmp_path, replace(PROFILE, packet_pause_s=0.0))
    assert load_profile(tmp_path) == PROFILE


def test_a_profile_holds_for_units_of_its_model_and_firmware() -> None:
    """Another firmware may do otherwise."""
    assert PROFILE.fits(IPLUG)
    assert not PROFILE.fits(replace(IPLUG, firmware="SWM036-01-03"))
    assert not PROFILE.fits(replace(IPLUG, model="UNV1"))
