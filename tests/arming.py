"""A daemon that only watches shuts nothing down: a test that expects a shutdown arms it first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upsd.shutdown.readiness_files import Arming, save_arming

if TYPE_CHECKING:
    from pathlib import Path


def arm(state_directory: Path) -> None:
    """Arm the daemon that will be started with this state directory, as `upsctl arm --unproven` does."""
    save_arming(state_directory, Arming())
