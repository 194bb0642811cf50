"""Damaged replies, a short run of what `make fuzz` does by the million; and that it would find what it looks for."""

from __future__ import annotations

import random

import pytest

from tests import fuzz
from upsd.ups import gpser
from upsd.ups.frame import FrameAssembler


def test_no_damage_makes_a_value_or_another_exception() -> None:
    """A reply is refused, never ends, or has a right check; and nothing is kept of it."""
    tally = fuzz.run(20_000, seed=random.randrange(fuzz.MILLION))
    assert sum(tally.refused.values()) > 8_000
    assert tally.untouched > 1_000
    assert sum(tally.slipped.values()) < 400
    assert tally.grew_kib < 4_096


def test_a_check_that_is_not_looked_at_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seed and the bytes that show it."""
    monkeypatch.setattr(gpser, "open_reply", lambda frame, *_: frame[7:-5])
    with pytest.raises(fuzz.FoundError, match=r"seed 1, reply [0-9]+, to .*whose check is wrong"):
        fuzz.run(20_000, seed=1)


def test_an_exception_of_another_kind_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon would die of it."""
    monkeypatch.setattr(gpser, "decode_status", lambda data: data[100])
    with pytest.raises(fuzz.FoundError, match="IndexError"):
        fuzz.run(20_000, seed=1)


def test_a_reply_that_is_gathered_without_end_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A UPS that babbles must not eat the memory."""

    def gather(collector: FrameAssembler, data: bytes) -> None:
        collector._frame += data

    monkeypatch.setattr(FrameAssembler, "feed", gather)
    with pytest.raises(fuzz.FoundError, match="it holds"):
        fuzz.run(20_000, seed=1)
