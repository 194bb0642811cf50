"""Which of the things that are plugged in is our UPS? Pure, time is an argument.

The bridge has no USB serial number, and other makers use its id. So only what a unit answers proves what it is, and
only its place tells two of a kind apart. Three rules follow: a unit that was ours is asked again at once, as often as
need be; what did not answer as a UPS is left alone, and asked again ever more rarely until it is plugged in anew; and
what stood beside our unit is not ours, even when ours is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from upsd.ups.errors import Fault, UpsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upsd.domain.power import UpsIdentity
    from upsd.ups.transport import Place

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which unit is meant: the place, serial number and model that it must have; `None` where any will do."""

    path: str | None = None
    serial: str | None = None
    model: str | None = None

    def accepts(self, identity: UpsIdentity) -> bool:
        """Whether this may be the unit."""
        return self.serial in {None, identity.serial} and self.model in {None, identity.model}


@dataclass(frozen=True, slots=True)
class Known:
    """The unit that was ours: where it was, and who it said it is."""

    path: str
    model: str
    serial: str | None

    def is_like(self, identity: UpsIdentity) -> bool:
        """Whether this one may be the same."""
        return (self.model, self.serial) == (identity.model, identity.serial)


@dataclass(slots=True)
class _Stranger:
    pause_s: float
    ask_again_at: float
    trouble: UpsError


@dataclass(slots=True)
class Selection:
    """Which places are worth asking, and which of those that answered is ours.

    Attributes:
        wanted: what the settings say.
        known: the unit that was ours last, perhaps before a restart.
    """

    wanted: Wanted
    known: Known | None = None
    _neighbours: set[str] = field(default_factory=set)
    _strangers: dict[Place, _Stranger] = field(default_factory=dict)

    def worth_asking(self, places: Sequence[Place], now: float) -> list[Place]:
        """The places to ask now; while ours is plugged in, no other, silent as it may be."""
        for gone in self._strangers.keys() - set(places):
            del self._strangers[gone]
        ours = [place for place in places if self.is_ours(place)]
        if ours and self.wanted.serial is None:
            return ours
        return sorted((place for place in places if self._is_worth_asking(place, now)), key=lambda place: place.path)

    def must_compare(self, places: Sequence[Place]) -> bool:
        """Whether all of them have to be asked before one can be taken: nothing tells which is ours."""
        wanted = self.wanted
        told = self.known is not None or wanted.path is not None or wanted.serial is not None
        return not told and len(places) > 1

    def failed(self, place: Place, now: float, trouble: UpsError) -> None:
        """Nothing there answers as our UPS would."""
        if self.is_ours(place):
            return
        before = self._strangers.get(place)
        pause_s = min(_LONGEST_PAUSE_S, 2 * before.pause_s) if before else _FIRST_PAUSE_S
        self._strangers[place] = _Stranger(pause_s, now + pause_s, trouble)

    def check(self, place: Place, identity: UpsIdentity) -> None:
        """See whether a unit that identified itself may be ours.

        Raises:
            UpsError: it is another one.
        """
        if not self.wanted.accepts(identity):
            raise UpsError(
                Fault.ANOTHER_UNIT,
                f"the UPS at {place.path} is a {_name(identity)}, not the one that ups.serial and ups.model name",
            )
        moved = self.known is not None and self.wanted.path is None and not self.is_ours(place)
        if moved and self.known and not self.known.is_like(identity):
            raise UpsError(
                Fault.ANOTHER_UNIT,
                f"the UPS at {place.path} is a {_name(identity)}, and ours was another one at {self.known.path};"
                f' set ups.port = "usb:{place.path}" if this one shall take its place',
            )

    def took(self, place: Place, identity: UpsIdentity, places: Sequence[Place]) -> Known:
        """This one is ours, and what else is plugged in is not."""
        self._strangers.pop(place, None)
        self.known = Known(place.path, identity.model, identity.serial)
        self._neighbours.discard(place.path)
        self.lost(places)
        return self.known

    def lost(self, places: Sequence[Place]) -> None:
        """Ours has just gone; what is plugged in now has been there beside it."""
        self._neighbours |= {place.path for place in places if not self.is_ours(place)}

    def absence(self, places: Sequence[Place]) -> UpsError:
        """Why there is nothing to ask now."""
        troubles = [stranger.trouble for place, stranger in self._strangers.items() if place in places]
        if troubles:
            return troubles[0]
        others = sorted(place.path for place in places if place.path in self._neighbours)
        advice = f"; if it is what is at {' or '.join(others)} now, restart upsd" if others else ""
        where = f" at {self.wanted.path}" if self.wanted.path else ""
        return UpsError(Fault.NOT_PRESENT, f"no UPS is plugged in{where}; check its cable{advice}")

    def is_ours(self, place: Place) -> bool:
        """Whether our unit is, or was last, at this place."""
        return place.path == self.wanted.path or (self.known is not None and place.path == self.known.path)

    def _is_worth_asking(self, place: Place, now: float) -> bool:
        if self.wanted.path not in {None, place.path}:
            return False
        if place.path in self._neighbours and self.wanted.serial is None:
            return False
        stranger = self._strangers.get(place)
        return stranger is None or now >= stranger.ask_again_at


def ambiguous(identities: dict[str, UpsIdentity]) -> UpsError:
    """More than one UPS answers, by place, and nothing says which is ours."""
    found = ", ".join(f"{_name(identity)} at {path}" for path, identity in sorted(identities.items()))
    paths = " or ".join(f'"usb:{path}"' for path in sorted(identities))
    return UpsError(Fault.ANOTHER_UNIT, f"{len(identities)} UPSes answer ({found}); set ups.port to {paths}")


def _name(identity: UpsIdentity) -> str:
    return f"{identity.model} with serial number {identity.serial}" if identity.serial else identity.model
