"""The k3s datastore on this machine. It belongs to root, and we are not: systemd runs what touches it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from upsd.domain.rack import RackError
from upsd.rack.commands import run_command

_GIVE_UP_S = 1.5
_CHECK_S = 5.0
_REHEARSAL: Final = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDatastore:
    """A datastore of which systemd units take snapshots and stop the server; fits `upsd.domain.rack.Datastore`.

    `result` is where the snapshot's program writes how it went. Each command gets `timeout_s` seconds.
    """

    timeout_s: float
    stop_unit: str | None = None
    result: Path = Path("/run/upsd-snapshot/result.json")

    async def snapshot(self, outage: str) -> str:
        """Have one taken; what there is now."""
        unit = _unit(outage)
        try:
            await run_command(["systemctl", "start", unit], timeout_s=self.timeout_s)
        except RackError as error:
            if problem := self._said(outage, "problem"):
                raise RackError(problem) from error
            raise RackError(
                f"{error}; install systemd/upsd-snapshot@.service, and give the daemon's user the right to start {unit}"
                f" in 50-upsd.rules; `journalctl -u {unit}` says more"
            ) from error
        detail = self._said(outage, "detail")
        if not detail:
            raise RackError(f"{unit} has ended and {self.result} does not tell how; see `journalctl -u {unit}`")
        return detail

    async def check_snapshot(self) -> str:
        """Have one taken that is not kept."""
        return await self.snapshot(_REHEARSAL)

    async def give_up(self, outage: str) -> None:
        """Have the one that is being taken ended, so that it does not keep its directory busy."""
        await run_command(["systemctl", "stop", _unit(outage)], timeout_s=_GIVE_UP_S)

    async def stop(self) -> None:
        """Stop the server."""
        await self._server("stop")

    async def start(self) -> None:
        """Start the server again."""
        await self._server("start")

    async def check_stop(self) -> None:
        """Find out whether systemd could stop it."""
        unit = self._stop_unit()
        found = await run_command(["systemctl", "show", "--property=LoadState,CanStop", unit], timeout_s=_CHECK_S)
        if not {"LoadState=loaded", "CanStop=yes"} <= set(found.split()):
            raise RackError(f"systemd can't stop {unit}: set datastore.stop_unit to the unit of the k3s server")

    async def _server(self, verb: str) -> None:
        unit = self._stop_unit()
        try:
            await run_command(["systemctl", verb, unit], timeout_s=self.timeout_s)
        except RackError as error:
            raise RackError(
                f"{error}; give the daemon's user the right to {verb} {unit}: take the // away in 50-upsd.rules"
            ) from error

    def _stop_unit(self) -> str:
        if self.stop_unit is None:
            raise RackError("no unit of the k3s server is known; set datastore.stop_unit")
        return self.stop_unit

    def _said(self, outage: str, key: str) -> str:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.result.read_text(encoding="utf-8"))
            if isinstance(found, dict) and found.get("outage") == outage:
                return str(found.get(key, ""))
        return ""


def _unit(outage: str) -> str:
    return f"upsd-snapshot@{outage}.service"
