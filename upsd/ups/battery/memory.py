"""What is thought of the battery by all that it has shown, worked out piece by piece. Pure.

One discharge takes some milliseconds, so no more than one is learned from at a time while there is time for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from upsd.ups.battery.learning import aged, learned
from upsd.ups.battery.opinion import untried

if TYPE_CHECKING:
    from upsd.ups.battery.facts import BatteryFacts
    from upsd.ups.battery.learning import Discharge
    from upsd.ups.battery.opinion import Opinion


@dataclass(frozen=True, slots=True)
class Memory:
    """The opinion after the discharges that were learned from, in order; `facts` is the name plate it began with."""

    facts: BatteryFacts
    discharges: tuple[Discharge, ...]
    opinion: Opinion

    @classmethod
    def empty(cls, facts: BatteryFacts) -> Memory:
        """Of a battery that has shown nothing."""
        return cls(facts, (), untried(facts))

    def fits(self, facts: BatteryFacts, discharges: tuple[Discharge, ...]) -> bool:
        """Whether it is of this battery, and of nothing but these discharges."""
        return self.facts == facts and self.discharges == discharges[: len(self.discharges)]

    def complete(self, discharges: tuple[Discharge, ...]) -> bool:
        """Whether nothing is left to be learned from."""
        return len(self.discharges) >= len(discharges)

    def further(self, discharges: tuple[Discharge, ...]) -> Memory:
        """The same with one more of the discharges."""
        if self.complete(discharges):
            return self
        following = discharges[len(self.discharges)]
        opinion = learned(self.at(following.date), following, self.facts)
        return replace(self, discharges=(*self.discharges, following), opinion=opinion)

    def at(self, today: str) -> Opinion:
        """What is thought of the battery on a day (ISO 8601): what was ruled out may have come true since."""
        if not self.discharges:
            return self.opinion
        newest = date.fromisoformat(self.discharges[-1].date[:10])
        return aged(self.opinion, (date.fromisoformat(today[:10]) - newest).days)
