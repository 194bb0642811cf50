"""Which snapshots of the datastore are removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upsd.snapshot.keep import file_name, is_part, part_name, superfluous

OUTAGES = st.from_regex(r"20[0-9]{6}T[0-9]{6}Z-[0-9a-f]{4}", fullmatch=True)


def test_the_newest_are_kept() -> None:
    """By their names, which begin with the time of the outage."""
    names = [file_name(f"2026112{day}T151524Z-0a1b") for day in (4, 1, 3, 2)]
    assert superfluous(names, 2) == (names[1], names[3])
    assert superfluous(names, 4) == ()


@given(st.lists(OUTAGES, unique=True), st.lists(st.text()), st.integers(1, 10))
def test_no_more_than_too_many_of_ours_are_removed(outages: list[str], others: list[str], keep: int) -> None:
    """Never the newest, and never what somebody else put there."""
    ours = [file_name(outage) for outage in outages]
    gone = superfluous([*others, *ours], keep)
    assert set(gone) <= set(ours)
    assert len(gone) == max(0, len(ours) - keep)
    assert not set(gone) & set(sorted(ours)[-keep:])


def test_what_only_looks_like_ours_is_left_alone() -> None:
    """A backup that a person made of a snapshot is his."""
    name = file_name("20261126T151524Z-0a1b")
    assert superfluous([f"{name}.bak", f"my-{name}", "k3s-rehearsal.db", f"{name}\n"], 0) == ()


def test_what_was_never_completed_is_ours_to_remove() -> None:
    """With what SQLite keeps beside it, and whatever the outage or the rehearsal was called."""
    part = part_name(file_name("20261126T151524Z-0a1b"))
    assert all(map(is_part, [part, f"{part}-journal", f"{part}-wal", part_name(file_name("rehearsal"))]))


def test_what_other_people_have_not_completed_is_theirs() -> None:
    """The directory may be that of a NAS where everybody puts things, and root removes what this says."""
    others = [
        "film.part1.rar",
        "download.iso.part",
        "k3s.part",
        "my-k3s-x.db.part",
        f"{file_name('x')}.partial",
        "k3s-x.db",
    ]
    assert not any(map(is_part, others))
