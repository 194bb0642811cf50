"""`upsctl` as people run it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import upsd

ROOT: Final = Path(upsd.__file__).parents[1]
UPSCTL: Final = (sys.executable, "-m", "upsd.ctl.main")
DEADLINE_S: Final = 20.0


@dataclass(frozen=True)
class Result:
    """What a command said, and how it ended."""

    code: int | None
    out: str
    err: str


async def upsctl(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    """Run the real entry point to its end."""
    process = await asyncio.create_subprocess_exec(
        *UPSCTL,
        *arguments,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return Result(process.returncode, out.decode(), err.decode())
