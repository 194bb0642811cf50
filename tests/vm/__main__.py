"""`python -m tests.vm`: make what is missing, then run the stories on the virtual rack; arguments go to pytest.

Everything happens in namespaces of its own: the network with all its links, the mounts and the processes are gone when
the last story is over, or when somebody presses Ctrl-C.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.vm.cache import ProgramError, cache_directory, forget_old
from tests.vm.chroots import make_distributions, packed
from tests.vm.image import image
from tests.vm.installation import installed

READY_VARIABLE: Final = "UPSD_VM_READY"
"""Tells the tests that they run in here, and where the image, the master's disk and the package are."""
UNTIL_VARIABLE: Final = "UPSD_VM_UNTIL"
"""Seconds since 1970 after which no story begins; for CI."""
_MAKE: Final = "make"
_UNSHARED: Final = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
_PYTEST: Final = (
    *("-p", "no:randomly", "-p", "no:cacheprovider", "--timeout=1800", "--durations=0", "--durations-min=5"),
    # Three racks side by side, for a story waits most of its time; the one that is free first plays the next.
    *("-n", "3", "--dist", "loadgroup"),
    *("-o", "asyncio_default_fixture_loop_scope=session", "-o", "asyncio_default_test_loop_scope=session"),
)


def main(arguments: list[str]) -> int:
    """Make the image and run the stories; pytest's exit code."""
    if arguments == [_MAKE]:
        return _make()
    here = Path(__file__).parent
    stories = [] if any(here.name in argument for argument in arguments) else [str(here)]
    pytest = (sys.executable, "-m", "pytest", *_PYTEST, *stories, *arguments)
    if os.geteuid() != 0 or not _may_unshare():
        return subprocess.run(pytest, check=False).returncode  # it skips them all, and says why
    # Not in this process: a build that is broken off must leave no mount behind either.
    make = [*_UNSHARED, sys.executable, "-m", "tests.vm", _MAKE]
    made = subprocess.run(make, check=False, stdout=subprocess.PIPE, text=True)
    if made.returncode:
        return made.returncode
    environment = {**os.environ, READY_VARIABLE: ":".join(made.stdout.splitlines()[-3:])}
    return subprocess.run([*_UNSHARED, "--net", *pytest], env=environment, check=False).returncode


def _may_unshare() -> bool:
    """Whether root may have namespaces of its own, which root in a container may not."""
    return subprocess.run([*_UNSHARED, "--net", "true"], capture_output=True, check=False).returncode == 0


def _make() -> int:
    try:
        with ThreadPoolExecutor() as beside:
            distributions = beside.submit(make_distributions)
            making = beside.submit(image)
            package = packed()
            made = making.result()
            distributions.result()
        disk = installed(made, package, cache_directory())
    except (ProgramError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"make vm-test: {error}\n")
        return 1
    forget_old(cache_directory())
    sys.stdout.write(f"{made.directory}\n{disk}\n{package}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
