"""What the conductor does at the moment."""

from __future__ import annotations

import enum


class Phase(enum.StrEnum):
    """What the conductor does."""

    IDLE = "idle"
    SHEDDING = "shedding"
    """Some workers go off early, or are off, so that the battery lasts longer for the rest."""
    DRILLING = "drilling"
    """One worker goes off as in an outage, to come back at once."""
    SHUTTING_DOWN = "shutting-down"
    FINISHED = "finished"
    """The shutdown plan has ended and this machine is still up."""
    ABORTING = "aborting"
    RECOVERING = "recovering"
    REHEARSING = "rehearsing"
    """The steps of the shutdown are being proven, without harm."""
