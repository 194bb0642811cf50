"""What came of a step."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How a step ended, as people read it."""

    FOUND = "found"
    NOTHING_TO_DO = "nothing to do"
    DONE = "done"
    LEFT_OUT = "left out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended, and with what; after a failure `text` says what to do."""

    state: State
    text: str


class SetupError(Exception):
    """Nothing more can be done before a person has done something; the text says what."""


class StoppedError(Exception):
    """The person has had enough, or hung up."""
