"""What was done to a simulated UPS, written down as a scenario that can be played again."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from hardware_sim.ups.arguments import NONE

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from hardware_sim.ups.actions import Deed
    from hardware_sim.ups.rig import Rig


class Recording:
    """Writes to `path` while it is entered; each deed is in the file as soon as it is done.

    `profile` is the name of the rig's model.

    Raises:
        OSError: the file can't be written.
    """

    def __init__(self, path: Path, rig: Rig, profile: str) -> None:
        self._path = path
        self._rig = rig
        self._profile = profile
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._began_at = self._loop.time()
        self._file = self._path.open("w", encoding="utf-8", buffering=1)
        self._write(
            title="Recorded",
            profile=self._profile,
            charge=round(self._rig.device.battery.charge, 4),
            load=self._rig.load_w,
            speed=self._rig.speed,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def note(self, deed: Deed) -> None:
        """Write down what was done now."""
        at_s = (self._loop.time() - self._began_at) * self._rig.speed
        self._file.write("\n[[do]]\n")
        self._write(at=f"{at_s:.3f}s", action=deed.action.name, **deed.values)

    def _write(self, **values: bool | float | str | None) -> None:
        self._file.writelines(f"{name} = {_toml(value)}\n" for name, value in values.items())


def _toml(value: bool | float | str | None) -> str:  # noqa: FBT001  # it is a value like the others
    """As TOML has it, which for these is as JSON has it; it knows no null."""
    return json.dumps(NONE if value is None else value)
