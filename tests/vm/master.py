"""The daemon in the master, as it is seen there by `upsctl`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.vm.roles import MASTER

if TYPE_CHECKING:
    from tests.vm.rack import VirtualRack


async def state_on_line(rack: VirtualRack) -> dict[str, Any]:
    """What the daemon that runs now says, as soon as it reads a UPS that is on line and knows whether it is ready."""
    said = await rack.on(
        MASTER, "timeout 170 sh -c 'until upsctl status --json | grep on_line.*armed; do sleep 1; done'"
    )
    state: dict[str, Any] = json.loads(said.splitlines()[-1])["state"]
    assert state["power"] == "on_line", state
    return state


async def prove_and_arm(rack: VirtualRack) -> None:
    """Rehearse and arm, as the README says.

    A daemon that was just started waits for a second reading first, and on a busy machine a step may take too long.
    """
    await rack.on(MASTER, "timeout 170 sh -c 'until upsctl rehearse; do sleep 1; done' && upsctl arm")
