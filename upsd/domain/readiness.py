"""Would the shutdown work, if the mains went now? The verdict, as every surface shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The verdict.

    Attributes:
        ready: whether an outage now would be survived, as far as anybody can know.
        because: why not; one sentence each, with what to do.
        armed: whether a trigger may start a shutdown.
        proven_steps: how many steps of the plan are proven, by a proof that still counts.
        of: how many steps the plan has.
        oldest_proof: the date of the oldest of these proofs (ISO 8601).
    """

    ready: bool
    because: tuple[str, ...]
    armed: bool
    proven_steps: int
    of: int
    oldest_proof: str | None
