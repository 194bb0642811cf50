"""Everything in this folder runs on virtual time: an hour of outage takes milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from hardware_sim.memory_rack import MemoryRack, memory_rack
from hardware_sim.virtual_time import VirtualTimeLoop
from tests.sim.daemons import Daemon
from tests.sim.workbench import Workbench

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator, Mapping, MutableMapping
    from typing import Any


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """The only event loop for these tests."""
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def rack() -> MemoryRack:
    """A master, two workers with two pods each, and a NAS."""
    return memory_rack()


@pytest.fixture
def bench(rack: MemoryRack) -> Workbench:
    """A workbench on a good rack."""
    return Workbench(rack)


@pytest.fixture
def daemon(rack: MemoryRack) -> Daemon:
    """A daemon on a good rack."""
    return Daemon(rack)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, kept off the terminal: drawing a traceback takes longer than the outage that it is about."""
    with structlog.testing.capture_logs() as entries:
        yield entries
