"""The [datastore] table: of what the shutdown takes a snapshot, and where it goes.

A module of its own, because the program that takes it (`upsd.snapshot`) reads nothing else of the settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from upsd.settings_types import AbsolutePath, Duration, Section, Text


class DatastoreSettings(Section):
    """What k3s keeps its state in."""

    kind: Literal["sqlite", "etcd"] = "sqlite"
    path: AbsolutePath = Path("/var/lib/rancher/k3s/server/db/state.db")  # of SQLite
    directory: AbsolutePath = Field(examples=["/var/lib/upsd-snapshots"])  # here, or on the NAS
    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    snapshot_expected: Duration = 5.0
    snapshot_limit: Duration = 60.0
    stop_unit: Text | None = Field(default=None, examples=["k3s.service"])  # None: k3s runs until the master goes off
