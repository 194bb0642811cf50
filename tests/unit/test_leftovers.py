"""What an unclean stop leaves behind is named, and what only takes its time is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from upsd.domain.rack import Attachment, Node, Pod
from upsd.shutdown.leftovers import OVERDUE, leftovers

NOW = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)
NODES = (Node("pi4-a", ready=True, unschedulable=False), Node("pi3", ready=False, unschedulable=False))


def ending(ends_by: datetime | None) -> Pod:
    """A pod on pi4-a that is being deleted, or not."""
    return Pod("web", "nginx-1", uid="1", node="pi4-a", terminating=ends_by is not None, ends_by=ends_by)


def test_a_pod_that_should_have_ended_long_ago_is_named_with_its_node() -> None:
    """And since when, so that a person finds the outage that it is from."""
    found = leftovers(NODES, [ending(datetime(2026, 11, 26, 1, 2, tzinfo=UTC))], (), NOW)
    assert found == ["web/nginx-1 on pi4-a has not ended since 2026-11-26 01:02 UTC"]


def test_a_pod_that_runs_or_has_grace_left_or_is_only_slow_is_not() -> None:
    """An outage that was called off has many of these."""
    pods = [ending(None), ending(NOW + timedelta(seconds=30)), ending(NOW - OVERDUE)]
    assert leftovers(NODES, pods, (), NOW) == []


def test_a_volume_that_is_attached_to_a_machine_that_is_not_back_is_named() -> None:
    """Whether its node is still known or not; one on a machine that is back is where it should be."""
    attachments = [Attachment("pvc-1", "pi4-a"), Attachment("pvc-2", "pi3"), Attachment("pvc-3", "gone")]
    assert leftovers(NODES, (), attachments, NOW) == [
        "volume pvc-2 is attached to pi3, which is not Ready",
        "volume pvc-3 is attached to gone, which is not Ready",
    ]
