"""The real kubectl, as an oracle: what it takes for a cluster is one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hardware_sim.kubernetes import SimulatedKubernetes

DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")
COMMAND_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Kubectl:
    """The real kubectl with a home of its own."""

    program: str
    home: Path

    async def run(self, api: SimulatedKubernetes, *arguments: str) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        async with self.running(api, *arguments) as process:
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                output, _ = await process.communicate()
            return process.returncode or 0, output.decode()

    @asynccontextmanager
    async def running(self, api: SimulatedKubernetes, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, for as long as it is looked at."""
        kubeconfig = self.home / "kubeconfig"
        api.write_kubeconfig(kubeconfig)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def installed_kubectl(home: Path) -> Kubectl:
    """The kubectl on the PATH, or else the one among the locked dependencies; the test fails without one."""
    program = shutil.which("kubectl") or shutil.which("kubectl", path=Path(sys.executable).parent)
    if program is None:
        pytest.fail("kubectl is missing: install the package kubernetes-client")
    home.mkdir(exist_ok=True)
    return Kubectl(program, home)
