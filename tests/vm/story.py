"""One outage in the virtual rack, as it is seen from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from hardware_sim.kubernetes.rack import WORKERS
from tests.vm.machines import End
from tests.vm.rack import BOOT_S
from tests.vm.roles import MASTER, NAS
from upsd.rack.kubernetes import CORDON_MARK

if TYPE_CHECKING:
    from tests.vm.disks import Inspection
    from tests.vm.rack import VirtualRack

PLAN_S: Final = 600.0
"""The most that the shutdown may take, where others use the processors too; alone it takes less than a minute."""


class Story:
    """What happens from its beginning on; the rack is well then, and shall be well again at the end."""

    def __init__(self, rack: VirtualRack) -> None:
        self.rack = rack
        self._first_event = len(rack.events)
        self._first_happening = len(rack.happenings)
        self._inspections = len(rack.inspections)
        self._boots_before = rack.boot_counts()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events on MQTT."""
        return self.rack.events[self._first_event :]

    @property
    def event_names(self) -> list[str]:
        """Their names."""
        return [event["event_type"] for event in self.events]

    @property
    def happenings(self) -> list[str]:
        """What was seen of the UPS and of the machines."""
        return [happening.text for happening in self.rack.happenings[self._first_happening :]]

    def when(self, text: str) -> int:
        """The place of the first happening that begins so.

        Raises:
            AssertionError: there is none.
        """
        found = (place for place, happening in enumerate(self.happenings) if happening.startswith(text))
        place = next(found, None)
        assert place is not None, f'"{text}" is missing in:\n' + "\n".join(self.happenings)
        return place

    async def hears(self, name: str, within_s: float = PLAN_S, **fields: object) -> dict[str, Any]:
        """Wait for an event with these fields among its own; the first of them."""

        def found() -> list[dict[str, Any]]:
            return [
                event
                for event in self.events
                if event["event_type"] == name and fields.items() <= event["fields"].items()
            ]

        await self.rack.until(found, f"{name} {fields or ''}", within_s)
        return found()[0]

    async def sees(self, text: str, within_s: float = PLAN_S) -> None:
        """Wait for a happening that begins so."""
        await self.rack.until(lambda: any(h.startswith(text) for h in self.happenings), text, within_s)

    async def outlets_cut(self) -> dict[str, Inspection]:
        """Wait until the UPS has cut its outlets and the disks were looked at; what they were like."""
        await self.rack.until(lambda: len(self.rack.inspections) > self._inspections, "the outlets are cut", PLAN_S)
        return self.rack.inspections[-1]

    async def comes_back(self) -> dict[str, Any]:
        """Wait until every machine has booted again and all is as it was; the report of the outage."""
        rack = self.rack
        await rack.until(lambda: rack.boots_since(self._boots_before), "all boot again", BOOT_S)
        return await self.is_well()

    async def is_well(self) -> dict[str, Any]:
        """Wait until the outage is over and nothing is cordoned; its report."""
        written = await self.hears("outage_report_written", BOOT_S)
        await self.rack.until(lambda: not self.cordoned() | self.marked(), "no node is cordoned", BOOT_S)
        assert not self.rack.rights.denied, "config/k3s/upsd-rbac.yaml does not grant what the daemon does"
        await self.rack.until(self._stands_by, "upsd reads a UPS on line and is armed", BOOT_S)
        show = f"upsctl outages show --json {written['fields']['outage']}"
        found: dict[str, Any] = json.loads(await self.rack.on(MASTER, show))
        return found

    def _stands_by(self) -> bool:
        state = self.rack.retained("state")
        # Of a daemon that was just started that is not known yet.
        readiness = state["readiness"] or {"armed": False}
        return bool(state["power"] == "on_line" and readiness["armed"])

    def cordoned(self) -> set[str]:
        """The nodes that are unschedulable."""
        return {node for node in (MASTER, *WORKERS) if self.rack.kubernetes.cluster.is_cordoned(node)}

    def marked(self) -> set[str]:
        """The nodes that carry the mark of upsd."""
        nodes = self.rack.kubernetes.cluster.store.items("nodes")
        return {node["metadata"]["name"] for node in nodes if CORDON_MARK in node["metadata"]["annotations"]}

    def went_off_in_order(self) -> None:
        """See that the machines powered off one after the other, and all of them before the outlets were cut."""
        off = {name: self.when(f"{name} is off: {End.BY_ITSELF.value}") for name in (*WORKERS, NAS, MASTER)}
        told = self.when("command: outlets off in")
        assert max(off[name] for name in WORKERS) < off[NAS] < told < off[MASTER] < self.when("outlets: off")


def is_unharmed(inspections: dict[str, Inspection], *, cut: frozenset[str] = frozenset()) -> None:
    """See that no disk is damaged, no acknowledged line is missing, and nobody was cut but those who had to be."""
    for name, found in inspections.items():
        assert found.end is (End.CUT if name in cut else End.BY_ITSELF), f"{name}: {found}"
        assert not found.trouble, f"{name}: {found.trouble}"
        assert found.lossless, f"{name}: {found}"
        assert found.acknowledged, f"{name} has written nothing"


def troubles(report: dict[str, Any]) -> list[str]:
    """What went wrong; not that a story began before the battery had charged again after the one before it."""
    return [
        trouble for trouble in report["troubles"] if not trouble.startswith("wait-battery (recovery) was done by force")
    ]
