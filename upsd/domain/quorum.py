"""How many members of an etcd cluster can be done without? Pure.

k3s servers with the embedded etcd are its members. A majority of all that there are must run, or there is no API.
"""

from __future__ import annotations


def quorum(members: int) -> int:
    """How many of so many must run."""
    return members // 2 + 1


def spare(members: int) -> int:
    """How many of so many may be off: none of two, one of three or four, two of five."""
    return members - quorum(members)
