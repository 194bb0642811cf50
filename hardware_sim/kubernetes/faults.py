"""What can be made to go wrong with the simulated API server, and the record of what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hardware_sim.kubernetes.status import REASONS, Refused


@dataclass(slots=True)
class LoggedRequest:
    """One request that reached the server, whatever became of it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    code: int = 0
    """Of the answer; 0 until there is one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The requests that are refused: any method and any path, where these are empty."""

    code: int
    method: str
    path: str

    def matches(self, method: str, path: str) -> bool:
        """Whether the request is one of them."""
        return self.method in ("", method) and self.path in path


@dataclass(slots=True)
class Faults:
    """The faults that are on right now; a test sets and clears them while the server runs."""

    latency_s: float = 0.0
    """Every answer comes so much later."""
    mute: bool = False
    """Requests are accepted and never answered."""
    refusals: list[Refusal] = field(default_factory=list)
    throttled: int = 0
    """So many requests are turned away for now, since the server has too much to do."""
    retry_after_s: int = 1
    """What they are told."""

    def refuse(self, code: int, *, method: str = "", path: str = "") -> None:
        """From now on answer with this code, as a proper Status; `path` is a part of the URL's path."""
        self.refusals.append(Refusal(code, method, path))

    def clear(self) -> None:
        """Take all faults away."""
        self.latency_s, self.mute, self.throttled = 0.0, False, 0
        self.refusals.clear()

    def check(self, method: str, path: str) -> None:
        """Refuse the request if that is wanted.

        Raises:
            Refused: with the code of the first refusal that matches.
        """
        for refusal in self.refusals:
            if refusal.matches(method, path):
                raise Refused(refusal.code, f"{REASONS[refusal.code]}: {method} {path} (simulated)")

    def throttle(self) -> bool:
        """Whether this request is turned away."""
        if not self.throttled:
            return False
        self.throttled -= 1
        return True
