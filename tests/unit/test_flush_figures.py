"""What a flush came to, read from what the NAS says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.rack import RackError
from upsd.domain.storage import Flushed, RaidArray, RaidState, WrittenOut
from upsd.rack.flush_figures import FiguresError, parse_flush, parse_mdstat, unwritten_kib

CLEAN = """\
Personalities : [linear] [raid0] [raid1]
md1 : active raid1 sdb2[1] sda2[0]
      7812500000 blocks super 1.0 [2/2] [UU]
      bitmap: 0/59 pages [0KB], 65536KB chunk

unused devices: <none>
"""
REBUILDING = """\
md1 : active raid1 sdb2[2] sda2[0]
      7812500000 blocks super 1.0 [2/1] [U_]
      [========>............]  recovery = 43.1% (3367187500/7812500000) finish=300.5min speed=246000K/sec

md0 : active (auto-read-only) raid1 sdb1[1] sda1[0]
      2097088 blocks [2/2] [UU]
      \tresync=PENDING
"""
FIGURES = "upsd-flush 1\nbefore 421888\nafter 96\ncentiseconds 620\nrest yes\nmdstat\n"


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        (CLEAN, [RaidArray("md1", RaidState.CLEAN)]),
        (
            REBUILDING,
            [RaidArray("md1", RaidState.REBUILDING, 43.1), RaidArray("md0", RaidState.REBUILDING)],
        ),
        (
            "md1 : active raid5 sdc1[3](F) sdb1[1] sda1[0]\n      20 blocks level 5, 64k chunk, [3/2] [UU_]\n",
            [RaidArray("md1", RaidState.DEGRADED)],
        ),
        ("md127 : inactive sda2[0](S)\n      3906 blocks super 1.2\n", [RaidArray("md127", RaidState.INACTIVE)]),
        (
            "md_d0 : active raid0 sda2[0] sdb2[1]\n      3906 blocks super 1.2 512k chunks\n",
            [RaidArray("md_d0", RaidState.CLEAN)],
        ),
        (
            f"{CLEAN.partition('      bitmap')[0]}      [>....................]  check =  2.0% (1/50) finish=9.9min\n",
            [RaidArray("md1", RaidState.CLEAN)],
        ),
        ("Personalities : \nunused devices: <none>\n", []),
        ("", []),
    ],
    ids=["clean", "rebuilding", "degraded", "inactive", "striped", "scrubbed", "none", "no RAID"],
)
def test_the_state_of_each_array_is_read(text: str, arrays: list[RaidArray]) -> None:
    """As the kernel writes it; a scrub changes nothing about what is safe."""
    assert list(parse_mdstat(text)) == arrays


def test_the_figures_of_a_flush_are_read() -> None:
    """Before, after, the time, and the RAID."""
    flushed = parse_flush(FIGURES + REBUILDING)
    assert flushed.figures == WrittenOut(421888, 96, 6.2)
    assert flushed.figures.written_kib == 421792
    assert flushed.raid[0].percent == 43.1


def test_a_flush_that_did_not_come_to_rest_says_so() -> None:
    """With what was left; more than before is nothing written."""
    flushed = parse_flush(FIGURES.replace("yes", "no").replace("after 96", "after 500000"))
    assert flushed.figures == WrittenOut(421888, 500000, 6.2, at_rest=False)
    assert flushed.figures.written_kib == 0


def test_a_plain_sync_has_no_figures() -> None:
    """It says nothing, or something of its own."""
    assert parse_flush("") == parse_flush("synced\n") == Flushed(remark="no figures: the command gives none")


@given(
    st.text() | st.text().map(lambda text: FIGURES[: len(text) % len(FIGURES)] + text) | st.text().map(FIGURES.__add__)
)
def test_any_answer_of_a_nas_is_read_or_refused_with_our_own_error(text: str) -> None:
    """Also one that is cut in the middle."""
    try:
        flushed = parse_flush(text)
    except RackError:
        assert text.startswith("upsd-flush 1")
    else:
        assert (flushed.figures is not None) == text.startswith("upsd-flush 1")


def test_what_waits_to_be_written_is_read_from_meminfo() -> None:
    """Only the two lines that count, not their namesakes."""
    text = "MemTotal: 1 kB\nDirty:               100 kB\nWriteback:            20 kB\nWritebackTmp:          7 kB\n"
    assert unwritten_kib(text) == 120


@given(st.text() | st.from_regex(r"(Dirty|Writeback): *[0-9]*( kB)?\n", fullmatch=True))
def test_any_meminfo_gives_a_figure_or_our_own_error(text: str) -> None:
    """A kernel without these lines is told, not taken for one that has written everything."""
    try:
        found = unwritten_kib(text)
    except FiguresError:
        found = None
    assert (found is None) == (re.search(r"^(Dirty|Writeback):[ \t]+[0-9]{1,15} kB$", text, re.MULTILINE) is None)
