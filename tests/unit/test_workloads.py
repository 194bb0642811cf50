"""What is not there again after an outage, and how that is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.shutdown.workloads import from_text, in_words, missing, to_text

counts = st.dictionaries(st.text(min_size=1), st.integers(0, 500))


def test_only_what_has_become_less_is_missing() -> None:
    """More pods than before, or new workloads, are no matter of ours."""
    before = {"web/nginx": 3, "data/postgres": 1, "web/cache": 2}
    now = {"web/nginx": 1, "web/cache": 5, "web/new": 1}
    assert missing(before, now) == {"data/postgres": "0 of 1", "web/nginx": "1 of 3"}


@given(counts)
def test_the_same_as_before_misses_nothing(before: dict[str, int]) -> None:
    """And comes back from the journal as it was."""
    assert missing(before, before) == {}
    assert from_text(to_text(before)) == before


@pytest.mark.parametrize("text", ["", "[", '{"a": "x"}'])
def test_a_damaged_record_is_no_count(text: str) -> None:
    """A torn line of the journal is passed over, not believed."""
    with pytest.raises(ValueError, match=r"\S"):
        from_text(text)


def test_a_long_list_is_cut() -> None:
    """A whole cluster that is missing still fits on a line."""
    assert in_words({"a/b": "0 of 1"}) == "a/b (0 of 1)"
    assert in_words({f"a/{number}": "0 of 1" for number in range(7)}).endswith("a/4 (0 of 1) and 2 more")
