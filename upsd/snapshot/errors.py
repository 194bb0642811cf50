"""What goes wrong with a snapshot."""

from __future__ import annotations


class SnapshotError(Exception):
    """There is no new snapshot; the text says why, and what to do."""
