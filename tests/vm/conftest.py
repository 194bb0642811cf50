"""The virtual rack that the stories share: each begins on machines that have just booted, after a power cut.

After a test that failed it is built anew; what it left is kept in a folder that the failure names.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import pytest

from tests.vm.__main__ import READY_VARIABLE, UNTIL_VARIABLE
from tests.vm.cache import RACKS, cache_directory
from tests.vm.disks import keep_evidence
from tests.vm.image import Image
from tests.vm.network import make_network
from tests.vm.rack import VirtualRack
from tests.vm.story import Story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

_EVIDENCE = pytest.StashKey[Path]()
_LONGEST = ("test_silent_parts", "test_crashes", "test_long_outage")


class _Racks:
    """The rack of now, or a new one."""

    def __init__(self) -> None:
        self._open = AsyncExitStack()
        self._rack: VirtualRack | None = None

    async def well(self) -> VirtualRack:
        """A rack that has booted, is proven and armed, and whose mains is there."""
        if self._rack is None:
            directory = Path(mkdtemp(dir=cache_directory(), prefix=RACKS))
            # What is still in use is removed by a later run, as after a crash.
            self._open.callback(shutil.rmtree, directory, ignore_errors=True)
            image, disk, _ = map(Path, os.environ[READY_VARIABLE].split(":"))
            rack = VirtualRack(directory, Image(image), disk)
            self._rack = await self._open.enter_async_context(rack)
            await self._rack.prepare()
        return self._rack

    async def take_down(self, evidence: Path | None = None) -> None:
        """End the rack; keep what tells how it was in a folder, if one is given."""
        rack, self._rack = self._rack, None
        if rack is not None and evidence:
            await rack.cut_everything()
            for machine in rack.machines.values():
                keep_evidence(machine, evidence)
            for capture in rack.captures():
                shutil.copy(capture, evidence)
        await self._open.aclose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest stories first, so that all racks end at about the same time; then what needs no cold start."""
    items.sort(key=lambda item: ("story" not in getattr(item, "fixturenames", ()), item.path.stem not in _LONGEST))


@pytest.fixture(scope="session")
async def racks() -> AsyncIterator[_Racks]:
    """All racks of this session."""
    if READY_VARIABLE not in os.environ:
        pytest.skip("they run by make vm-test, as root, since they make machines, networks and mounts")
    make_network()
    racks = _Racks()
    yield racks
    await racks.take_down()


@pytest.fixture
async def rack(racks: _Racks, request: pytest.FixtureRequest) -> AsyncIterator[VirtualRack]:
    """The rack, booted, proven and armed, as the test before has left it."""
    if datetime.now(tz=UTC).timestamp() > float(os.environ.get(UNTIL_VARIABLE, "inf")):
        pytest.skip("this machine is too slow to play every story in the half hour of CI; make vm-test does")
    try:
        rack = await racks.well()
        if "story" in request.fixturenames:
            await rack.start_cold()
    except BaseException:
        await racks.take_down(_evidence(request.node))
        raise
    rack.begin(request.node.name)
    yield rack
    if _EVIDENCE in request.node.stash:
        await racks.take_down(_evidence(request.node))


@pytest.fixture
def story(rack: VirtualRack) -> Story:
    """What happens from here on; the rack has booted cold."""
    return Story(rack)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a failure where its evidence is, or will be once the rack is down."""
    report = yield
    if report.failed and "rack" in getattr(item, "fixturenames", ()):
        report.sections.append(("consoles, journals, MQTT, what happened when", f"are in {_evidence(item)}"))
    return report


def _evidence(story: pytest.Item) -> Path:
    """The folder for what a failed story leaves; not in pytest's own, which the next sessions empty."""
    if _EVIDENCE not in story.stash:
        story.stash[_EVIDENCE] = Path(mkdtemp(prefix=f"upsd-{story.name[:60]}-"))
    return story.stash[_EVIDENCE]
