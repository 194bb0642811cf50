"""Which tier a pod belongs to, and when each tier begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsd.domain.rack import Pod
from upsd.shutdown.tiers import DEFAULT_TIERS, LONGEST_SURE_S, Order, Tier, rank_of

GRACE_S = 30.0
LEFT = st.dictionaries(st.integers(0, 5), st.floats(1.0, 900.0), min_size=1)


def pod(**more: object) -> Pod:
    """A pod with these peculiarities."""
    return Pod(**{"namespace": "web", "name": "a", "uid": "a", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (pod(), "apps"),
        (pod(stateful_set=True), "databases"),
        (pod(namespace="kube-system"), "system"),
        (pod(namespace="storage", priority_class="system-node-critical"), "system"),
        (pod(namespace="kube-system", stateful_set=True), "system"),
    ],
)
def test_without_settings_apps_end_before_databases_and_the_system_last(found: Pod, name: str) -> None:
    """StatefulSets are taken for databases, kube-system and the system's priority classes for the system."""
    assert DEFAULT_TIERS[rank_of(found, DEFAULT_TIERS)].name == name


@pytest.mark.parametrize(
    ("found", "rank"),
    [
        (pod(), 0),
        (pod(namespace="data"), 1),
        (pod(labels={"tier": "store"}), 1),
        (pod(labels={"tier": "front"}), 0),
        (pod(labels={"keep": "whatever"}), 2),
        (pod(priority_class="storage-high"), 2),
        (pod(namespace="data", priority_class="storage-high"), 2),
    ],
)
def test_a_pod_belongs_to_the_last_tier_that_takes_it(found: Pod, rank: int) -> None:
    """By namespace, by a label with its value or without, by a pattern of its class; by none of them to the first."""
    tiers = (
        Tier("apps"),
        Tier("stores", namespaces=("data",), labels=("tier=store",)),
        Tier("volumes", labels=("keep",), priority_classes=("storage-*",)),
    )
    assert rank_of(found, tiers) == rank


def test_a_tier_begins_as_soon_as_the_one_before_is_gone() -> None:
    """Nobody waits out a share that is not needed."""
    order = Order(began_at=0.0)
    assert order.follow({0: GRACE_S, 1: GRACE_S, 2: GRACE_S}, now=0.0, force_at=180.0) == 0
    assert order.follow({1: GRACE_S, 2: GRACE_S}, now=3.0, force_at=180.0) == 1
    assert order.follow({2: GRACE_S}, now=5.0, force_at=180.0) == 2


def test_a_tier_that_does_not_end_keeps_the_next_waiting_for_its_share_only() -> None:
    """The time until force is divided among the tiers that have pods."""
    order, left = Order(began_at=0.0), {0: GRACE_S, 2: GRACE_S}
    assert order.follow(left, now=89.0, force_at=180.0) == 0
    assert order.follow(left, now=90.0, force_at=180.0) == 2


def test_all_tiers_begin_at_once_when_the_shares_are_too_short() -> None:
    """Nobody is asked late who needs the time; a very long grace does not count in full, as it is seldom used up."""
    left = {0: GRACE_S, 1: 600.0}
    assert Order(began_at=0.0).follow(left, now=0.0, force_at=2 * LONGEST_SURE_S - 1) == 1
    assert Order(began_at=0.0).follow(left, now=0.0, force_at=2 * LONGEST_SURE_S) == 0


@given(left=LEFT, now=st.floats(0.0, 1000.0), force_at=st.floats(0.0, 1000.0))
def test_no_tier_begins_before_the_earlier_ones_are_over_or_have_used_their_shares(
    left: dict[int, float], now: float, force_at: float
) -> None:
    """Except where there is no time for an order."""
    reached = Order(began_at=0.0).follow(left, now=now, force_at=force_at)
    share_s = force_at / len(left)
    assert reached >= min(left)
    if now < force_at and share_s >= LONGEST_SURE_S:
        earlier = sum(rank < reached for rank in left)
        assert reached == min(left) or now >= earlier * share_s - 1e-6


@given(left=LEFT, force_at=st.floats(1.0, 1000.0), share=st.floats(0.0, 1.0))
def test_every_tier_has_begun_when_the_last_share_begins(left: dict[int, float], force_at: float, share: float) -> None:
    """Whatever hangs, every pod is asked before the first is forced."""
    number = len(left)
    now = force_at * (number - 1 + share) / number
    assert Order(began_at=0.0).follow(left, now=now + 1e-6, force_at=force_at) == max(left)


@given(left=LEFT, now=st.floats(0.0, 1000.0), late_s=st.floats(0.0, 1000.0))
def test_with_no_time_left_all_begin_at_once(left: dict[int, float], now: float, late_s: float) -> None:
    """Force knows no order."""
    assert Order(began_at=0.0).follow(left, now=now + late_s, force_at=now) == max(left)


@given(left=LEFT, force_at=st.floats(1.0, 1000.0), times=st.tuples(st.floats(0.0, 1000.0), st.floats(0.0, 1000.0)))
def test_an_order_does_not_go_back_as_time_passes(
    left: dict[int, float], force_at: float, times: tuple[float, float]
) -> None:
    """As long as the deadline stays where it is."""
    order = Order(began_at=0.0)
    earlier, later = (order.follow(left, now=now, force_at=force_at) for now in sorted(times))
    assert earlier <= later
